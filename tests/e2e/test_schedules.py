"""Schedules of django-celery-beat and of beat's configuration, through the real brain."""

from __future__ import annotations

import json

import pytest

from z4j_otel.cli.brain_api import ApiError, wait_until

from .schedules_lab import Lab

pytestmark = pytest.mark.timeout(400)

ADDING = {"task_name": "schedules.add", "args": [1, 2], "kwargs": {}, "timezone": "UTC"}
HOURLY = {"hourly": {"task": "schedules.add", "s": 3600, "args": [1, 2]}}
MAIL = json.dumps({"to": "jane.doe@example.com", "password": "hunter2"})
SECRETS = ("jane.doe", "hunter2")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """URL of an empty database."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite://{tmp_path}/django.sqlite3"


@pytest.fixture
def new_lab(real_brain, redis_url, queue_name, tmp_path):
    """Make labs that are taken down at the end of the test."""
    made = []

    def make(**more):
        folder = tmp_path / f"lab{len(made)}"
        folder.mkdir()
        made.append(Lab(folder, real_brain, redis_url, queue_name, **more))
        return made[-1]

    yield make
    for lab in made:
        lab.__exit__()


def wait_run(lab, task="schedules.add"):
    """Wait until a task has run, and return it."""

    def done():
        tasks = lab.api.list_all("tasks", state="success")
        return next((each for each in tasks if each["queue"] == lab.env["SCHEDULES_QUEUE"]), None)

    return wait_until(done, f"run of {task}", timeout_s=60)


def test_operator_creates_edits_switches_triggers_and_deletes(new_lab, database):
    """What the brain asks for is in Django's tables, and the brain sees that it is."""
    lab = new_lab(database=database)
    lab.worker()
    wait_until(lab.activated, "activation", timeout_s=60)

    made = lab.change("create", "made", kind="interval", expression="45", **ADDING)
    assert made["status"] == "APPLIED"
    lab.wait_row("made", expression="45.0", source="celery-beat:database")
    assert lab.django("print(PeriodicTask.objects.get(name='made').interval)") == (
        "every 45 seconds\n"
    )

    edit = {"kind": "cron", "expression": "*/5 4 * * mon", "timezone": "Europe/Zurich"}
    assert lab.change("update", "made", **edit)["status"] == "APPLIED"
    lab.wait_row("made", **edit)

    path = f"schedules/{lab.rows()['made']['id']}"
    lab.api.request("POST", f"{path}/disable", {})
    lab.wait_row("made", is_enabled=False)
    assert lab.django("print(PeriodicTask.objects.get(name='made').enabled)") == "False\n"
    lab.api.request("POST", f"{path}/enable", {})
    lab.wait_row("made", is_enabled=True)

    assert lab.change("trigger", "made")["status"] == "APPLIED"
    assert wait_run(lab)["name"] == "schedules.add"

    assert lab.change("delete", "made")["status"] == "APPLIED"
    lab.wait_gone("made")
    assert lab.django("print(PeriodicTask.objects.filter(name='made').count())") == "0\n"


def test_changes_made_in_django_are_seen(new_lab, database):
    """Rows that are made, changed, run and deleted in Django show up, without any request."""
    lab = new_lab(database=database)
    lab.worker()
    wait_until(lab.activated, "activation", timeout_s=60)
    lab.django(
        """
        every = IntervalSchedule.objects.create(every=30, period="minutes")
        for name in ("one", "two"):
            PeriodicTask.objects.create(name=name, task="schedules.add", interval=every)
        """
    )
    lab.wait_row("one", expression="1800.0", is_enabled=True)
    lab.django("PeriodicTask.objects.filter(name='two').first().delete()")
    lab.wait_gone("two")
    lab.django(
        """
        IntervalSchedule.objects.update(every=10)
        task = PeriodicTask.objects.get(name="one")
        task.enabled = False
        task.save()
        """
    )
    lab.wait_row("one", expression="600.0", is_enabled=False)


def test_row_with_an_address_is_mirrored_edited_and_kept(new_lab, database):
    """A row is redacted before its digest; an edit leaves what was redacted as it is."""
    lab = new_lab(database=database)
    lab.django(
        f"""
        every = IntervalSchedule.objects.create(every=1, period="days")
        for to in ("jane.doe@example.com", "john.doe@example.com"):
            PeriodicTask.objects.create(
                name=f"mail {{to}}", task="schedules.mail", interval=every, kwargs='{MAIL}'
            )
        """
    )
    lab.worker()
    wait_until(lambda: len(lab.rows()) == 2, "both rows", timeout_s=60)
    row, other = lab.rows().values()
    assert row["kwargs"] == other["kwargs"] == {"to": "[REDACTED]", "password": "[REDACTED]"}
    assert not any(secret in json.dumps([row, other]) for secret in SECRETS)

    shown = {key: row[key] for key in ("task_name", "kind", "timezone", "args", "kwargs")}
    assert lab.change("update", row["name"], **shown, expression="7200")["status"] == "APPLIED"
    lab.wait_row(row["name"], expression="7200.0")
    kept = lab.django("print(PeriodicTask.objects.get(interval__every=7200).kwargs)")
    assert json.loads(kept) == json.loads(MAIL)

    mixed = {"to": "[REDACTED]", "password": "new"}
    refused = lab.change("update", row["name"], kwargs=mixed)
    assert refused["status"] != "APPLIED"
    assert "[REDACTED]" in refused["error"]
    assert json.loads(lab.django("print(PeriodicTask.objects.first().kwargs)")) == json.loads(MAIL)


def test_wrong_wishes_are_refused_in_words_and_change_nothing(new_lab, database):
    """A name that is taken, an interval that is none, a timezone nobody knows."""
    lab = new_lab(database=database)
    lab.worker()
    wait_until(lab.activated, "activation", timeout_s=60)
    lab.change("create", "made", kind="interval", expression="45", **ADDING)
    for (name, kind, expression), said in (
        (("made", "interval", "45"), "already exists"),
        (("more", "interval", "often"), "number of seconds"),
        (("more", "cron", "1 2 3"), "five fields"),
    ):
        refused = lab.change("create", name, kind=kind, expression=expression, **ADDING)
        assert refused["status"] != "APPLIED"
        assert said in refused["error"]
    assert lab.django("print(PeriodicTask.objects.count(), IntervalSchedule.objects.count())") == (
        "1 1\n"
    )
    assert list(lab.rows()) == ["made"]


def test_configured_schedules_are_shown_and_triggered_only(new_lab):
    """What stands in beat_schedule can be run, and not be changed from the brain."""
    lab = new_lab(static=HOURLY)
    lab.worker()
    row = lab.wait_row("hourly", source="celery-beat:static", expression="3600.0")
    with pytest.raises(ApiError) as refused:
        lab.api.request("POST", f"schedules/{row['id']}/disable", {})
    assert refused.value.status == 409
    assert lab.change("trigger", "hourly")["status"] == "APPLIED"
    task = wait_run(lab)
    kinds = {"schedule.run_started", "schedule.run_completed"}
    wait_until(
        lambda: kinds <= {each["kind"] for each in lab.api.events(task["task_id"])},
        "the run's events",
        timeout_s=30,
    )
    lab.wait_row("hourly", is_enabled=True)


def test_local_policy_holds_for_schedules(new_lab):
    """Who runs the worker decides whether schedules are told, and whether they are changed."""
    silent = new_lab(static=HOURLY)
    silent.worker(Z4J_COMMANDS="none")
    silent.wait_connected("one")
    shown = new_lab(static=HOURLY)
    shown.worker(Z4J_COMMANDS="-schedule.external.mutate")
    shown.wait_row("hourly")
    with pytest.raises(ApiError) as refused:
        shown.change("trigger", "hourly")
    assert 400 <= refused.value.status < 500
    assert not silent.activations()
    assert not silent.rows()


def test_agent_beside_its_worker_has_the_schedules_too(new_lab, database):
    """With the agent as a process of its own, the worker still reads and writes its tables."""
    lab = new_lab(database=database, static=HOURLY)
    lab.worker(Z4J_AGENT_HOST="process")
    lab.wait_row("hourly")
    made = lab.change("create", "made", kind="interval", expression="45", **ADDING)
    assert made["status"] == "APPLIED"
    lab.wait_row("made")
    assert lab.change("trigger", "made")["status"] == "APPLIED"
    wait_run(lab)
    lab.django("PeriodicTask.objects.all().delete()")
    lab.wait_gone("made")


def test_one_process_owns_the_schedules_and_another_takes_over(new_lab):
    """Beat and two workers: one activation; whoever dies or stops, the next one goes on."""
    lab = new_lab(static=HOURLY)
    owner = lab.beat()
    lab.wait_row("hourly")
    second, third = lab.worker("two"), lab.worker("three")
    for name in ("two", "three"):
        lab.wait_connected(name)
    assert len(lab.activations()) == 1

    lab.kill(owner)
    wait_until(lambda: lab.activated(2), "the second owner", timeout_s=60)
    assert lab.change("trigger", "hourly")["status"] == "APPLIED"

    left = [process for process in (second, third) if not lab.is_owner(process)]
    assert len(left) == 1
    (second if third in left else third).terminate()
    wait_until(lambda: lab.activated(3), "the third owner", timeout_s=60)
    assert lab.change("trigger", "hourly")["status"] == "APPLIED"
    epochs = [each["result"]["epoch_number"] for each in lab.activations()]
    assert sorted(epochs, reverse=True) == epochs
    assert {each["result"]["sequence"] for each in lab.activations()} == {1}


def test_agent_and_brain_restart_each_in_a_new_epoch(new_lab, database):
    """Nothing of an old epoch disturbs the new one, and what changed meanwhile is there."""
    lab = new_lab(database=database)
    lab.django(
        """
        every = IntervalSchedule.objects.create(every=1, period="days")
        PeriodicTask.objects.create(name="daily", task="schedules.add", interval=every)
        """
    )
    worker = lab.worker()
    lab.wait_row("daily")
    lab.kill(worker)
    lab.django(
        """
        PeriodicTask.objects.all().delete()
        PeriodicTask.objects.create(
            name="renamed", task="schedules.add", interval=IntervalSchedule.objects.first()
        )
        """
    )
    lab.worker("again")
    lab.wait_row("renamed")
    lab.wait_gone("daily")
    lab.brain.stop()
    lab.django("PeriodicTask.objects.update(name='third')")
    lab.brain.start()
    lab.wait_row("third", timeout_s=90)
    made = lab.change("create", "made", kind="interval", expression="45", **ADDING)
    assert made["status"] == "APPLIED"
    lab.wait_gone("renamed")


def test_second_agent_gets_the_stream_when_the_first_is_gone(new_lab):
    """An agent of another machine with a token of its own waits, and comes again."""
    first = new_lab(static=HOURLY)
    second = new_lab(static={**HOURLY, "only here": HOURLY["hourly"]}, api=first.api)
    worker = first.worker()
    first.wait_row("hourly")
    second.worker()
    second.wait_connected("one")
    assert not second.activations()
    assert "only here" not in second.rows()
    first.kill(worker)
    second.wait_row("only here", timeout_s=90)
