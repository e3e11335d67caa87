"""What the doctor finds of a Celery app."""

from __future__ import annotations

import pytest
from celery import Celery

from z4j_otel.errors import AdapterError
from z4j_otel.findings import Verdict
from z4j_otel.instrumentors.celery import checkup as module
from z4j_otel.instrumentors.celery.checkup import CeleryCheckup


def make_app(**conf):
    """Return an app on this process's memory."""
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(result_extended=True, **conf)
    return app


def examine(app):
    """Examine an app; return its findings by name."""
    return {each.name: each for each in CeleryCheckup().examine(app)}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Workers that are not there answer no sooner."""
    monkeypatch.setattr(module, "_REPLY_S", 0.01)


def test_an_app_that_is_given_is_found():
    """As a framework has it."""
    app = make_app()

    @app.task(name="shop.pay")
    def pay(): ...

    found, finding = CeleryCheckup().find(None, app)
    assert found is app
    assert finding.message == "shop (given by the application), 1 task of its own"


def test_an_app_is_imported_as_celery_does(tmp_path, monkeypatch):
    """By module, by attribute, or by the package that has a module celery."""
    (tmp_path / "market").mkdir()
    (tmp_path / "market" / "__init__.py").write_text("")
    text = "from celery import Celery\napp = Celery('market', set_as_current=False)\n"
    (tmp_path / "market" / "celery.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    for name in ("market", "market.celery", "market.celery:app"):
        app, finding = CeleryCheckup().find(name)
        assert app.main == "market"
        assert name in finding.message


@pytest.mark.parametrize("text", [None, "raise RuntimeError('not here')", "None.x"])
def test_an_app_that_cannot_be_imported_is_told(tmp_path, monkeypatch, text):
    """With the command that shows the error."""
    if text is not None:
        (tmp_path / "broken_shop.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(module.__dict__, "absent", raising=False)
    app, finding = CeleryCheckup().find("broken_shop")
    assert app is None
    assert finding.verdict is Verdict.FAIL
    assert "python -c 'import broken_shop'" in finding.cure
    assert "not here" not in finding.message


def test_the_only_app_of_a_process_is_found(monkeypatch):
    """Nobody has to name it."""
    app = make_app()
    monkeypatch.setattr(module.instances, "app_of_process", lambda: app)
    assert CeleryCheckup().find(None)[0] is app


def test_a_module_without_an_app_of_the_usual_name_is_told(tmp_path, monkeypatch):
    """Importing it once more would show nothing."""
    (tmp_path / "shop_of_another_name.py").write_text("value = 1")
    monkeypatch.chdir(tmp_path)
    _, finding = CeleryCheckup().find("shop_of_another_name")
    assert finding.verdict is Verdict.FAIL
    assert finding.cure.startswith("z4j-otel doctor -A shop_of_another_name:<")


def test_an_app_that_nobody_named_is_looked_for_without_importing(tmp_path, monkeypatch):
    """Assignments at the top of a module count, however Celery is called there."""
    monkeypatch.setattr(module.instances, "app_of_process", lambda: None)
    sources = {
        "a_broken.py": "app = Celery(",
        "b_other.py": "text = 'Celery('\nvalue = 1\nother = dict()\n",
        "c_call.py": "def make():\n    return Celery('x')\n",
        "d_shop.py": "import celery\napp: object = celery.Celery('x')\n",
        "e_table.py": "make = {}\napp = make['Celery(']()\n",
        ".hidden.py": "app = Celery('x')",
        "pkg/celery.py": "app = Celery('x')",
    }
    (tmp_path / "pkg").mkdir()
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "f_dir.py").mkdir()
    (tmp_path / "g_large.py").write_text("app = Celery('x')" + " " * 1024**2)

    app, finding = CeleryCheckup(tmp_path).find(None)

    assert app is None
    assert finding.details["candidates"] == ["d_shop", "pkg.celery"]
    assert finding.cure == "z4j-otel doctor -A d_shop"


def test_no_app_anywhere_is_a_warning(tmp_path, monkeypatch):
    """With an example."""
    monkeypatch.setattr(module.instances, "app_of_process", lambda: None)
    _, finding = CeleryCheckup(tmp_path).find(None)
    assert (finding.verdict, finding.cure) == (Verdict.WARN, "z4j-otel doctor -A proj.celery")


def test_a_sound_app_is_well():
    """Broker, results, workers, delivery, commands."""
    found = examine(make_app())
    assert {each.verdict for each in found.values()} == {Verdict.OK}
    assert found["celery.broker"].details["transport"] == "memory"
    assert "no worker answers now" in found["celery.workers"].message


def test_a_broker_that_is_away_is_told_without_its_password():
    """And its workers are not asked."""
    app = Celery("shop", broker="redis://:broker-password@127.0.0.1:1/0", set_as_current=False)
    found = examine(app)
    assert found["celery.broker"].verdict is Verdict.FAIL
    assert "redis://:**@127.0.0.1:1/0" in found["celery.broker"].message
    assert "broker-password" not in repr(found)
    assert found["celery.workers"].verdict is Verdict.SKIP
    assert "visibility_timeout" in found["celery.delivery"].message


def test_a_result_backend_that_is_away_is_told_without_its_password():
    """Its address shows which one."""
    app = make_app(result_backend="redis://:result-password@127.0.0.1:1/0")
    found = examine(app)["celery.results"]
    assert found.verdict is Verdict.FAIL
    assert "result-password" not in repr(found)


def test_a_result_backend_without_arguments_is_a_warning():
    """Retries take them from there."""
    app = make_app()
    app.conf.result_extended = False
    found = examine(app)["celery.results"]
    assert (found.verdict, found.cure) == (Verdict.WARN, "app.conf.result_extended = True")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("login\nrefused", ": login refused"),
        ("cannot open redis://me:result-password@h/0", ": cannot open redis://**@h/0"),
        ("bad password 'result-password'", ": bad password '**'"),
        ("", ""),
    ],
)
def test_what_a_client_said_is_told_without_the_password(said, told):
    """It knows best what is wrong, and may quote its address."""
    error = AdapterError("away")
    error.__cause__ = OSError(said)
    found = module._why(error, "redis://me:result-password@h/0")
    assert "result-password" not in found
    assert found.split()[:2] == told.split()[:2]


def test_no_result_backend_is_a_choice():
    """It is said where retries take arguments from then."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    found = examine(app)
    assert found["celery.results"].verdict is Verdict.OK
    assert found["celery.commands"].details["retry_sources"] == [
        "the worker's memory",
        "waiting queues",
    ]


def test_workers_that_answer_are_told_with_their_pools(monkeypatch):
    """That is what they really run with."""
    stats = {"pool": {"implementation": "celery.concurrency.prefork:TaskPool"}}
    monkeypatch.setattr(module, "broadcast", lambda *_, **__: {"celery@a": stats})
    found = examine(make_app())["celery.workers"]
    assert "celery@a (prefork)" in found.message


def test_workers_that_cannot_be_asked_are_told(monkeypatch):
    """The broker failed on the way."""

    def fail(*_, **__):
        raise AdapterError("the broker failed during stats (OSError)")

    monkeypatch.setattr(module, "broadcast", fail)
    found = examine(make_app())["celery.workers"]
    assert found.verdict is Verdict.WARN
    assert "the broker failed during stats" in found.message


def test_results_that_go_to_their_caller_are_not_read():
    """Reading would take them away."""
    found = examine(make_app(result_backend="rpc://"))["celery.results"]
    assert found.verdict is Verdict.OK
    assert "to its caller only" in found.message


def test_workers_that_take_no_orders_are_not_asked():
    """Half of the commands would not work."""
    found = examine(make_app(worker_enable_remote_control=False))["celery.workers"]
    assert found.verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("late", "lost", "words"),
    [
        (False, False, "when its task starts"),
        (True, True, "a killed process's task is repeated"),
        (True, False, "a killed process's task is not repeated"),
    ],
)
def test_delivery_is_told_in_words(late, lost, words):
    """What becomes of the task of a killed worker."""
    app = make_app(task_acks_late=late, task_reject_on_worker_lost=lost)
    assert words in examine(app)["celery.delivery"].message


def test_pool_restarts_are_told():
    """With them restart_worker needs nobody else."""
    found = examine(make_app(worker_pool_restarts=True))["celery.commands"]
    assert "workers restart their pools" in found.message


def test_amqp_keeps_dead_letters():
    """They are a source of retries."""
    app = Celery("shop", broker="amqp://127.0.0.1:1//", set_as_current=False)
    assert "dead-letter" in examine(app)["celery.commands"].message


@pytest.mark.parametrize(("error", "words"), [(TimeoutError(), "no answer"), (KeyError(), "KeyE")])
def test_a_step_that_hangs_or_fails_is_a_finding(monkeypatch, error, words):
    """The application's configuration may do anything."""

    def fail(*_):
        raise error

    monkeypatch.setattr(module, "bounded", fail)
    found = examine(make_app())
    assert found["celery.broker"].verdict is Verdict.FAIL
    assert words in found["celery.broker"].message
    assert words in found["celery.delivery"].message
    assert found["celery.delivery"].cure
