"""Workers that answer control commands by a script, and an app that reaches them."""

from types import SimpleNamespace

from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.peers import Peers


def control_of(broadcast):
    """Return an app's control whose mailbox asks through a function."""

    def call(destination, command, arguments, *, timeout):
        return broadcast(command, arguments=arguments, destination=destination, timeout=timeout)

    def multi_call(command, arguments, *, timeout):
        return call(None, command, arguments, timeout=timeout)

    return SimpleNamespace(mailbox=lambda _: SimpleNamespace(call=call, multi_call=multi_call))


class Fleet:
    """A broker with workers; each command has an answer, a function, or a list of them."""

    def __init__(self, **answers):
        conf = {"worker_pool_restarts": True}
        self.answers = {"ping": {"ok": "pong"}, "conf": conf, **answers}
        self.names = ["w@here"]
        self.asked = []
        self.pauses = []
        connection = SimpleNamespace(
            connection_errors=(),
            channel_errors=(),
            ensure_connection=lambda **_: None,
            release=lambda: None,
            transport=SimpleNamespace(
                implements=SimpleNamespace(asynchronous=True), driver_type="x"
            ),
        )
        self.app = SimpleNamespace(
            connection_for_write=lambda: connection,
            control=control_of(self.broadcast),
        )
        self.handle = CeleryHandle(self.app)
        self.peers = Peers(self.handle, sleep=self.pauses.append)

    def broadcast(self, command, *, arguments, destination, **_):
        """Answer for every worker that is addressed."""
        self.asked.append((command, arguments, destination))
        names = self.names if destination is None else [n for n in self.names if n in destination]
        found = [(name, self._answer(command, name, arguments)) for name in names]
        return [{name: answer} for name, answer in found if answer is not None]

    def commands(self):
        """Return what was sent, without the questions."""
        quiet = {"ping", "stats", "active_queues", "active", "conf"}
        return [(c, a) for c, a, _ in self.asked if c not in quiet]

    def _answer(self, command, name, arguments):
        answer = self.answers.get(command)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, dict) and name in answer:
            answer = answer[name]
        return answer(arguments) if callable(answer) else answer


def pool_of(*pids, kind="prefork"):
    """Return a worker's stats with pool processes of these ids."""
    implementation = f"celery.concurrency.{kind}:TaskPool"
    return {"pool": {"implementation": implementation, "processes": list(pids)}}
