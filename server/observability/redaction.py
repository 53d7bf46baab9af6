"""Redaction of log lines: hides our own secrets, and whatever looks like a token or a URL's password."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from server.settings import Settings

HIDDEN: Final = "[secret]"
# A shorter password may be a common word, and hiding it everywhere would spoil the log. In a URL it is hidden anyway.
_LEAST_CHARACTERS: Final = 6
# Enough for the tokens of several instances, the old ones beside the new.
_REGISTERED: Final = 64
# The fixed text that each pattern begins with, the rest, the replacement. Most lines contain none of these texts, and
# looking for one costs next to nothing.
_PATTERNS: Final = tuple(
    (prefix, re.compile(prefix + rest, re.ASCII), replacement)
    for prefix, rest, replacement in (
        ("eyJ", r"[\w-]{10,}(?:\.[\w-]*){0,2}", HIDDEN),
        ("dapi", r"[0-9A-Za-z]{8,}(?:-\d+)?", HIDDEN),
        ("dose", r"[0-9A-Za-z]{16,}", HIDDEN),
        ("earer", r"(\s+)[\w.~+/=-]{8,}", rf"earer\1{HIDDEN}"),
        ("EARER", r"(\s+)[\w.~+/=-]{8,}", rf"EARER\1{HIDDEN}"),
        ("postgres", r"((?:ql)?(?:\+\w+)?://[^\s:/@\"']*:)[^\s/\"']*@", rf"postgres\1{HIDDEN}@"),
    )
)


class Secrets:
    """The known secrets: those of the settings, and a bounded number of others that come and go, such as tokens."""

    def __init__(self) -> None:
        self._fixed: tuple[str, ...] = ()
        self._registered: dict[str, None] = {}
        self._forms: tuple[str, ...] = ()

    def of(self, settings: Settings) -> None:
        """Hide every secret of these settings from now on."""
        values = [getattr(settings, name) for name in type(settings).model_fields]
        fixed = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        for url in (settings.database_url, settings.database_read_url):
            if url is not None:
                fixed += _passwords(url.get_secret_value())
        self._fixed = tuple(fixed)
        self._renew()

    def add(self, value: str) -> None:
        """Hide one more secret. If there are too many, the oldest is forgotten."""
        self._registered.pop(value, None)
        self._registered[value] = None
        while len(self._registered) > _REGISTERED:
            del self._registered[next(iter(self._registered))]
        self._renew()

    def forget(self, value: str) -> None:
        """Stop hiding a secret."""
        self._registered.pop(value, None)
        self._renew()

    def scrub(self, line: str) -> str:
        """Replace every known secret in the line, and whatever looks like a token or a URL's password."""
        for form in self._forms:
            if form in line:
                line = line.replace(form, HIDDEN)
        for prefix, pattern, replacement in _PATTERNS:
            if prefix in line:
                line = pattern.sub(replacement, line)
        return line

    def _renew(self) -> None:
        values = {value for value in (*self._fixed, *self._registered) if len(value) >= _LEAST_CHARACTERS}
        # The longest first, so that a whole URL is replaced before the password in it.
        self._forms = tuple(sorted({form for value in values for form in _forms(value)}, key=len, reverse=True))


def _passwords(url: str) -> list[str]:
    password = urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]
    query = re.findall(r"(?:^|[?&])password=([^&]*)", urlsplit(url).query)
    return [form for given in (password, *query) for form in (given, unquote(given))]


def _forms(value: str) -> set[str]:
    """The forms of a secret in a line: plain, in a URL, in a Python string, and each of these in a JSON string."""
    forms = {value, quote(value, safe=""), repr(value)[1:-1], repr(f"\"'{value}")[4:-1]}
    return forms | {json.dumps(form, ensure_ascii=ascii_)[1:-1] for form in forms for ascii_ in (True, False)}


secrets_known: Final = Secrets()
