"""A scheduler that keeps its entries in memory, and a brain's word on it."""

from __future__ import annotations

from z4j_otel.commands import Command, Target
from z4j_otel.errors import AdapterError, CommandRefused, CommandUnsupported
from z4j_otel.ids import CommandId
from z4j_otel.schedules import Schedule
from z4j_otel.wire.schedules import source_scope

OWNER = "celery-beat"


def schedule(key, **members):
    """Return an entry."""
    wanted = {"name": f"name of {key}", "task_name": "app.task", "expression": "60.0", **members}
    return Schedule(source_key=key, engine="celery", scheduler=OWNER, external_id=key, **wanted)


def activation(epoch=1, **changes):
    """Return the parameters of an activation."""
    return {
        "scheduler": OWNER,
        "owner": OWNER,
        "source_scope": source_scope(OWNER),
        "stream_id": "stream",
        "epoch_uuid": f"epoch-{epoch}",
        "epoch_number": epoch,
        "adapter_instance_id": "instance",
        "stable_source": True,
        "registry_owner_id": "registry",
        "session_generation": f"session-{epoch}",
        **changes,
    }


def command(action, parameters, command_id="c-1"):
    """Return a command on the scheduler."""
    return Command(CommandId(command_id), action, Target("scheduler", OWNER), parameters)


class MemoryScheduler:
    """A scheduler without a store."""

    def __init__(self, *entries, name=OWNER):
        self.name = name
        self.entries = {each.source_key: each for each in entries}
        self.changes = 0
        self.published = []
        self.problem = None

    def capabilities(self):
        """Tell what can be done."""
        return ["list", "read", "create", "update", "delete", "trigger_now"]

    def version(self):
        """Count the changes."""
        return str(self.changes)

    def put(self, entry):
        """Change an entry, as somebody else would."""
        self.entries[entry.source_key] = entry
        self.changes += 1

    def read(self):
        """Return all, or fail."""
        if self.problem is not None:
            raise self.problem
        return list(self.entries.values())

    def apply(self, change, settle):
        """Carry out a change."""
        current = self.entries.get(change.key)
        definition = settle(current)
        if change.operation == "create":
            entry = schedule(f"k{len(self.entries)}", **definition)
        elif current is None:
            raise CommandRefused("gone")
        elif current.source == "celery-beat:static":
            raise CommandUnsupported("read-only")
        elif change.operation == "delete":
            del self.entries[change.key]
            self.changes += 1
            return change.key
        else:
            members = {name: getattr(current, name) for name in current.__struct_fields__}
            entry = Schedule(**{**members, **definition})
        self.put(entry)
        return entry.source_key

    def trigger(self, key, settle, *, task_id):
        """Publish a task."""
        settle(self.entries.get(key))
        if self.problem is not None:
            raise AdapterError("no broker", indeterminate=True)
        self.published.append((key, task_id))
        return {"task_id": task_id}


class Adapter:
    """An engine with schedulers."""

    name = "celery"

    def __init__(self, *schedulers):
        self._schedulers = schedulers

    def capabilities(self):
        """Do nothing but schedules."""
        return []

    def schedulers(self):
        """Return them."""
        return self._schedulers
