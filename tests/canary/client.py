"""The publisher: sends every plant once and prints the ids of the tasks, by plant."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from .app import app
from .decoys import DECOYS
from .places import plant
from .plants import PLANTS, WAYS, Plant

__all__ = ["write_lines"]

_WAIT_S = 60.0
_NEVER_END = {"reason of a rejection"}
_UNTOLD = {"task name", "task id", "name of a task that is rejected", "name of a task that dies"}
"""Tasks of whose end the result backend does not tell."""


def write_lines(folder: Path) -> None:
    """Write the module whose source code holds secrets."""
    functions, table = [], []
    for number, each in enumerate(PLANTS):
        if each.way == "source line":
            functions.append(f"def line_{number}():\n    {each.content()}\n")
            table.append(f"{number}: line_{number}")
    charge = "def charge(*_args, **_kwargs):\n    raise LookupError('no stock')\n"
    known = "made_up_password = 'is known'\n"
    body = "\n".join([known, charge, *functions, "LINES = {" + ", ".join(table) + "}\n"])
    (folder / "canary_lines.py").write_text(body, "utf-8")


def _arguments(number: int, each: Plant) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if each.way == "argument":
        return (each.content(),), {}
    if each.way == "keyword argument":
        return (), {"note": each.content()}
    if each.way == "request's repr":
        return (number,), each.content()
    return (number,), {}


def _send_plants() -> dict[str, str]:
    sent = {}
    for number, each in enumerate(PLANTS):
        if WAYS[each.way].is_foreign:
            continue
        args, kwargs = _arguments(number, each)
        done = app.send_task(WAYS[each.way].task, args, kwargs, serializer="pickle")
        sent[each.name] = done.id
    return sent


def _send_decoys() -> dict[str, str]:
    return {
        f"decoy {number}": app.send_task("store.return", (value,)).id
        for number, value in enumerate(DECOYS)
    }


def _send_names() -> dict[str, str]:
    task, queue = app.tasks["store.keep"], plant("queue name").content()
    text = {name: plant(name).content() for name in ("group id", "shadow name", "message header")}
    app.send_task("store.parent", task_id=plant("task id").content())
    return {
        # The brain knows it by what is shown of it.
        "task id": str(plant("task id").shown),
        **{
            name: app.send_task(plant(name).content(), ignore_result=True).id
            for name in ("name of a task that is rejected", "name of a task that dies")
        },
        "name of a task that runs": app.send_task(plant("name of a task that runs").content()).id,
        "task name": app.send_task(plant("task name").content(), ignore_result=True).id,
        "queue name": task.apply_async((), queue=queue).id,
        "shadow name": task.apply_async((), shadow=text["shadow name"]).id,
        "group id": task.apply_async((), group_id=text["group id"]).id,
        "message header": task.apply_async((), headers={"x-api-key": text["message header"]}).id,
        "stamp": task.apply_async(
            (),
            headers={"stamps": {"token": plant("stamp").content()}, "stamped_headers": ["token"]},
        ).id,
        "to retry": app.send_task("store.pay", ("card",), {"order": 7}).id,
        "to retry in vain": app.send_task("store.pay", ("fail",), {"order": 7}).id,
        "to override": app.send_task("store.pay", ("card",), {"order": 7}).id,
    }


def _wait(sent: dict[str, str]) -> None:
    never = {name for name in sent if name.partition(", ")[2] in _NEVER_END} | _UNTOLD
    for name, task_id in sent.items():
        if name not in never:
            with contextlib.suppress(Exception):
                # What the task raises is the plant; only that it has ended counts.
                app.AsyncResult(task_id).get(timeout=_WAIT_S, propagate=False)


if __name__ == "__main__":
    write_lines(Path(os.environ["CANARY_FOLDER"]))
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
    ids = _send_plants() | _send_decoys() | _send_names()
    _wait(ids)
    print(json.dumps(ids))  # noqa: T201 -- for whoever started it
