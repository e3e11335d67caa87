"""The port of the acting half."""

from z4j_otel.instrumentors.adapter import EngineAdapter


class Complete:
    """An adapter of a third party, without inheritance."""

    name = "mine"

    def capabilities(self):
        """List nothing."""
        return []

    def execute(self, command):
        """Do nothing."""
        return {}

    def queue_depths(self):
        """Know no queue."""
        return {}

    def worker_details(self):
        """Know no worker."""
        return {}


def test_any_object_with_the_members_is_an_adapter():
    """The port asks for members, not for a base class."""
    assert isinstance(Complete(), EngineAdapter)
    assert not isinstance(object(), EngineAdapter)
