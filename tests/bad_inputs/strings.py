"""Bad strings: texts that a database, a log, a template or a terminal could interpret."""

from __future__ import annotations

from typing import Final

from tests.bad_inputs.case import MARK, OLD, Case, Expected, ask, fine, partly, post, refused

_NONE: Final = {"data": {"orders": {"totalCount": 0}}}
_INVALID: Final = partly({"orders": None}, "VALUE_INVALID")
_DOCUMENT: Final = "query($clerk: String) { orders(filter: {clerk: {eq: $clerk}}) { totalCount } }"
_LIST: Final = "query($clerks: [String!]) { orders(filter: {clerk: {in: $clerks}}) { totalCount } }"
_NOTE: Final = (
    "mutation($note: String) { outcome: setOrderStatus(input: {orderKey: 1, status: OPEN, note: $note})"
    " { userErrors { code field } } }"
)
_NOTE_INVALID: Final = fine(
    {"data": {"outcome": {"userErrors": [{"code": "VALUE_INVALID", "field": ["input", "note"]}]}}}
)

# These match the orders of a clerk with exactly that name. There are none.
_HARMLESS: Final[dict[str, str]] = {
    "sql": "'; DROP TABLE orders_synced; --",
    "sql-comment": "Clerk#000000951'/*",
    "sql-placeholder": "$1 :clerk %s %(clerk)s ?",
    "sql-sleep": "' || pg_sleep(5) || '",
    "percent": "%",
    "underscores": "Clerk#_________",
    "backslash": "\\",
    "backslashes": "\\" * 30_001,
    "quotes": "\"'`",
    "escapes": "\\u0000\\x00\\0",
    "line-breaks": f'{MARK}\r\n{{"event": "audit", "outcome": "APPLIED"}}\r\n',
    "terminal-escapes": f"{MARK}\x1b[2J\x1b]0;owned\x07",
    "right-to-left": "\N{RIGHT-TO-LEFT OVERRIDE}951#krelC",
    "zero-width": "Clerk\N{ZERO WIDTH SPACE}#000000951",
    "combining": "e" + "\N{COMBINING ACUTE ACCENT}" * 5_000,
    "emoji": "\N{MAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}" * 100,
    "noncharacters": "\uffff\ufdd0\U0010ffff",
    "template": "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    "format-string": "{0.__class__.__mro__} %n%n%n%x",
    "jndi": "${jndi:ldap://127.0.0.1/a}",
    "markup": "<script>alert(1)</script><!--",
    "path": "../../../../etc/passwd",
    "shell": "$(id); `id` | id",
    "json": '"}, {"query": "mutation"',
    "60-kb": "x" * 60_000,
}

CASES: Final = (
    *(Case(name, ask(_DOCUMENT, {"clerk": text}), fine(_NONE)) for name, text in _HARMLESS.items()),
    Case(
        "a-megabyte",
        ask(_DOCUMENT, {"clerk": "y" * 1_000_000}),
        refused(400, "LIMIT_EXCEEDED", limit="variableCharacters"),
    ),
    Case("nul", ask(_DOCUMENT, {"clerk": "\0"}), _INVALID),
    Case("nul-within", ask(_DOCUMENT, {"clerk": "Clerk#000000951\0"}), _INVALID),
    Case("nul-in-a-list", ask(_LIST, {"clerks": ["a", "\0"]}), _INVALID),
    Case("nul-as-it-stands", ask('{ orders(filter: {clerk: {eq: "\\u0000"}}) { totalCount } }'), _INVALID),
    Case("nul-in-a-note", ask(_NOTE, {"note": f"{MARK}\0"}), _NOTE_INVALID),
    Case("a-note-of-1001", ask(_NOTE, {"note": MARK + "n" * 1_001}), _NOTE_INVALID),
    Case(
        "half-a-surrogate",
        post(b'{"query": "{ __typename }", "variables": {"a": "\\udc00"}}'),
        refused(400, "BODY_INVALID"),
    ),
    Case(
        "half-a-surrogate-as-it-stands",
        ask('{ orders(filter: {clerk: {eq: "\\uD800"}}) { totalCount } }'),
        refused(400, "SYNTAX"),
    ),
    Case(
        "halves-in-the-wrong-order",
        ask('{ orders(filter: {clerk: {eq: "\\uDE00\\uD83D"}}) { totalCount } }'),
        refused(400, "SYNTAX"),
    ),
    Case(
        "beyond-unicode", ask('{ orders(filter: {clerk: {eq: "\\u{110000}"}}) { totalCount } }'), refused(400, "SYNTAX")
    ),
    Case("a-number-for-a-string", ask(_DOCUMENT, {"clerk": 951}), refused(400, "VARIABLES_INVALID")),
    Case("a-list-for-a-string", ask(_DOCUMENT, {"clerk": [MARK]}), refused(400, "VARIABLES_INVALID")),
    Case("an-object-for-a-string", ask(_DOCUMENT, {"clerk": {"eq": MARK}}), refused(400, "VARIABLES_INVALID")),
    Case(
        "1001-strings",
        ask(_LIST, {"clerks": [f"c{n}" for n in range(1_001)]}),
        partly({"orders": None}, "TOO_MANY_VALUES"),
    ),
    Case(
        "not-a-string-among-strings",
        ask(_LIST, {"clerks": ["a", None]}, accept=OLD),
        Expected(200, ("VARIABLES_INVALID",)),
    ),
)
