"""What each built-in rule takes and what it leaves: for the tests and the reference.

A name is its own example (``key:*``). A text is written with its secret between ``«`` and
``»``: exactly that is replaced.
"""

from __future__ import annotations

BODY = "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z"
HEX = "0123456789abcdef" * 2
SSH2 = "---- {} SSH2 ENCRYPTED PRIVATE KEY ----"
PEM = "-----{} {}PRIVATE KEY-----"

KEY_EXAMPLES: dict[str, tuple[list[str], list[str]]] = {
    "key:password": (
        [
            "db_password",
            "userPassword",
            "PGPASSWORD",
            "passphrase",
            "smtp_pass",
            "wifi_psk",
            "kennwort",
        ],
        ["password_reset_url_sent", "has_password", "password_changed_at", "compass", "passed"],
    ),
    "key:secret": (
        ["client_secret", "AWS_SECRET_ACCESS_KEY", "secrets", "stripeSecret"],
        ["secret_name", "secretary", "secretion", "secret_path"],
    ),
    "key:authorization": (
        ["Proxy-Authorization", "http.auth", "credentials", "aws_creds"],
        ["author", "authority", "auth_user", "authenticated", "credits"],
    ),
    "key:cookie": (["Set-Cookie", "cookies"], ["cookie_expires", "cookieless_mode"]),
    "key:session": (["sessionid", "PHPSESSID", "session_id"], ["session", "assess_id"]),
    "key:csrf": (["X-CSRF-Header", "xsrf"], ["csrf_enabled", "scsrfx"]),
    "key:api-key": (
        ["x-api-key", "private_key", "AccountKey", "ssh_private_key", "APIKey"],
        ["cache_key", "primary_key", "routing_key", "private_key_path", "public_key", "keyboard"],
    ),
    "key:token": (
        ["access_token", "refreshToken", "jwt", "otp", "push_tokens", "mfaCode", "code_verifier"],
        ["token_count", "max_tokens", "next_page_token", "token_type", "tokenizer", "option"],
    ),
    "key:tokens": (["tokens"], ["tokens_used", "prompt_tokens"]),
    "key:card": (
        ["card_number", "credit_card", "cvv2", "securityCode"],
        ["card_count", "cardinality", "security_group"],
    ),
    "key:ssn": (["ssn", "social_security_number"], ["ssn_verified", "session_count"]),
    "key:dsn": (["SENTRY_DSN", "connection_string"], ["dsn_enabled", "connection_count"]),
    "key:too-long": (["k" * 257], ["k" * 256]),
}

TEXT_EXAMPLES: dict[str, tuple[list[str], list[str]]] = {
    "text:assignment": (
        [
            "User(password='«hunter2»', id=1)",
            '{"token": "«hunter2»", "n": 1}',
            '{"a": "{\\"secret\\": \\"«hunter2»\\", \\"b\\": 1}"}',
            "?user=bob&password=«hunter2»&x=1",
            "host=db user=bob password=«hunter2» dbname=x",
            "Server=db;Uid=a;Pwd=«hunter2»;Database=x",
            "DefaultEndpointsProtocol=https;AccountKey=«hunter2==»;EndpointSuffix=x",
            "Endpoint=sb://x/;SharedAccessKeyName=Root;SharedAccessKey=«hunter2=»",
            "b'{\"password\": \"«hunter2»\"}'",
            "<User: id=1 password=«hunter2»>",
            "    password = '«hunter2»'\n    ^^^^^^^^",
            "│ password = '«hunter2»' │",
            "password%3D«hunter2»%26a%3D1",
            "a%26password%3D«hunter2»",
            "%22password%22%3A%22«hunter2»%22",
            "&quot;password&quot;: &quot;«hunter2»&quot;",
            "ValueError: invalid password: «hunter2»",
            "PGPASSWORD=«hunter2» psql -h db",
            "X-Amz-Credential=«hunter2»&X-Amz-Date=1",
            "//registry.npmjs.org/:_authToken=«hunter2»",
            "token=«get_token(user)»",
            "X-Auth-Token: «hunter2»",
            "user%5Bpassword%5D=«hunter2»&a=1",
            "password[]=«hunter2»&a=1",
            '{"a": "\\\\u0022password\\\\u0022:\\\\u0022«hunter2»\\\\u0022"}'.replace("\\\\", "\\"),
            "password: |\n  «hunter 2»\nuser: bob",
            "password='«None»', a=1",
            "password=«string» a=1",
            "'line\\npw=«hunter2» x'",
        ],
        [
            "token_count=5", "author='bob'", "password_reset_url_sent=True", "tokens=512",
            "password=None", "token: Optional[str] = None", "def f(password: str) -> None:",
            "    token = get_token(user)", "    return self.password == other.password",
            "auth=True", "tokens = {}", "key='user:1'", "KeyError: 'token'", "design=1",
            'File "/app/auth/password.py", line 33, in check_password', "sessions: 5",
            "secret = settings.SECRET", "x = {'max_tokens': 100}", "api_key_id=None",
        ],
    ),
    "text:header": (
        [
            "Authorization: «Basic aHVudGVyMg==»\nHost: x",
            "proxy-authorization: «Basic aHVudGVyMg==»\nok",
            "Cookie: «sessionid=hunter2; csrftoken=x»\nok",
            'Set-Cookie: «sid="hunter2"; Path=/»\nok',
            "'GET /\\ncookie: «a=hunter2»'",
            '-H "Authorization: «Token hunter2»" https://host',
        ],
        [
            "Content-Type: text/html", "Accept: */*", "cookie policy: strict",
            "def set_cookie(self, cookie: Cookie, *args: Any) -> None:", "x: Iterator[Cookie]: y",
        ],
    ),
    "text:option": (
        [
            "pg_dump --password «hunter2» -x",
            "['--api-key', '«hunter2»', 'x']",
            "[('password', '«hunter2»'), ('a', 'b')]",
            '["token", "«hunter2»"]',
            '[["token","«hunter2»"],["a","b"]]',
        ],
        [
            "--password", "--password --x", "('password')", 'E("hmac_secret is empty")',
            '["password", "email", "name"]',
        ],
    ),
    "text:element": (
        ["<password>«hunter 2»</password> ok", "<a:Token x='1'>«hunter2»</a:Token>"],
        ["<password></password>", "<token>1</tokens>"],
    ),
    "text:named-value": (
        [
            '{"name": "password", "value": "«hunter2»"}',
            "{'key': 'DB_PASSWORD', 'value': '«hunter2»'}",
            '<add key="Password" value="«hunter2»"/>',
        ],
        ['{"name": "region", "value": "eu"}', '"token", value=1', '{"name": "password"}'],
    ),
    "text:phrase": (
        [
            "ValueError: bad password '«hunter2»'",
            "the password was '«hunter2»'",
            "password is «hunter2», sorry",
            "Incorrect API key provided: «Zq7plum4x».",
            "CREATE USER bob WITH PASSWORD '«hunter2»'",
            "ENV SECRET_KEY «Zq7plum4x»",
            "| password | «hunter2» |",
            "password -> «hunter2»",
        ],
        [
            "the password was wrong", "pass `--full-trace` on", "token expired",
            "Unexpected token '<'", "token bucket",
            "password is required", "secret sha256 ok", "password reset for bob",
            "task shop.tasks.reset_password", "queue password-resets", "invalid token at line 5",
        ],
    ),
    "text:netrc": (
        [
            "machine api.x login bob password «hunter»",
            "default login bob password «hunter»",
            "machine h\nlogin bob\npassword «hunter»\n",
            "machine h password «hunter» login bob",
        ],
        ["machine learning password reset", "login bob password reset", "login as bob"],
    ),
    "text:command": (
        [
            "curl -u bob:«hunter2» https://host",
            "curl --user 'bob:«hunter2»' https://host",
            "['curl', '-u', 'bob:«hunter2»', 'x']",
            "mysql -uroot -p«hunter2» db",
            "mysqldump -u root -p'«hunter2»' db",
            "['mysql', '-p«hunter2»', 'db']",
            "sshpass -p «hunter2» ssh host",
            "docker login -u bob -p «hunter2» registry",
            "redis-cli -a «hunter2» ping",
            "AUTH «hunter2»",
        ],
        [
            "docker run -p 8080:80 -u 1000:1000 x", "ssh -p 22 host", "mysql -p db", "mkdir -p a/b",
            "curl -u bob https://host", "curl -u 1000:1000 x", "auth user1234",
            "nc -p2222 host",
        ],
    ),
    "text:query": (
        [
            "https://a.blob.core.windows.net/c/b?sv=2022&sig=«hunter2plum%3D»&sp=r",
            "SharedAccessSignature sr=x&sig=«hunter2plum»&se=1",
            "https://d.cloudfront.net/x?Expires=1&Signature=«hunter2plum»&Key-Pair-Id=K",
            "/callback?code=«4/0AbCdEf1234567890»&state=x".replace("4/0", "40"),
        ],
        [
            "sig=0.05", "sig=signal.SIGTERM", "signature mismatch", "?code=DE",
            "?key=name", "design=long-enough-word",
        ],
    ),
    "text:sql": (
        ["ALTER USER bob IDENTIFIED BY '«hunter»'"], ["the row is identified by 'id'?"[:24]],
    ),
    "value:bearer": ([f"«Bearer {BODY}»"], ["Bearer token missing", "bearer of bad news"]),
    "value:basic": (
        ["Basic «Ym9iOmh1bnRlcjI=»", "Basic «dXNlcjpwYXNzd29yZA==» ok"],
        ["Basic usage", "basic authentication needed", "Basic SUNoRW5nbGlzaA=="],
    ),
    "value:jwt": (
        ["«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl»"], ["eyJ", "monkeyJack.run"],
    ),
    "value:private-key": (
        [
            f"«{PEM.format('BEGIN', 'RSA ')}\nMIIE\n{PEM.format('END', 'RSA ')}»",
            f"«{PEM.format('BEGIN', 'OPENSSH ')}\nb3Bl»",
            f"«{PEM.format('BEGIN', 'ENCRYPTED ')}\\nMIIE\\n{PEM.format('END', 'ENCRYPTED ')}» x",
            f"«{SSH2.format('BEGIN')}\nP2/5\n{SSH2.format('END')}»",
            "Private-Lines: 1\n«AAAAgQ==\nPrivate-MAC: 0123abcd»\nok",
        ],
        [
            "-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----", "Public-Lines: 2",
            "---- BEGIN x ----", "-----END CERTIFICATE-----",
        ],
    ),
    "value:url": (
        ["amqp://«bob:hunter2»@mq/v", "redis://«:hunter2»@h", "https://«hunter2»@o1.example.com/1"],
        ["http://localhost:8080/a@b", "https://example.com:443/x"],
    ),
    "value:login": (
        ["dial bob:«hunter2»@db:5432 failed", "jdbc:oracle:thin:bob/«hunter2»@h:1/x"],
        ["a:b@c", "10:20:30@node", "celery@web01", "@app.task"],
    ),
    "value:email": (["to «ada.lovelace+x@example.com»"], ["celery@web01", "@app.task", "a@b"]),
    "value:card": (
        ["«4111 1111 1111 1111»", "«378282246310005»"],
        [
            "4111111111111112", "order 1234567890123", "1700000000000", "+14155552671",
            "40000000-0000-0000-0000-000000000002", "line 4111, in f",
        ],
    ),
    "value:ssn": (["«123-45-6789»"], ["2024-01-31 12:00:00,123", "1123-45-67890"]),
    "value:age": ([f"«AGE-SECRET-KEY-1{BODY}»"], ["age-secret-key"]),
    "value:anthropic": ([f"«sk-ant-api03-{BODY}»"], ["sk-ant-hill"]),
    "value:aws": (
        ["«AKIAIOSFODNN7EXAMPLE»", f"«AKIAIOSFODNN7EXAMPLE:{BODY}Abcdefgh»"],
        ["asia-northeast1-docker", "AKIA"],
    ),
    "value:databricks": ([f"«dapi{HEX}»"], ["dapi", "dapi0123"]),
    "value:digitalocean": ([f"«dop_v1_{HEX}{HEX}»"], ["dop_v1_x"]),
    "value:discord": ([f"https://discord.com/«api/webhooks/12345/{BODY}»"], ["api/webhooks/1/x"]),
    "value:django": ([f"«django-insecure-{BODY}»"], ["django-insecure-x"]),
    "value:github": (
        [*(f"«gh{kind}_{BODY}Abcd»" for kind in "pousr"), f"«github_pat_{BODY}{BODY}{BODY}»"],
        ["ghp_short", "commit 3f786850e387550fdab836ed7e6dc881de23001b"],
    ),
    "value:gitlab": (
        [f"«glpat-{BODY[:20]}»", f"«gldt-{BODY[:20]}»"], ["gl-sku-1234567890123456789", "glpat-x"],
    ),
    "value:google": (
        [f"«AIza{BODY}abc»", f"«ya29.{BODY}»", f"«GOCSPX-{BODY}»"], ["AIza", "maizabcdefgh"],
    ),
    "value:hugging-face": ([f"«hf_{BODY}»"], ["hf_hub", "half_open"]),
    "value:mailgun": ([f"«key-{HEX}»"], ["key-1", "monkey-0123456789abcdef"]),
    "value:npm": ([f"«npm_{BODY}Abcd»"], ["npm_config_cache"]),
    "value:openai": (
        [f"«sk-{BODY}»", f"«sk-proj-{BODY}»"],
        ["task-name-abcdefghijklmnopqrstuvwxyz", "sk-learn", "skip-this-long-test-name-1"],
    ),
    "value:pypi": ([f"«pypi-AgEIcHlwaS5vcmc{BODY}»"], ["pypi-server", "pypi-mirror"]),
    "value:sendgrid": ([f"«SG.{BODY[:22]}.{BODY}{BODY[:11]}»"], ["msg.send", "sg.example.com"]),
    "value:shopify": ([f"«shpat_{HEX}»"], ["shpat_1", "shape"]),
    "value:slack": (
        [
            "«xoxb-123456789012-abcdefABCDEF»", "«xapp-1-A0123-456-abcdef»",
            "https://«hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXX»",
        ],
        ["foxxox-1", "xapp-1"],
    ),
    "value:square": ([f"«sq0atp-{BODY}»"], ["sq0-1"]),
    "value:stripe": (
        [f"«sk_live_{BODY}»", f"«rk_live_{BODY}»", f"«pk_test_{BODY}»", f"«whsec_{BODY}»"],
        ["sk_live_", "risk_live_demo", "disk_test_one"],
    ),
    "value:telegram": ([f"/bot123456789«:AA{BODY}»/x"], [f"12:AA{BODY}", "http:aa"]),
    "value:twilio": ([f"«SK{HEX}»"], ["sku-1", "task0123456789abcdef", "AC123"]),
    "value:vault": ([f"«hvs.{BODY}»"], ["hvs.x"]),
}  # fmt: skip
"""Of each rule, texts it takes from and texts that stay as they are."""

HARMLESS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "md5=d41d8cd98f00b204e9800998ecf8427e",
    "550e8400-e29b-41d4-a716-446655440000",
    "celery@web01",
    "2024-01-31T12:00:00.123456+00:00",
    "192.168.0.1:8080",
    "shop.tasks.send_invoice",
    "SKU-0123456789",
    "TypeError: charge() got an unexpected keyword argument 'amount'",
    '  File "/srv/app/shop/tasks.py", line 4111, in send_invoice\n    raise ValueError(order)\n',
]
"""What tasks are full of, and no rule may touch."""


def written(example: str) -> str:
    """Return a text as it stands in the application."""
    return example.replace("«", "").replace("»", "")


def redacted(example: str, marker: str = "[REDACTED]") -> str:
    """Return a text as it leaves the process."""
    before, _, rest = example.partition("«")
    return before + marker + rest.partition("»")[2]
