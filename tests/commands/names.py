"""Queues of the application."""

from kombu import Exchange, Queue

QUEUE = "work"
IDLE = "idle"
"""Nobody consumes from it."""
EXTRA = "extra"
"""The application does not list it."""
BROKEN = "broken"
"""Its rejected and expired messages go to ``DEAD``, on brokers that can do so."""
DEAD = "dead"
LETTERS = (
    Queue(
        BROKEN,
        queue_arguments={"x-dead-letter-exchange": DEAD, "x-dead-letter-routing-key": BROKEN},
    ),
    Queue(DEAD, Exchange(DEAD), routing_key=BROKEN),
)
