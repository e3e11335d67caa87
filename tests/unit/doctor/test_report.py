"""The report as text and as JSON."""

from __future__ import annotations

from z4j_otel.doctor.report import Report
from z4j_otel.findings import failed, fine, skipped, warned

CONFIG = {
    "brain_url": "https://z4j.example.com",
    "project_id": "picker",
    "agent_name": "",
    "buffer_path": "/tmp/z4j-33/buffer-{pid}.sqlite",
    "transport": "auto",
    "dev_mode": False,
}
WRONG = failed("hello", "refused", "export Z4J_TOKEN=<token>", "# minted", "export Z4J_TOKEN=x")
LATE = warned("clock", "300 s behind", "timedatectl set-ntp true")


def report(*findings, problems=()):
    """Return a report."""
    return Report("django", CONFIG, ["celery"], list(findings), list(problems))


def test_the_text_has_the_form_that_scripts_know():
    """Title, rule, settings, findings, engines."""
    dns = fine("dns", "z4j.example.com -> 198.51.100.42")

    assert list(report(dns, skipped("tls", "plain")).lines()) == [
        "z4j-doctor (django)",
        "===================",
        "brain_url:   https://z4j.example.com",
        "project_id:  picker",
        "agent_name:  unset",
        "buffer_path: /tmp/z4j-33/buffer-{pid}.sqlite",
        "transport:   auto",
        "",
        "[OK] dns OK: z4j.example.com -> 198.51.100.42",
        "[SKIP] tls SKIP: plain",
        "",
        "engines auto-detected: celery",
        "",
        "Nothing is broken.",
    ]


def test_a_problem_has_its_cure_and_is_said_again_at_the_end():
    """That is where a reader looks first."""
    lines = list(report(LATE, WRONG, LATE).lines())

    assert lines[lines.index("[FAIL] hello FAIL: refused") + 1] == (
        "       cure: export Z4J_TOKEN=<token>"
    )
    assert lines[-3:] == [
        "1 problem, 2 warnings. Begin with hello:",
        "  refused",
        "  cure: export Z4J_TOKEN=<token>",
    ]


def test_warnings_alone_break_nothing():
    """They are counted."""
    assert list(report(LATE).lines())[-1] == "Nothing is broken, 1 warning."


def test_hints_are_what_to_type_for_each_problem():
    """At length where there is more to it, else the cure as a comment."""
    lines = list(report(WRONG, fine("dns", "found"), LATE).lines(fix_hints=True))

    assert lines[lines.index("What to type:") :] == [
        "What to type:",
        "",
        "# hello: refused",
        "# minted",
        "export Z4J_TOKEN=x",
        "",
        "# clock: 300 s behind",
        "# timedatectl set-ntp true",
    ]


def test_json_has_the_members_that_scripts_know():
    """And status, cure and hints besides."""
    told = report(WRONG).as_json()

    assert (told["ok"], told["config"], told["engines"]) == (False, CONFIG, ["celery"])
    assert told["probes"] == [
        {
            "name": "hello",
            "ok": False,
            "message": "refused",
            "details": {},
            "status": "fail",
            "cure": "export Z4J_TOKEN=<token>",
            "hints": ["# minted", "export Z4J_TOKEN=x"],
        }
    ]
    assert "stage" not in told


def test_wrong_settings_are_a_stage_of_their_own_in_json():
    """With every error in one text."""
    told = report(WRONG, problems=("token: required", "brain_url: required")).as_json()

    assert (told["stage"], told["error"]) == ("config", "token: required; brain_url: required")


def test_no_engine_is_said():
    """An empty list would look like a mistake."""
    assert "engines auto-detected: none" in Report("bare", CONFIG, [], []).lines()


def test_a_secret_in_the_wrong_setting_is_not_told():
    """What people paste into a ticket holds no token, whatever it was used for."""
    token = "ghp_" + "a1B2" * 9
    told = fine("celery.workers", f"1 answers: shop@{token}", workers={f"shop@{token}": "ok"})
    whole = Report("bare", {**CONFIG, "agent_name": f"web-{token}"}, [], [told])

    assert token not in f"{list(whole.lines(fix_hints=True))} {whole.as_json()}"
    assert "agent_name:  web-[REDACTED]" in whole.lines()
