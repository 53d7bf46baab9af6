"""Bad envelopes: JSON objects with a wrong `query`, `variables`, `operationName` or `extensions`."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from tests.bad_inputs.case import OLD, ORDER, Case, fine, post, refused
from tests.support.values import anything

_INVALID: Final = refused(400, "PARAMETER_INVALID")
_UNDETERMINED: Final = refused(400, "OPERATION_UNDETERMINED")
_BATCH: Final = refused(400, "BODY_INVALID")
_TWO: Final = "query A { __typename } query B { __typename }"
_UNKNOWN: Final = sha256(b"nobody has ever sent this").hexdigest()


def _hash(value: object) -> dict[str, object]:
    return {"persistedQuery": {"version": 1, "sha256Hash": value}}


CASES: Final = (
    Case("nothing", post({}), _INVALID),
    *(
        Case(f"query-is-{name}", post({"query": value}), _INVALID)
        for name, value in zip(
            ("null", "empty", "a-number", "true", "an-object", "a-list"),
            anything(None, "", 1, True, {"a": 1}, [ORDER]),
            strict=True,
        )
    ),
    Case("query-in-capitals", post({"Query": ORDER}), _INVALID),
    Case("query-of-white-space", post({"query": " \n\t,"}), refused(400, "SYNTAX")),
    *(
        Case(f"{part}-is-{name}", post({"query": ORDER, part: value}), _INVALID)
        for part in ("variables", "extensions")
        for name, value in zip(("a-list", "a-string", "a-number", "true"), anything([], "{}", 1, True), strict=True)
    ),
    *(
        Case(f"operation-name-is-{name}", post({"query": ORDER, "operationName": value}), _INVALID)
        for name, value in zip(("a-number", "a-list", "an-object"), anything(1, ["A"], {}), strict=True)
    ),
    Case("the-same-as-plain-json", post({"query": 1}, accept=OLD), _INVALID),
    Case("operation-name-unknown", post({"query": _TWO, "operationName": "C"}), _UNDETERMINED),
    Case("operation-name-missing", post({"query": _TWO}), _UNDETERMINED),
    Case("operation-name-empty", post({"query": _TWO, "operationName": ""}), _UNDETERMINED),
    Case("operation-name-in-another-case", post({"query": _TWO, "operationName": "a"}), _UNDETERMINED),
    Case("operation-name-of-a-megabyte", post({"query": _TWO, "operationName": "A" * 1_000_000}), _UNDETERMINED),
    Case("two-without-a-name", post({"query": "{ __typename } { __typename }"}), _UNDETERMINED),
    Case("a-batch-of-none", post([]), _BATCH),
    Case("a-batch-of-one", post([{"query": ORDER}]), _BATCH),
    Case("a-batch-of-a-hundred", post([{"query": ORDER}] * 100), _BATCH),
    Case("a-batch-in-an-object", post({"0": {"query": ORDER}, "1": {"query": ORDER}}), _INVALID),
    Case("hash-unknown", post({"extensions": _hash(_UNKNOWN)}), refused(200, "PERSISTED_QUERY_NOT_FOUND")),
    Case(
        "hash-of-another",
        post({"query": ORDER, "extensions": _hash(_UNKNOWN)}),
        refused(400, "PERSISTED_QUERY_MISMATCH"),
    ),
    Case("hash-is-a-number", post({"extensions": _hash(1)}), _INVALID),
    # Relay's document ids are not SHA-256 hashes, so any text may be one.
    Case("hash-is-no-hash", post({"extensions": _hash("zz' OR 1=1 --")}), refused(200, "PERSISTED_QUERY_NOT_FOUND")),
    Case("hash-is-empty", post({"query": ORDER, "extensions": _hash("")}), fine()),
    Case("hash-is-null", post({"query": ORDER, "extensions": _hash(None)}), fine()),
    Case("persisted-query-is-empty", post({"query": ORDER, "extensions": {"persistedQuery": {}}}), fine()),
    Case("persisted-query-is-a-list", post({"extensions": {"persistedQuery": []}}), _INVALID),
    Case(
        "everything-null", post({"query": ORDER, "variables": None, "operationName": None, "extensions": None}), fine()
    ),
    Case("more-than-is-known", post({"query": ORDER, "id": 1, "__proto__": {"a": 1}, "constructor": []}), fine()),
    Case("unknown-extensions", post({"query": ORDER, "extensions": {"tracing": {"a": [{}]}}}), fine()),
    Case("undeclared-variables", post({"query": ORDER, "variables": {"a": 1, "": 2, "$": [3]}}), fine()),
)
