"""The built-in rules by name, and what each takes: the table that people read.

How a rule finds what it takes stands where it is done, in ``keys``, ``patterns``,
``assignments``, ``phrases`` and ``commandlines``; a rule that is not named here could
neither be explained nor switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["RULES"]

RULES: Final[Mapping[str, str]] = {
    "key:password": "the value under a name of a password or passphrase",
    "key:secret": "the value under a name with `secret`",
    "key:authorization": "the value under `authorization`, `auth`, `credentials`",
    "key:cookie": "the value under `cookie` or `cookies`",
    "key:session": "the value under a session's id",
    "key:csrf": "the value under a name of a CSRF token",
    "key:api-key": "the value under a name of a key that opens something",
    "key:token": "the value under a name of a token or one-time password",
    "key:tokens": "the value under `tokens`, unless it is a number",
    "key:card": "the value under a name of a card's number or security code",
    "key:ssn": "the value under a name of a social security number",
    "key:dsn": "the value under `dsn` or `connection_string`",
    "key:too-long": "the value under a name of more than 256 characters",
    "text:assignment": "a value behind a sensitive name and `=` or `:`, in any notation",
    "text:header": "the value of an authorization or cookie header",
    "text:option": "what follows a sensitive option (`--password x`) or item of a pair",
    "text:element": "the content of an XML element with a sensitive name",
    "text:named-value": "`value` beside a `name` or `key` that is sensitive",
    "text:phrase": "a value that prose gives after a sensitive name",
    "text:netrc": "the password of an entry of a netrc file",
    "text:command": "a password in an option that does not say so: `mysql -p`, `curl -u`",
    "text:query": "signatures, codes and keys in a query string",
    "text:sql": "the password behind SQL's `IDENTIFIED BY`",
    "value:bearer": "`Bearer` and its token",
    "value:basic": "the login of `Basic` authorization",
    "value:jwt": "JSON web tokens",
    "value:private-key": "private keys, PEM, SSH, PGP and PuTTY, with a half of one",
    "value:url": "user and password in a URL",
    "value:login": "the password of `user:password@host:port`",
    "value:email": "e-mail addresses",
    "value:card": "payment card numbers with a right check digit, grouped or not",
    "value:ssn": "US social security numbers",
    "value:age": "age's secret keys",
    "value:anthropic": "Anthropic's keys",
    "value:aws": "AWS' key ids, with the secret key beside",
    "value:databricks": "Databricks' tokens",
    "value:digitalocean": "DigitalOcean's tokens",
    "value:discord": "Discord's webhooks",
    "value:django": "Django's generated `SECRET_KEY`",
    "value:github": "GitHub's tokens",
    "value:gitlab": "GitLab's tokens",
    "value:google": "Google's API keys, OAuth tokens and client secrets",
    "value:hugging-face": "Hugging Face's tokens",
    "value:mailgun": "Mailgun's keys",
    "value:npm": "npm's tokens",
    "value:openai": "OpenAI's keys, and others that begin with `sk-`",
    "value:pypi": "PyPI's tokens",
    "value:sendgrid": "SendGrid's keys",
    "value:shopify": "Shopify's tokens",
    "value:slack": "Slack's tokens and webhooks",
    "value:square": "Square's tokens",
    "value:stripe": "Stripe's keys and webhook secrets",
    "value:telegram": "the secret half of a Telegram bot's token",
    "value:twilio": "Twilio's keys",
    "value:vault": "Vault's tokens",
}
"""What each rule takes, by its public name."""
