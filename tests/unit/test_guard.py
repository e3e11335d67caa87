"""The guard around our code on the application's threads."""

from __future__ import annotations

import logging

import pytest

from z4j_otel import guard as guards


def test_an_error_of_ours_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets None; the log names the place and the type, not the message."""

    @guards.guard("unit test inside")
    def fail() -> int:
        raise ValueError("secret-17")

    with caplog.at_level(logging.WARNING):
        assert fail() is None
    assert "unit test inside failed (ValueError" in caplog.text
    assert "secret-17" not in caplog.text


def test_repeated_errors_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line a minute per place, however often it fails."""

    @guards.guard("unit test repeated")
    def fail() -> None:
        raise ValueError

    for _ in range(5):
        fail()
    assert guards.failures["unit test repeated"] == 5
    assert caplog.text.count("unit test repeated failed") == 1


def test_a_hook_that_catches_for_itself_is_counted_alike(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The busiest hooks have no wrapper; their failures are told like all others."""
    guards.note_failure("unit test noted", ValueError("secret-17"))
    assert guards.failures["unit test noted"] == 1
    assert "unit test noted failed (ValueError" in caplog.text
    assert "secret-17" not in caplog.text


@pytest.mark.parametrize("passing", [SystemExit, KeyboardInterrupt])
def test_the_applications_own_exits_pass(passing: type[BaseException]) -> None:
    """A signal handler may raise SystemExit anywhere; it is not ours to keep."""

    @guards.guard("unit test exit")
    def leave() -> None:
        raise passing

    with pytest.raises(passing):
        leave()


def test_a_result_comes_back_unchanged() -> None:
    """Without an error the guard is not noticed."""
    assert guards.guard("unit test result")(lambda x: x + 1)(1) == 2
