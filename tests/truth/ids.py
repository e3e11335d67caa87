"""Task ids that publisher, tasks and the table know without telling each other."""

import uuid

__all__ = ["id_below", "id_of"]


def id_of(folder, name):
    """Return the id of a scenario's task in the run that has this folder."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{folder}/{name}"))


def id_below(task_id):
    """Return the id of the task that a task sends."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{task_id}/child"))
