"""Redaction: no secret leaves in a log line, whatever its form."""

from __future__ import annotations

import io
import json
import logging
from typing import Literal

import pytest
import structlog

from server.observability.log_setup import configure_logs
from server.observability.redaction import Secrets, secrets_known
from server.settings import Settings

PASSWORDS = ["plain-canary", "quo\"ted\\can'ary", "ünïcode-canary", "two\nlines-canary", "per%cent@can/ary"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_secret_of_the_settings_is_in_no_line(
    password: str, form: Literal["json", "console"], orders_url: str
) -> None:
    """It is hidden in values, in an exception's text and representation, in tracebacks and in other libraries' lines."""
    written = io.StringIO()
    configure_logs(
        Settings(database_url=orders_url, databricks_token=password, log_format=form, log_level="DEBUG"),
        stream=written,
    )
    error = ValueError(f"refused: {password}")
    structlog.get_logger("scrubbed").warning("one", value=password, cause=repr(error), nested={"a": [password]})
    structlog.get_logger("scrubbed").error("two", exc_info=error)
    logging.getLogger("another").error("three %s %r", password, error, exc_info=error)
    configure_logs(Settings(database_url=orders_url))
    lines = written.getvalue()
    assert lines.count("[secret]") >= 6
    for shown in (password, repr(password)[1:-1], json.dumps(password)[1:-1]):
        assert shown not in lines
    if form == "json":
        assert [json.loads(line)["event"][:5] for line in lines.splitlines()] == ["one", "two", "three"]


def test_the_password_of_the_database_is_known_alone_and_in_its_url() -> None:
    """It is hidden percent-encoded or not, from the URL's authority or its parameters."""
    secrets = Secrets()
    secrets.of(Settings(database_url="postgresql://u:can%40ary-one@h/db?password=canary-two"))
    for text in ("can@ary-one", "can%40ary-one", "canary-two", "postgresql://u:can%40ary-one@h/db?password=canary-two"):
        assert secrets.scrub(f"before {text} after") == "before [secret] after"


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("a eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln b", "a [secret] b"),
        ("token dapi0123456789abcdef0123456789abcdef-2.", "token [secret]."),
        ("dose0123456789abcdef0123456789abcdef", "[secret]"),
        ("'Authorization': 'Bearer abc.def-ghi'", "'Authorization': 'Bearer [secret]'"),
        ("authorization: bearer abcdefgh", "authorization: bearer [secret]"),
        ("at postgresql+asyncpg://u:p@w@h/db", "at postgresql+asyncpg://u:[secret]@h/db"),
        ("at postgres://u:p@h:5432/db", "at postgres://u:[secret]@h:5432/db"),
        ("at postgresql://u@h/db", "at postgresql://u@h/db"),
        ("order T3JkZXI6Mjc5ODEy at WzEsInRvdGFsX3ByaWNlLSIsMjc5ODEyXQ", None),
        ("a dose of bearers, dapi and eyJ", None),
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str, left: str | None) -> None:
    """Even if it is not ours. Other text is left as it is."""
    assert Secrets().scrub(line) == (line if left is None else left)


def test_secrets_that_come_and_go_are_bounded() -> None:
    """A token is hidden until it is forgotten. If there are too many, the oldest goes."""
    secrets = Secrets()
    secrets.add("token-of-now")
    assert secrets.scrub("token-of-now") == "[secret]"
    secrets.forget("token-of-now")
    assert secrets.scrub("token-of-now") == "token-of-now"
    for number in range(65):
        secrets.add(f"token-{number:03}")
    assert secrets.scrub("token-000 token-001 token-064") == "token-000 [secret] [secret]"
    assert secrets_known.scrub("token-064") == "token-064"
