"""Bad filters: deep, wide, empty and contradictory ones, and texts that are too long."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.bad_inputs.case import Case, Expected, Sent, ask, fine, partly, refused

_BESIDE: Final = {"order": {"orderKey": "1"}}
_TOO_MANY: Final = partly({"found": None, **_BESIDE}, "TOO_MANY_VALUES")
_IMPOSSIBLE: Final = partly({"found": None, **_BESIDE}, "VALUE_INVALID")
_WRONG: Final = refused(400, "VARIABLES_INVALID")
_TOO_DEEP: Final = refused(400, "LIMIT_EXCEEDED", limit="variableDepth")
_ONE: Final[dict[str, Any]] = {"orderKey": {"eq": 1}}
_NONE: Final[dict[str, Any]] = {"or": []}
_LONG: Final = "x" * 10_000


def _filter(value: object) -> Sent:
    """A filter, beside a field that is answered whatever becomes of it."""
    document = "query($f: OrderFilter) { found: orderCount(filter: $f) { count } order(orderKey: 1) { orderKey } }"
    return ask(document, {"f": value})


def _literal(value: object) -> Sent:
    """The same in the document. It has no texts."""
    written = json.dumps(value).replace('"', "")
    return ask(f"{{ found: orderCount(filter: {written}) {{ count }} order(orderKey: 1) {{ orderKey }} }}")


def _found(count: int) -> Expected:
    return fine({"data": {"found": {"count": count}, **_BESIDE}})


def _nested(word: str, times: int) -> dict[str, Any]:
    inner = _ONE
    for _ in range(times):
        inner = {word: inner if word == "not" else [inner]}
    return inner


CASES: Final = (
    *(Case(f"{word}-in-7-others", _filter(_nested(word, 7)), _found(1)) for word in ("and", "or")),
    *(Case(f"{word}-in-8-others", _filter(_nested(word, 8)), _TOO_MANY) for word in ("and", "or", "not")),
    *(Case(f"{word}-in-40-others", _filter(_nested(word, 40)), _TOO_MANY) for word in ("and", "or", "not")),
    *(Case(f"{word}-in-40-others-as-written", _literal(_nested(word, 40)), _TOO_MANY) for word in ("and", "not")),
    *(Case(f"{word}-in-200-others", _filter(_nested(word, 200)), _TOO_DEEP) for word in ("and", "or", "not")),
    *(Case(f"{word}-in-450-others", _filter(_nested(word, 450)), _TOO_DEEP) for word in ("and", "or", "not")),
    Case("and-in-150-others-as-written", _literal(_nested("and", 150)), refused(400, "SYNTAX")),
    Case("not-in-150-others-as-written", _literal(_nested("not", 150)), _TOO_MANY),
    Case("100-conditions", _filter({"or": [_ONE] * 50}), _found(1)),
    Case("102-conditions", _filter({"or": [_ONE] * 51}), _TOO_MANY),
    Case("101-empty-objects", _filter({"and": [{}] * 101}), _TOO_MANY),
    Case("9000-empty-objects", _filter({"or": [{}] * 9_000}), _TOO_MANY),
    Case("many-in-each-of-many", _filter({"or": [{"and": [_ONE] * 20}] * 20}), _TOO_MANY),
    Case("1001-other-keys", _filter({"or": [{"orderKey": {"notIn": [*range(1_001)]}}]}), _TOO_MANY),
    *(
        Case(f"{operator}-of-10000-characters-in-{name}", _filter({name: {operator: _LONG}}), _IMPOSSIBLE)
        for name in ("clerk", "comment", "statusUpdatedBy")
        for operator in ("contains", "startsWith")
    ),
    Case("a-long-text-deep-within", _filter({"not": {"or": [{"clerk": {"contains": _LONG}}]}}), _IMPOSSIBLE),
    Case("nul-in-a-text", _filter({"comment": {"contains": "a\0"}}), _IMPOSSIBLE),
    Case("half-a-character", _filter({"comment": {"contains": "\ud800"}}), refused(400, "BODY_INVALID")),
    *(
        Case(f"matches-nothing-{number}", _filter(value), _found(0))
        for number, value in enumerate(
            (
                _NONE,
                {"not": {}},
                {"not": {"and": []}},
                {"and": [_NONE]},
                {"and": [_ONE, {"not": _ONE}]},
                {"orderKey": {"in": []}},
                {"orderKey": {"eq": 1, "ne": 1}},
                {"orderKey": {"eq": 1, "notIn": [1]}},
                {"clerk": {"eq": "x", "contains": "y"}},
                {"comment": {"contains": "%"}},
                {"comment": {"startsWith": "_"}},
                {"comment": {"contains": "\\", "caseSensitive": True}},
                {"statusUpdatedAt": {"isNull": True, "gte": "2026-01-01T00:00:00Z"}},
                {"statusVersion": {"lt": 0}},
                {"statusSuperseded": {"eq": True}, "statusVersion": {"eq": 0}},
            ),
            1,
        )
    ),
    *(
        Case(f"restricts-nothing-{number}", _filter({"and": [_ONE, value]}), _found(1))
        for number, value in enumerate(
            (
                {"and": []},
                {"and": None, "or": None, "not": None},
                {"and": [{}]},
                {"or": [{}]},
                {"or": [_NONE, {}]},
                {"or": {"orderKey": {"gt": 0}}},
                {"not": _NONE},
                {"not": {"orderKey": {"notIn": [1]}}},
                {"clerk": {"caseSensitive": True}},
                {"clerk": {"contains": "", "caseSensitive": None}},
                {"statusUpdatedAt": {"isNull": None}},
                {"statusVersion": {"ne": None}},
            ),
            1,
        )
    ),
    *(
        Case(f"of-another-shape-{number}", _filter(value), _WRONG)
        for number, value in enumerate(
            (
                {"and": [None]},
                {"or": [[_ONE]]},
                {"not": [_ONE]},
                {"not": 1},
                {"AND": []},
                {"orderKey": {"isNull": True}},
                {"orderKey": {"contains": "1"}},
                {"status": {"gt": "OPEN"}},
                {"statusSuperseded": {"eq": "true"}},
                {"statusUpdatedAt": {"eq": "2026-01-01T00:00:00Z"}},
                {"statusUpdatedAt": {"gte": "2026-01-01"}},
                {"clerk": {"contains": ["a"]}},
                {"clerk": {"caseSensitive": "yes"}},
                {"shipPriority": {"eq": 2**31}},
            ),
            1,
        )
    ),
)
