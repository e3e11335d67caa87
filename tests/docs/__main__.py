"""``make docs``: writes the generated pages of the documentation anew."""

from __future__ import annotations

from .generated import DOCS, generated_pages


def main() -> None:
    """Write each page that is generated, in whole or in part."""
    for name, text in generated_pages().items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


main()
