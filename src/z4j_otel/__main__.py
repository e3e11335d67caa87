"""``python -m z4j_otel`` is ``z4j-otel``."""

from __future__ import annotations

from z4j_otel.cli.main import main

if __name__ == "__main__":
    main()
