"""Values are redacted where a text gives them together with a sensitive name."""

import pytest

from z4j_otel.redaction import RedactionPolicy, Redactor

CASES = [
    ("{'password': 'hunter2', 'a': 1}", "{'password': '[REDACTED]', 'a': 1}"),
    ("Foo(password='hunter2', a=1)", "Foo(password='[REDACTED]', a=1)"),
    ("Foo(password=hunter2, a=1)", "Foo(password=[REDACTED], a=1)"),
    ("f(password=hunter2,a=1)", "f(password=[REDACTED],a=1)"),
    ("password=hun,ter2 ok", "password=[REDACTED] ok"),
    ('{"token": "hunter2", "n": 1}', '{"token": "[REDACTED]", "n": 1}'),
    ('{\\"token\\": \\"hunter2\\", \\"n\\": 1}', '{\\"token\\": \\"[REDACTED]\\", \\"n\\": 1}'),
    ("password = b'hun\\'ter2' ok", "password = b'[REDACTED]' ok"),
    ('secret="""hunter\n"2" x""" ok', 'secret="""[REDACTED]""" ok'),
    ("?user=bob&password=hunter2&x=1", "?user=bob&password=[REDACTED]&x=1"),
    ("auth=('bob', 'hunter)2') ok", "auth=[REDACTED] ok"),
    ("creds: ['hunter2', ['x']], ok", "creds: [REDACTED], ok"),
    ("secret={'a': {'b': 'hunter2'}} ok", "secret=[REDACTED] ok"),
    ("password=SecretStr('hunter2'), a=1", "password=[REDACTED], a=1"),
    ("token=<Token hunter2> ok", "token=[REDACTED] ok"),
    ("Authorization: Basic aHVudGVyMg==\nHost: x", "Authorization: [REDACTED]\nHost: x"),
    ('-H "Authorization: Basic hunter2" url', '-H "Authorization: [REDACTED]" url'),
    ('Authorization: Digest a="x", b="hunter2"\nok', "Authorization: [REDACTED]\nok"),
    ("Cookie: a=1; sid=hunter2\nok", "Cookie: [REDACTED]\nok"),
    ("auth=Basic hunter2 ok", "auth=[REDACTED] ok"),
    ("api key: hunter2 ok", "api key: [REDACTED] ok"),
    ("card number = 12 ok", "card number = [REDACTED] ok"),
    ("mysql --password hunter2 -x", "mysql --password [REDACTED] -x"),
    ("['--password', 'hunter2', 'x']", "['--password', '[REDACTED]', 'x']"),
    ("[(b'authorization', b'hunter2')]", "[(b'authorization', b'[REDACTED]')]"),
    ("db.password := hunter2", "db.password := [REDACTED]"),
    (":password => 'hunter2' ok", ":password => '[REDACTED]' ok"),
    ("os.environ['DB_PASSWORD'] = 'hunter2'", "os.environ['DB_PASSWORD'] = '[REDACTED]'"),
    ('\\"token\\": \\"a\\\\\\"hunter2\\", 1', '\\"token\\": \\"[REDACTED]\\", 1'),
    ("password='hunter2", "password='[REDACTED]"),
    ('password="""hunter2', 'password="""[REDACTED]'),
    ('\\"password\\": \\"hunter2', '\\"password\\": \\"[REDACTED]'),
    ("password='hunter2\\", "password='[REDACTED]"),
    ("password=['hunter2\\", "password=[REDACTED]"),
    ("password=(hunter2", "password=[REDACTED]"),
    ("<password>hunter 2</password>ok", "<password>[REDACTED]</password>ok"),
    ("<a:Token x='1'>hunter2</a:Token>", "<a:Token x='1'>[REDACTED]</a:Token>"),
    ("<pwd><![CDATA[hunter2]]></pwd>", "<pwd>[REDACTED]</pwd>"),
]
HARMLESS = [
    "KeyError: 'password'",
    "max_tokens=5, tokens_used=7, author='x'",
    'File "/app/token.py", line 3',
    "token.py: ok",
    "password=",
    "<password></password><password x='1'/><token>1</tokens><token>5</b> login <password> 5",
    f"<password>{'x' * 5000}</password>",
    "password: \n",
    "the password was wrong",
    "key: value",
    "a key: value",
    "secret://host",
    "password=[REDACTED] ok",
    "--password",
    "('password')",
    "--password --x",
]

CASES += [
    ('password = os.environ.get("DB", "a1")', "password = [REDACTED]"),
    ('password = config.decrypt("a1")', "password = [REDACTED]"),
    ("invalid_token: a1", "invalid_token: [REDACTED]"),
    ("password: str = 'a1'", "password: str = '[REDACTED]'"),
    ('TOKEN: Final[str] = "a1"', 'TOKEN: Final[str] = "[REDACTED]"'),
    ("f(pwd: str | None = 'a1', n: int = 3)", "f(pwd: str | None = '[REDACTED]', n: int = 3)"),
    ("Key (id, token)=(7, a(b)) already exists.", "Key (id, token)=([REDACTED]) already exists."),
    ("Key (token)=(7) is not present in x\nok", "Key (token)=([REDACTED]) is not present in x\nok"),
    (
        "a.password\n  Too short [type=short, input_value='a1', input_type=str]\nok",
        "a.password\n  Too short [type=short, input_value='[REDACTED]', input_type=str]\nok",
    ),
]
HARMLESS += [
    "Key (order_id)=(7) is not present in x",
    "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
    "jwt.exceptions.InvalidTokenError: Not enough segments",
    "PasswordMismatchException: wrong",
    "cryptography.fernet.InvalidToken: Incorrect padding",
    "UnexpectedToken: Unexpected end of input",
    'password = os.environ["DB_PASSWORD"]',
    'token = request.headers.get("X-Token")',
    'token=os.getenv("TOKEN")',
    "token: Optional[str] = None",
    "password\n  Field required [type=missing, input_value={'user': 'bob'}, input_type=dict]",
]


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    """Return a redactor with the default policy."""
    return Redactor()


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_the_value_goes_and_the_name_stays(redactor: Redactor, text: str, expected: str) -> None:
    """Only the value is replaced, whatever the notation."""
    assert redactor.redact_text(text) == expected
    assert redactor.redact_text(expected) == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_text_without_a_sensitive_value_is_unchanged(redactor: Redactor, text: str) -> None:
    """Names without values and harmless names are left as they are."""
    assert redactor.redact_text(text) == text


def test_extra_key_patterns_work_inside_texts() -> None:
    """A name that only an extra pattern knows has its value redacted in a text, too."""
    redactor = Redactor(RedactionPolicy(extra_key_patterns=("badge",)))
    assert redactor.redact_text("badge=77, password=x") == "badge=[REDACTED], password=[REDACTED]"
    alone = Redactor(RedactionPolicy(extra_key_patterns=("badge",), defaults_enabled=False))
    assert alone.redact_text("badge=77, password=x") == "badge=[REDACTED], password=x"


def test_many_calls_in_a_value_end_the_search(redactor: Redactor) -> None:
    """A chain of calls is followed to a bounded length."""
    text = "token=a" + "(b)c" * 30
    assert redactor.redact_text(text).startswith("token=[REDACTED]")


def test_a_look_for_the_end_of_a_pair_is_bounded(redactor: Redactor) -> None:
    """Lists that open in each other without end are not read again from each name on."""
    assert redactor.redact_text("['password', 1" * 500) == "['password', [REDACTED]"
    long = "['password', '" + "x" * 3000
    assert redactor.redact_text(f"{long}'] 7") == "['password', '[REDACTED]'] 7"
    many = "['password', 'token', 'secret'] 7"
    assert redactor.redact_text(many) == many
