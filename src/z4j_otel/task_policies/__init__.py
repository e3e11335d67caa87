"""What users say of single tasks in their code: the decorator, and how its word is found.

Light: applications import it where they define their tasks. What a policy does to an event
is the business of the redaction and of the gate.
"""

from __future__ import annotations

from z4j_otel.task_policies.decorator import z4j_meta, z4j_task
from z4j_otel.task_policies.lookup import BoundPolicy, TaskFinder, in_use, policy_of
from z4j_otel.task_policies.policy import TaskPolicy

__all__ = [
    "BoundPolicy",
    "TaskFinder",
    "TaskPolicy",
    "in_use",
    "policy_of",
    "z4j_meta",
    "z4j_task",
]
