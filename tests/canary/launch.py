"""Runs a program under OpenTelemetry without one rule of redaction: ``launch RULE celery ...``."""

from __future__ import annotations

import dataclasses
import runpy
import sys

from z4j_otel.redaction import Redactor

__all__ = ["take_away"]


def take_away(rule: str) -> None:
    """Have every redactor of this process do without a rule."""
    make = Redactor.__init__

    def init(self: Redactor, policy=None) -> None:
        known = () if policy is None else (policy,)
        make(self, *known)
        disabled = self.policy.disabled_rules | {rule}
        make(self, dataclasses.replace(self.policy, disabled_rules=disabled))

    Redactor.__init__ = init  # type: ignore[method-assign]


def main() -> None:
    """Do as ``opentelemetry-instrument`` does, in this process."""
    rule, program, *arguments = sys.argv[1:]
    take_away(rule)
    from opentelemetry.instrumentation.auto_instrumentation import (  # noqa: PLC0415 -- see above
        initialize,
    )

    sys.argv = [program, *arguments]
    initialize()
    if program == "celery":
        from celery.__main__ import main as run  # noqa: PLC0415 -- instrumented first

        run()
    else:
        _, module, *rest = arguments  # python -m MODULE
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
