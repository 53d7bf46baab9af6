"""Bad content types, methods and Accept headers: what a form on another site could send, and what no client sends."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import urlencode

from tests.bad_inputs.case import (
    FOUND,
    GRAPHQL,
    NEW,
    OLD,
    ORDER,
    Case,
    Expected,
    Sent,
    fine,
    get,
    post,
    refused,
    request,
)

_BODY: Final = {"query": ORDER}
_TEXT: Final = json.dumps(_BODY).encode()
_UNSUPPORTED: Final = refused(415, "CONTENT_TYPE_UNSUPPORTED")
_NOT_ALLOWED: Final = refused(405, "METHOD_NOT_ALLOWED", headers={"allow": "GET, POST"})
_CHANGE: Final = "mutation { setOrderStatus(input: {orderKey: 1, status: OPEN}) { replayed } }"
_FORM: Final = urlencode(_BODY).encode()
_MULTIPART: Final = b'--b\r\nContent-Disposition: form-data; name="operations"\r\n\r\n' + _TEXT + b"\r\n--b--\r\n"

_TYPES: Final[dict[str, tuple[bytes, str | None]]] = {
    "none": (_TEXT, None),
    "empty": (_TEXT, ""),
    "text": (_TEXT, "text/plain"),
    "text-that-names-json": (_TEXT, "text/plain; x=application/json"),
    "a-form": (_FORM, "application/x-www-form-urlencoded"),
    "json-in-a-form": (_TEXT, "application/x-www-form-urlencoded"),
    "multipart": (_MULTIPART, "multipart/form-data; boundary=b"),
    "jsonp": (_TEXT, "application/jsonp"),
    "json5": (_TEXT, "application/json5"),
    "json-lines": (_TEXT, "application/jsonl"),
    "text-json": (_TEXT, "text/json"),
    "with-a-suffix": (_TEXT, "application/vnd.api+json"),
    "the-media-type-of-responses": (_TEXT, NEW),
    "a-bare-document": (ORDER.encode(), "application/graphql"),
    "two-in-one": (_TEXT, "application/json, text/plain"),
    "a-wildcard": (_TEXT, "application/*"),
    "in-quotes": (_TEXT, '"application/json"'),
    "latin-1": (_TEXT, "application/json; charset=latin-1"),
    "utf-16": (json.dumps(_BODY).encode("utf-16"), "application/json; charset=utf-16"),
    "utf-7": (_TEXT, "application/json; charset=utf-7"),
    "two-charsets": (_TEXT, "application/json; charset=utf-8; charset=latin-1"),
    "a-novel": (_TEXT, "application/json" + "; a=b" * 1_000),
}


def _method(name: str) -> Sent:
    return request(name, GRAPHQL, ("Accept", NEW), ("Content-Type", OLD), body=_TEXT)


def _by_get(parameters: dict[str, str]) -> Sent:
    return get(parameters)


CASES: Final = (
    *(
        Case(name, post(body, content_type=kind), _UNSUPPORTED)
        for name, (body, kind) in _TYPES.items()
        if name != "a-novel"
    ),
    Case("a-novel-of-parameters", post(_TEXT, content_type=_TYPES["a-novel"][1]), fine()),
    Case("two-headers", post(_TEXT, ("Content-Type", "text/plain")), _UNSUPPORTED),
    Case("two-headers-json-last", post(_TEXT, ("Content-Type", OLD), content_type="text/plain"), _UNSUPPORTED),
    Case("capitals", post(_TEXT, content_type="APPLICATION/JSON;CHARSET=UTF-8"), fine()),
    Case("quoted-charset", post(_TEXT, content_type='application/json ; charset="utf-8"'), fine()),
    *(
        Case(f"method-{name.lower()}", _method(name), _NOT_ALLOWED)
        for name in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
    ),
    Case("method-head", request("HEAD", GRAPHQL), Expected(405, headers={"allow": "GET, POST"})),
    Case("method-of-webdav", _method("PROPFIND"), _NOT_ALLOWED),
    Case("method-override", post(_TEXT, ("X-HTTP-Method-Override", "DELETE")), fine()),
    Case("a-change-by-get", _by_get({"query": _CHANGE}), refused(405, "METHOD_NOT_ALLOWED", headers={"allow": "POST"})),
    Case(
        "a-change-by-get-among-queries",
        _by_get(
            {"query": f"query Q {{ __typename }} {_CHANGE.replace('mutation', 'mutation M')}", "operationName": "M"}
        ),
        refused(405, "METHOD_NOT_ALLOWED", headers={"allow": "POST"}),
    ),
    Case(
        "a-subscription-by-get",
        _by_get({"query": "subscription { orderStatusChanged { id } }"}),
        refused(405, "METHOD_NOT_ALLOWED"),
    ),
    Case("get-without-a-query", request("GET", GRAPHQL, ("Accept", NEW)), refused(400, "PARAMETER_INVALID")),
    Case("get-with-invalid-variables", _by_get({"query": ORDER, "variables": "{"}), refused(400, "PARAMETER_INVALID")),
    Case(
        "get-of-variables-in-a-list", _by_get({"query": ORDER, "variables": "[1]"}), refused(400, "PARAMETER_INVALID")
    ),
    Case(
        "get-of-bad-percent-signs",
        request("GET", f"{GRAPHQL}?query=%zz%7B%", ("Accept", NEW)),
        refused(400, "SYNTAX"),
    ),
    Case("get-of-no-utf-8", request("GET", f"{GRAPHQL}?query=%7B%ff%7D", ("Accept", NEW)), refused(400, "SYNTAX")),
    Case("get-with-a-body", request("GET", f"{GRAPHQL}?{_FORM.decode()}", ("Accept", NEW), body=_TEXT), fine()),
    Case(
        "post-of-a-query-in-the-url",
        request("POST", f"{GRAPHQL}?{_FORM.decode()}", ("Content-Type", OLD), body=b"{}"),
        refused(400, "PARAMETER_INVALID"),
    ),
    Case("accepts-html-alone", post(_TEXT, accept="text/html"), refused(406, "NOT_ACCEPTABLE")),
    Case("accepts-nothing", post(_TEXT, accept="application/json;q=0"), refused(406, "NOT_ACCEPTABLE")),
    Case("accepts-nonsense", post(_TEXT, accept=";;q=,,=;/"), refused(406, "NOT_ACCEPTABLE")),
    Case("accepts-to-no-degree", post(_TEXT, accept="application/json;q=much"), refused(406, "NOT_ACCEPTABLE")),
    Case(
        "accept-with-an-invalid-quality",
        post(_TEXT, accept="application/json;q=nan"),
        refused(406, "NOT_ACCEPTABLE"),
    ),
    Case(
        "accepts-a-thousand-kinds",
        post(_TEXT, accept=", ".join(f"a/b{n}" for n in range(1_000))),
        refused(406, "NOT_ACCEPTABLE"),
    ),
    Case("accepts-all-but-html", post(_TEXT, accept="text/html;q=0, */*"), fine(FOUND)),
)
