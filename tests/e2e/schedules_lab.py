"""A Django project with schedules: its database, its processes, and the brain that sees them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

from z4j_otel.cli.brain_api import ApiError, BrainApi, wait_until

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
OWNER = "celery-beat"


def new_project(brain):
    """Return the API of a new project of the brain."""
    slug = f"p-{uuid.uuid4().hex[:8]}"
    api = BrainApi(brain.base_url, brain.email, brain.password, project=slug)
    api.create_project()
    return api


class Lab:
    """One project at a real brain; every process that it starts ends with it."""

    def __init__(self, folder, brain, broker, queue, *, database="", static=None, api=None):
        self.folder, self.brain = folder, brain
        # An owner has one stream in a project: what one test leaves is no other one's.
        self.api = api or new_project(brain)
        self.agent = self.api.mint_agent(f"lab-{uuid.uuid4().hex[:8]}")
        self.processes = []
        own = {k: v for k, v in os.environ.items() if not k.startswith(("Z4J_", "OTEL_"))}
        self.env = {
            **own,
            **self.agent.environment(),
            "HOME": str(folder),
            "Z4J_HOME": str(folder / "home"),
            "Z4J_HEARTBEAT_SECONDS": "1",
            "Z4J_FLUSH_TIMEOUT_SECONDS": "2",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "PYTHONPATH": str(APPS),
            "SCHEDULES_BROKER": broker,
            "SCHEDULES_QUEUE": queue,
            "SCHEDULES_DATABASE": database,
            "SCHEDULES_STATIC": json.dumps(static or {}),
        }
        if database:
            self.django(
                """
                from django.core.management import call_command
                call_command("migrate", verbosity=0)
                for model in (PeriodicTask, IntervalSchedule, CrontabSchedule):
                    model.objects.all().delete()
                """
            )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.api.close()

    def start(self, *arguments, name, **variables):
        """Start a Celery program of the project under OpenTelemetry's launcher."""
        command = [BIN / "opentelemetry-instrument", BIN / "celery", "-A", "schedules_app"]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=self.folder,
                env={**self.env, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def worker(self, name="one", *, pool="solo", **variables):
        """Start a worker."""
        arguments = ("worker", "-P", pool, "-n", f"{name}@%h", "-l", "info", "-c", "1")
        return self.start(*arguments, name=name, **variables)

    def beat(self, *arguments, name="beat", **variables):
        """Start beat."""
        return self.start("beat", "-l", "info", *arguments, name=name, **variables)

    def kill(self, process):
        """Kill a process at once."""
        process.send_signal(signal.SIGKILL)
        process.wait()

    def django(self, code):
        """Run code in the project, and return what it printed."""
        models = "from django_celery_beat.models import *" if self.env["SCHEDULES_DATABASE"] else ""
        program = f"import schedules_app\n{models}\n{textwrap.dedent(code)}"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, name="one"):
        """Return what a process printed."""
        return (self.folder / f"{name}.log").read_text()

    # What the brain knows.

    def rows(self):
        """Return the brain's schedules by name."""
        return {row["name"]: row for row in self.api.list_all("schedules")}

    def wait_row(self, name, *, timeout_s=40.0, **members):
        """Wait until the brain shows a schedule with these members."""

        def fits():
            row = self.rows().get(name)
            fitting = row is not None and all(row[key] == value for key, value in members.items())
            return row if fitting else None

        return wait_until(fits, f"schedule {name} with {members}", timeout_s=timeout_s)

    def wait_gone(self, name, *, timeout_s=40.0):
        """Wait until the brain has no such schedule any more."""
        return wait_until(lambda: name not in self.rows(), f"end of {name}", timeout_s=timeout_s)

    def change(self, operation, name, **definition):
        """Have the brain change a schedule, as its dashboard does; return the operation.

        Who sees an older state is refused, and looks again.
        """
        if operation == "create":
            definition = {"name": name, **definition}

        def begin():
            row = {} if operation == "create" else self.rows()[name]
            order = {
                "request_id": str(uuid.uuid4()),
                "scheduler": OWNER,
                "operation": operation,
                "schedule_id": row.get("id"),
                "observed_control_token": row.get("control_token"),
                "definition": definition,
            }
            try:
                return self.api.request("POST", "schedules/native-operations", order), None
            except ApiError as error:
                return None if "refresh before editing" in str(error) else (None, error)

        begun, error = wait_until(begin, f"admission of {operation}", timeout_s=20)
        if error is not None:
            raise error

        def ended():
            path = f"schedules/native-operations/{begun['id']}"
            found = self.api.request("GET", path)
            return found if found["status"] != "PENDING" else None

        return wait_until(ended, f"end of {operation}", timeout_s=60)

    def activations(self):
        """Return the activations that the brain has sent to this agent."""
        commands = self.api.list_all("commands")
        return [
            each
            for each in commands
            if each["action"] == "schedule.external.activate"
            and each["agent_id"] == self.agent.agent_id
        ]

    def activated(self, times=1):
        """Tell whether so many activations of this agent have succeeded."""
        return [each["status"] for each in self.activations()].count("completed") >= times

    def wait_connected(self, name):
        """Wait until a process says in its log that the brain has taken its frames."""
        text = "connected to the brain"
        wait_until(lambda: text in self.log(name), f"connection of {name}", timeout_s=60)

    def is_owner(self, process):
        """Tell whether a process holds the lock of who mirrors the schedules."""
        (seat,) = (self.folder / "home").glob("schedules-*.seat")
        inode = str(seat.stat().st_ino)
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return any(
            fields[4] == str(process.pid) and fields[5].endswith(f":{inode}")
            for fields in locks
            if len(fields) > 5
        )
