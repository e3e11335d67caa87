"""The form of command results in the buffer."""

from __future__ import annotations

import json

import pytest

from z4j_otel.agent.results import (
    BEGUN_PREFIX,
    Begun,
    decode_begun,
    decode_result,
    encode_begun,
    encode_result,
    readdress,
    without_begun,
)
from z4j_otel.commands import (
    Command,
    CommandResult,
    CommandStatus,
    command_key,
    planned_task_id,
)
from z4j_otel.errors import FrameMalformed

COMMAND = Command("c-1", "retry_task", claim_token="claim")
SUCCESS = CommandResult(CommandStatus.SUCCESS, {"new_task_id": "t"})


def test_key_is_the_command_or_its_firing():
    """Two deliveries of one firing are one piece of work; other commands are their id."""
    assert command_key(COMMAND) == "cmd:c-1"
    assert command_key(Command("c-1", "x", parameters={"fire_id": "f"})) == "fire:f"
    assert command_key(Command("c-1", "x", parameters={"fire_id": 3})) == "cmd:c-1"


def test_round_trip():
    """What was encoded is found again, the payload ready to be sent."""
    stored = decode_result(encode_result(COMMAND, SUCCESS))
    assert (stored.command_id, stored.is_success) == ("c-1", True)
    assert json.loads(stored.payload) == {
        "status": "success",
        "result": {"new_task_id": "t"},
        "error": None,
        "delivery_claim_token": "claim",
    }


def test_error_is_cut():
    """An error text has at most 1024 characters."""
    failure = CommandResult(CommandStatus.FAILED, error="e" * 5000)
    stored = decode_result(encode_result(COMMAND, failure))
    assert not stored.is_success
    assert json.loads(stored.payload)["error"] == "e" * 1024


@pytest.mark.parametrize(("body", "error"), [(b"{", FrameMalformed), (b"{}", KeyError)])
def test_foreign_bytes_are_refused(body, error):
    """Something else than a stored result is told."""
    with pytest.raises(error):
        decode_result(body)


def test_redelivery_gets_its_own_claim_token():
    """The same command delivered again is answered under the new delivery's token."""
    again = Command("c-1", "retry_task", claim_token="second")
    payload = json.loads(readdress(encode_result(COMMAND, SUCCESS), again))["payload"]
    assert payload["delivery_claim_token"] == "second"
    assert "deduplicated" not in payload["result"]


def test_second_command_of_a_firing_is_told_as_duplicate():
    """Another command for the same firing gets the result, marked as such."""
    again = Command("c-2", "schedule.fire", parameters={"fire_id": "f"})
    value = json.loads(readdress(encode_result(COMMAND, SUCCESS), again))
    assert value["command_id"] == "c-2"
    assert value["payload"]["result"] == {
        "new_task_id": "t",
        "deduplicated": True,
        "dedup_key": "fire:f",
    }


def test_begun_command_is_told_from_one_that_has_ended():
    """What it was begun with is its answer, with more for the next agent."""
    failure = CommandResult(CommandStatus.FAILED, {"indeterminate": True}, "unknown")
    body = encode_begun(COMMAND, "celery", failure)
    assert body.startswith(BEGUN_PREFIX)
    assert not encode_result(COMMAND, SUCCESS).startswith(BEGUN_PREFIX)
    assert without_begun(body) == encode_result(COMMAND, failure)
    expected = Begun("c-1", "claim", "retry_task", "celery", planned_task_id(COMMAND))
    assert decode_begun(body) == expected
    purge = Command("c-1", "purge_queue")
    assert decode_begun(encode_begun(purge, "", failure)).task_id is None
