"""What the log hears of the connection."""

from __future__ import annotations

import logging

import pytest

from z4j_otel.agent.connection_failures import Failure
from z4j_otel.agent.news import News
from z4j_otel.transport.close_codes import FailureClass

REFUSED = Failure(FailureClass.CONNECTION, "connect:refused", "nobody listens")
TOKEN = Failure(FailureClass.AUTH, "token", "the token is not accepted; set Z4J_TOKEN")


@pytest.fixture
def told(caplog):
    """Play a story, return the lines an operator sees."""
    caplog.set_level(logging.INFO, "z4j_otel.agent.news")

    def play(*steps):
        news = News()
        for step in steps:
            if isinstance(step, Failure):
                news.failed(step, 7.4)
            else:
                getattr(news, step)()
        return [record.getMessage().removeprefix("[z4j] ") for record in caplog.records]

    return play


def test_one_line_per_condition(told):
    """A lasting condition is one line, and its end another."""
    assert told(REFUSED, REFUSED, REFUSED, "proven", "stable") == [
        "not connected to the brain: nobody listens; next attempt in 7 s",
        "connected to the brain",
    ]


def test_conditions_in_turn_are_told_once_each(told):
    """Two causes that alternate while nothing works are two lines."""
    assert len(told(REFUSED, TOKEN, REFUSED, TOKEN)) == 2


def test_short_outage_after_a_good_time(told):
    """Each outage after a stable connection is told, and each recovery at once."""
    lines = told("proven", "stable", REFUSED, "proven", "stable", REFUSED, "proven")
    assert [line.partition(":")[0] for line in lines] == [
        "connected to the brain",
        "not connected to the brain",
        "connected to the brain again",
        "not connected to the brain",
        "connected to the brain again",
    ]


def test_flapping_ends_with_the_truth(told):
    """After good news that did not last, the last line says that there is no connection."""
    lines = told(TOKEN, "proven", TOKEN, "proven", TOKEN, "proven", TOKEN)
    assert len(lines) == 3
    assert lines[-1].startswith("not connected")


def test_good_news_after_flapping_waits_for_a_stable_connection(told):
    """A connection that lasts ends the doubt."""
    lines = told("proven", TOKEN, "proven", TOKEN, "proven", "stable")
    assert lines[-1] == "connected to the brain again"
    assert len(lines) == 3
