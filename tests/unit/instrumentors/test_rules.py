"""Local rules as values."""

from z4j_otel.instrumentors.rules import LocalRules


def test_secret_is_not_shown():
    """The signing secret stays out of representations, and the defaults are strict."""
    assert "hush" not in repr(LocalRules(purge_secret=b"hush"))
    rules = LocalRules()
    assert (rules.purge_threshold, rules.accepts_legacy_purge_token) == (1000, False)
    assert rules.restart_by_exit == "auto"
