"""What is wrong with a configuration, in words: the setting, its source, and the cure."""

from __future__ import annotations

from dataclasses import dataclass

from z4j_otel.errors import ConfigError

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; no text of it holds a value, which may be a secret."""

    setting: str
    """Name of the setting, as in the settings table, or the name that nobody knows."""
    source: str
    """Where its value came from, for example ``environment Z4J_TOKEN``; ``not set``."""
    text: str
    """What is wrong, in one line."""
    cure: str
    """What to type or to change next."""
    is_fatal: bool = True
    """Whether z4j-otel does not start because of it; otherwise the value is not used."""

    def __str__(self) -> str:
        return f"{self.setting} ({self.source}): {self.text}; {self.cure}"

    def error(self, *, is_strict: bool = False) -> ConfigError:
        """Return it as an error.

        Args:
            is_strict: Whether the configuration asks that errors end the process.
        """
        expected = f"{self.text}; {self.cure}"
        return ConfigError(self.setting, self.source, expected, is_strict=is_strict)
