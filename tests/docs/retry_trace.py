"""Draws docs/images/retry-trace.svg from the spans of a real worker.

``python -m tests.docs.retry_trace`` plays a retry against the embedded brain and a collector.
"""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path

from ..e2e.test_command_trace import Scene  # noqa: TID252 -- the tests show it, the page too
from .generated import DOCS

PICTURE = DOCS / "images" / "retry-trace.svg"
LEFT, WIDTH, ROW, TOP = 330, 560, 46, 92
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" \
font-family="Helvetica, Arial, sans-serif" font-size="14" role="img" aria-labelledby="title">
  <title id="title">Two traces: of the task that failed, and of the command that retried it.</title>
  <style>
    text {{ fill: #0f172a }}
    .small {{ font-size: 12px; fill: #475569 }}
    .head {{ font-weight: bold }}
    .ok {{ fill: #bfdbfe; stroke: #1d4ed8 }}
    .bad {{ fill: #fecaca; stroke: #b91c1c }}
    .link {{ fill: none; stroke: #b45309; stroke-width: 1.6; stroke-dasharray: 5 4 }}
  </style>
  <rect width="960" height="{height}" fill="#ffffff"/>
"""


def draw(scene: Scene) -> str:
    """Return the picture: one row for each span, in each trace on its own scale."""
    (failed,) = scene.runs(scene.failed)
    (command,) = scene.commands()
    new_id = scene.result["new_task_id"]
    before = [*scene.publishes(scene.failed), failed]
    after = [command, *scene.publishes(new_id), *scene.runs(new_id)]
    parts, places, y = [], {}, TOP
    titles = ("the trace of the task that failed", "the trace of the operator's command")
    for title, spans in zip(titles, (before, after), strict=True):
        parts.append(f'  <text class="head" x="20" y="{y - 26}">{title}</text>')
        parts.append(f'  <text class="small" x="{LEFT}" y="{y - 26}">{spans[0].trace_id}</text>')
        for depth, span in enumerate(spans):
            parts += bar(span, spans, depth, y)
            places[span.span_id] = y
            y += ROW
        y += 52
    start, end = places[command.span_id], places[failed.span_id]
    x = LEFT + WIDTH + 20
    parts.append(
        f'  <path class="link" d="M{x} {start} C{x + 44} {start} {x + 44} {end} {x} {end}"/>'
        f'<text class="small" x="{x + 3}" y="{(start + end) // 2 + 24}">link</text>'
    )
    height = y - 60
    return HEAD.format(height=height) + "\n".join(parts) + "\n</svg>\n"


def bar(span, spans, depth, y) -> list[str]:
    """Draw one span: its name, its time, and what is to be read on it."""
    begin = min(each.start_ns for each in spans)
    whole = max(each.end_ns for each in spans) - begin
    x = LEFT + WIDTH * (span.start_ns - begin) / whole
    width = max(4.0, WIDTH * (span.end_ns - span.start_ns) / whole)
    kind = "bad" if span.status == 2 else "ok"
    names = ("z4j.command.status", "z4j.task.cause", "celery.state", "z4j.task.state")
    notes = [f"{name}={span.attributes[name]}" for name in names if name in span.attributes]
    notes.insert(0, f"{(span.end_ns - span.start_ns) / 1e6:.1f} ms")
    return [
        f'  <text x="{20 + depth * 22}" y="{y + 5}">{escape(span.name)}</text>',
        f'  <rect class="{kind}" x="{x:.1f}" y="{y - 11}" width="{width:.1f}" height="16" rx="3"/>',
        f'  <text class="small" x="{LEFT}" y="{y + 20}">{escape(", ".join(notes))}</text>',
    ]


def main() -> None:
    """Play the scene and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(draw(Scene(Path(folder), "thread")), "utf-8")


if __name__ == "__main__":
    main()
