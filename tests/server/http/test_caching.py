"""Caching: the headers of a response, and when a 304 is enough."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from starlette.responses import Response

from server.http.caching import Caching
from server.http.consistency import LIFETIME_SECONDS
from server.settings import Settings


def cached(
    *if_none_match: str,
    seconds: int | Literal["off"] = 0,
    body: bytes = b"{}",
    media: str = "application/json",
    encoded: bool = False,
) -> Response:
    """A response with its caching headers."""
    scope = {"headers": [(b"if-none-match", tag.encode()) for tag in if_none_match]}
    return Caching(seconds).apply(scope, Response(body, media_type=media), encoded=encoded)


TAG = cached().headers["etag"]


def test_a_tag_stands_for_bytes_media_type_and_encoding() -> None:
    """It is a strong tag: another byte, media type or encoding gives another tag."""
    tags = [
        *(TAG, cached(encoded=True).headers["etag"], cached(body=b"{ }").headers["etag"]),
        cached(media="application/graphql-response+json").headers["etag"],
    ]
    assert len(set(tags)) == 4
    assert all(re.fullmatch(r'"[0-9a-f]{32}(-gzip)?"', tag) for tag in tags)
    assert cached().headers["etag"] == TAG


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [
        ([TAG], 304),
        ([f"W/{TAG}"], 304),
        ([f'"a,b", W/"", {TAG}'], 304),
        (['"a"', TAG], 304),
        (["*"], 304),
        ([], 200),
        ([""], 200),
        (['"a"'], 200),
        ([TAG.strip('"')], 200),
        ([f'{TAG[:-1]}-gzip"'], 200),
    ],
)
def test_a_client_that_has_the_response_is_not_sent_it_again(if_none_match: list[str], status: int) -> None:
    """If-None-Match compares weakly, and may list tags. A 304 repeats the caching headers, without a body."""
    response = cached(*if_none_match)
    assert response.status_code == status
    assert response.headers["etag"] == TAG
    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["vary"].endswith("authorization, cookie, x-consistency-token")
    assert bool(response.body) == (status == 200)


def test_the_setting_decides_what_a_client_may_keep() -> None:
    """For some time, only with revalidation, or not at all; and never in a shared cache."""
    assert cached(seconds=30).headers["cache-control"] == "private, max-age=30, must-revalidate"
    assert cached(seconds="off").headers["cache-control"] == "no-store"
    assert "etag" not in cached("*", seconds="off").headers
    assert cached("*", seconds="off").status_code == 200


def test_nothing_is_kept_for_longer_than_a_consistency_cookie() -> None:
    """Without the cookie a client could reuse a response from before its own change."""
    field = Settings.model_json_schema()["properties"]["cache_seconds"]
    assert [kind["maximum"] for kind in field["anyOf"] if "maximum" in kind] == [LIFETIME_SECONDS]
