"""What the agent hands to adapters of the owner's decisions."""

from types import SimpleNamespace

from z4j_otel.agent.engines import adapters_in_use
from z4j_otel.config import AgentConfig
from z4j_otel.config.secret import Secret


class Adapter(SimpleNamespace):
    """An adapter that takes rules."""

    def obey(self, rules):
        """Note the rules."""
        self.rules = rules


def test_adapters_get_the_rules_of_the_settings():
    """The signing secret comes decoded, and the other settings as they are."""
    config = AgentConfig(
        hmac_secret=Secret("A" * 43 + "="), purge_threshold=7, restart_by_exit="never"
    )
    (adapter,) = adapters_in_use(config, [Adapter(name="x")], {})
    assert adapter.rules.purge_secret == bytes(32)
    assert adapter.rules.purge_threshold == 7
    assert adapter.rules.restart_by_exit == "never"
    assert not adapter.rules.accepts_legacy_purge_token


def test_without_a_secret_there_is_none_to_confirm_with():
    """An agent without settings still hands over strict rules."""
    (adapter,) = adapters_in_use(AgentConfig(), [Adapter(name="x")], {})
    assert adapter.rules.purge_secret == b""
