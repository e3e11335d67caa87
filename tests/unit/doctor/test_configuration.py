"""All that is wrong with the settings, at once."""

from __future__ import annotations

import pytest

from z4j_otel.doctor.configuration import examine_settings
from z4j_otel.findings import Verdict

GOOD = {
    "Z4J_BRAIN_URL": "https://z4j.example.com",
    "Z4J_TOKEN": "t" * 43,
    "Z4J_HMAC_SECRET": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


def examine(arguments=(), *, file=None, **environ):
    """Examine settings."""
    return examine_settings(dict(arguments), environ=environ, file=file)


def test_good_settings_are_one_line_with_their_sources():
    """Numbers, no values."""
    found = examine(**GOOD)

    (finding,) = found.findings
    assert finding.verdict is Verdict.OK
    assert "3 from environment" in finding.message
    assert (found.has_address, found.has_credentials, found.problems) == (True, True, ())


def test_every_missing_setting_is_told_with_what_to_type():
    """In the order in which a newcomer sets them."""
    found = examine()

    assert [each.cure.partition("=")[0] for each in found.findings] == [
        "export Z4J_BRAIN_URL",
        "export Z4J_TOKEN",
        "export Z4J_HMAC_SECRET",
    ]
    assert (found.has_address, found.has_credentials) == (False, False)
    assert len(found.problems) == 3


def test_malformed_settings_are_all_told_and_the_rest_is_used(tmp_path):
    """Wherever they came from: argument, environment, host."""
    found = examine_settings(
        {"transport": "pigeon"},
        environ={**GOOD, "Z4J_HEARTBEAT_SECONDS": "often"},
        host_settings={"log_level": "LOUD"},
    )

    wrong = [each.details["setting"] for each in found.findings]
    assert sorted(wrong) == ["heartbeat_seconds", "log_level", "transport"]
    assert found.config.brain_url == GOOD["Z4J_BRAIN_URL"]
    assert found.has_credentials


def test_a_malformed_file_does_not_hide_the_environment(tmp_path):
    """It is told, and left out as a whole."""
    path = tmp_path / "z4j.toml"
    path.write_text("this is no TOML")

    found = examine(file=path, **GOOD)

    (finding,) = found.findings
    assert finding.verdict is Verdict.FAIL
    assert found.config.brain_url == GOOD["Z4J_BRAIN_URL"]


def test_a_malformed_secret_is_not_used_and_not_shown():
    """Nor is the other half of the credentials."""
    found = examine(**{**GOOD, "Z4J_HMAC_SECRET": "short+secret"})

    assert not found.has_credentials
    assert "short+secret" not in repr(found.findings)


def test_a_name_that_nobody_knows_is_a_warning_with_the_nearest():
    """The agent would start."""
    found = examine(**GOOD, Z4J_TOKNE="x")

    (finding,) = found.findings
    assert finding.verdict is Verdict.WARN
    assert "Z4J_TOKNE" in finding.message
    assert found.problems == ()


def test_switched_off_needs_no_other_setting():
    """It is said, because no agent starts."""
    (finding,) = examine(Z4J_DISABLED="1").findings

    assert finding.verdict is Verdict.WARN
    assert finding.cure == "unset Z4J_DISABLED"


@pytest.mark.parametrize("url", ["http://z4j.example.com", "ftp://z4j.example.com"])
def test_an_address_that_is_refused_is_not_used(url):
    """Nothing would be sent in the clear."""
    found = examine(**{**GOOD, "Z4J_BRAIN_URL": url})

    assert not found.has_address
    assert found.findings[0].details["setting"] == "brain_url"


def test_an_unknown_argument_is_refused():
    """It is a mistake in somebody's code."""
    found = examine({"tokne": "x"}, **GOOD)

    assert found.findings[0].verdict is Verdict.FAIL
    assert found.findings[0].cure
