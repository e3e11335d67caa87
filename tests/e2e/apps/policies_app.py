"""The workload's application with tasks that have policies of their own."""

from celery.exceptions import Reject

from z4j_otel import z4j_meta, z4j_task
from z4j_otel.cli.workload.app import app

__all__ = ["CARD", "app"]

CARD = "4111-2222-ab"


@app.task(name="pol.redact")
@z4j_task(redact=["card", "user.email"])
def redact(card, user=None):
    """Repeat the card in the result."""
    return {"paid by": card, "user": user}


@z4j_task(keep=["amount"])
@app.task(name="pol.keep", bind=True, max_retries=1)
def keep(self, card, amount):
    """Fail once, then for good, with the card in the message."""
    if not self.request.retries:
        raise self.retry(exc=ValueError(f"{card} again"), countdown=0)
    raise ValueError(f"{card} refused for {amount}")


@z4j_meta(redact_result=True, redact_kwargs=["card"], deadline_ms=5000)
@app.task(name="pol.result")
def result(card):
    """Return something that is nobody's business."""
    return f"receipt for {card}"


@app.task(name="pol.tagged")
@z4j_task(tags={"team": "billing"}, priority="critical")
def tagged():
    """Belong to somebody."""


@app.task(name="pol.skip")
@z4j_task(skip=True)
def skip():
    """Tell nothing."""


@app.task(name="pol.sample", bind=True)
@z4j_task(sample_rate=0.5)
def sample(self):
    """Be told every other time."""


@app.task(name="pol.plain")
def plain(card):
    """Have no policy."""
    return card


@app.task(name="pol.rejected", acks_late=True)
@z4j_task(redact=["card"])
def rejected(card):
    """Take the message out of the queue with a word about it."""
    raise Reject(f"no {card}", requeue=False)


@z4j_task(redact=["card"])
class Pay(app.Task):
    """A task by class."""

    name = "pol.class"

    def run(self, card):
        """Fail with the card."""
        raise ValueError(card)


app.register_task(Pay())
