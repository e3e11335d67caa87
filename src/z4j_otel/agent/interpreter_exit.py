"""The end of an interpreter: what can still be done, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["at_end_of_main"]


def at_end_of_main(flush: Callable[[], object]) -> bool:
    """Call a function when the main thread ends, and tell whether an agent can be started.

    At ``atexit`` the executors are closed, and a connection to a host name needs one.
    """
    register = getattr(threading, "_register_atexit", None)
    try:
        if register is not None:
            register(flush)
    except RuntimeError:
        return _can_start_threads()
    return True


def _can_start_threads() -> bool:
    """Whether the end of the interpreter has not come that far."""
    try:
        threading.Thread(target=int, name="z4j-probe", daemon=True).start()
    except RuntimeError:
        return False
    return True
