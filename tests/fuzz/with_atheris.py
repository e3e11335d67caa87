"""The same targets under atheris, where it is installed: ``pip install atheris``.

``python -m tests.fuzz.with_atheris frames -max_total_time=60 tests/fuzz/corpus/frames``: the
name of a target, then libFuzzer's own arguments. It sees branches, so it gets deeper where an
input is one text; the other play sees hangs and memory, needs no compiler and runs anywhere.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["z4j_otel"]):
    from .targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    with target.open() as take:
        atheris.Setup(sys.argv, take)
        atheris.Fuzz()
