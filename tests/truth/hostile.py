"""Values that do harm when somebody looks at them: they raise, block, or change.

Each notes every look at it. Nothing of z4j-otel may look, so that there is none while a task
that takes or returns such a value is captured.
"""

import time

__all__ = ["Blocking", "Lazy", "Raising", "Restless", "looks_at", "numbers"]

_LOOKS = []
"""Whom somebody looked at, and the method that was called, in order."""
BLOCKED_S = 30.0
_LOOKING = (
    "__repr__", "__str__", "__len__", "__iter__", "__bool__", "__hash__", "__eq__",
    "__contains__", "__getitem__", "__format__", "__bytes__", "__int__", "__float__",
    "__index__", "__fspath__", "__call__", "__dir__",
)  # fmt: skip


def _looked(name, what):
    def method(self, *_args, **_kwargs):
        _LOOKS.append((self, f"{type(self).__name__}.{name}"))
        return what(self)

    return method


def _raise(_self):
    raise RuntimeError("do not look at me")


def _block(_self):
    time.sleep(BLOCKED_S)
    return "late"


def _change(self):
    self.looks += 1
    return f"looked at {self.looks} times"


def _hostile(name, what):
    return type(name, (_Armed,), {method: _looked(method, what) for method in _LOOKING})


class _Armed:
    """Survives a pickle; harmful from its first moment."""

    looks = 0

    def __reduce__(self):
        return type(self), ()


Raising = _hostile("Raising", _raise)
"""Raises when looked at."""
Blocking = _hostile("Blocking", _block)
"""Blocks for half a minute when looked at."""
Restless = _hostile("Restless", _change)
"""Changes when looked at."""
for _kind in (Raising, Blocking, Restless):
    _kind.__module__ = __name__


class Lazy:
    """Stands for a value that is fetched at the first look, as Django's lazy objects do."""

    def __getattribute__(self, name):
        if name in {"__reduce_ex__", "__reduce__"}:
            return lambda *_: (Lazy, ())
        _LOOKS.append((self, f"Lazy.{name}"))
        return object.__getattribute__(self, name)

    @property
    def __class__(self):
        _LOOKS.append((self, "Lazy.__class__"))
        return str

    def __repr__(self):
        _LOOKS.append((self, "Lazy.__repr__"))
        return "fetched"

    __str__ = __repr__


def looks_at(values):
    """Return the methods that were called of these values, in order."""
    return [name for looked_at, name in _LOOKS if any(looked_at is value for value in values)]


def numbers(count):
    """Yield numbers once; who takes one takes it from the task."""
    yield from range(count)
