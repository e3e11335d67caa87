"""Who starts a process again."""

import os

import pytest

from z4j_otel.instrumentors import supervisors
from z4j_otel.instrumentors.supervisors import ProcessFacts, find_supervisor, read_facts

UNIT_V2 = "0::/system.slice/shop-worker.service\n"
UNIT_V1 = "12:pids:/system.slice/shop.service\n1:name=systemd:/system.slice/shop.service\n"
LOGIN = "0::/user.slice/user-1000.slice/session-3.scope\n"
DOCKER_V1 = "12:pids:/docker/3f4e\n11:memory:/docker/3f4e\n"
PODS_V1 = "12:pids:/kubepods/besteffort/pod12/3f4e\n"
DOCKERENV = frozenset({"/.dockerenv"})
K8S = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
SYSTEMD = {"INVOCATION_ID": "a1"}


def facts(pid=7, parent_pid=3, parent=(), **more):
    """Return facts of an ordinary process, but for what is given."""
    return ProcessFacts(pid, parent_pid, parent, **more)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("systemd", facts(cgroup=UNIT_V2, environ={**SYSTEMD, "SYSTEMD_EXEC_PID": "7"})),
        ("systemd", facts(cgroup=UNIT_V1, environ=SYSTEMD, parent_pid=1)),
        (None, facts(cgroup=UNIT_V2, environ={**SYSTEMD, "SYSTEMD_EXEC_PID": "3"})),
        (None, facts(cgroup=LOGIN, environ=SYSTEMD, parent_pid=1)),
        (
            "supervisord",
            facts(environ={"SUPERVISOR_ENABLED": "1", "SUPERVISOR_PROCESS_NAME": "w"}),
        ),
        (None, facts(environ={"SUPERVISOR_ENABLED": "1"})),
        ("kubernetes", facts(1, 0, environ=K8S, cgroup="0::/\n")),
        ("kubernetes", facts(1, 0, cgroup=PODS_V1)),
        ("container", facts(1, 0, marks=DOCKERENV, cgroup="0::/\n")),
        ("container", facts(1, 0, cgroup=DOCKER_V1)),
        ("container", facts(1, 0, marks=frozenset({"/run/.containerenv"}))),
        ("container", facts(7, 1, ("/sbin/docker-init", "--", "celery"), marks=DOCKERENV)),
        ("container", facts(7, 1, ("tini",), marks=DOCKERENV)),
        ("container", facts(7, 1, ("/bin/sh", "-c", "migrate; celery"), marks=DOCKERENV)),
        (None, facts(7, 1, ("bash",), marks=DOCKERENV)),
        (None, facts(7, 1, ("python", "manage.py"), marks=DOCKERENV)),
        (None, facts(7, 1, marks=DOCKERENV)),
        (None, facts(7, 3, ("tini",), environ=K8S)),
        (None, facts(7, 1, cgroup=LOGIN)),
        (None, facts(1, 0)),
    ],
)
def test_supervisor_is_found_on_evidence(name, shown):
    """Each sign counts only where this process's end is what the supervisor sees."""
    found = find_supervisor(shown)
    assert found.name == name
    assert found.evidence


def test_facts_are_those_of_this_process(monkeypatch):
    """Only the variables that matter are read, and what cannot be read is left out."""
    monkeypatch.setenv("INVOCATION_ID", "a1")
    monkeypatch.setenv("Z4J_TOKEN", "secret")
    found = read_facts()
    assert (found.pid, found.parent_pid) == (os.getpid(), os.getppid())
    assert found.environ["INVOCATION_ID"] == "a1"
    assert "Z4J_TOKEN" not in found.environ
    assert supervisors._read("/no/such/file") == ""
