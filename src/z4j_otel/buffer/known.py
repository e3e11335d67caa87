"""Which keys may be stored: a quick no in place of a look into the database.

Nearly every task that an agent meets is new, and each cost a query that found nothing. Here
a key sets two bits of a filter; one whose bits are not both set was never added. The keys of
two generations are known. A generation ends with a number of different keys; so whatever
key is forgotten, at least that number of others have been added since.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["KnownKeys"]

_BITS: Final = 1 << 20
"""128 KiB for each generation; of 50 000 keys, 1 answer in 100 is a yes by mistake."""
_MASK: Final = _BITS - 1
_SHIFT: Final = 24


class KnownKeys:
    """A set of keys that may say yes by mistake and never says no by mistake.

    Args:
        generation: The last so many different keys are certain to be known.
    """

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._added = 0
        self._bits = bytearray(_BITS // 8)
        self._former = bytearray(_BITS // 8)

    def add(self, keys: Iterable[str]) -> None:
        """Know some keys from now on."""
        for key in keys:
            number = hash(key)
            if _has(self._bits, number):
                continue  # only different ones count
            if self._added == self._generation:
                self._former, self._bits, self._added = self._bits, bytearray(_BITS // 8), 0
            self._added += 1
            for bit in (number & _MASK, number >> _SHIFT & _MASK):
                self._bits[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, key: str) -> bool:
        number = hash(key)
        return _has(self._bits, number) or _has(self._former, number)


def _has(bits: bytearray, number: int) -> bool:
    one, other = number & _MASK, number >> _SHIFT & _MASK
    return bool(bits[one >> 3] & 1 << (one & 7) and bits[other >> 3] & 1 << (other & 7))
