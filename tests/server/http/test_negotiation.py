"""The weights of Accept and Accept-Encoding."""

from __future__ import annotations

import pytest

from server.http.negotiation import weights_of


@pytest.mark.parametrize(
    ("header", "weights"),
    [
        ("", {}),
        (" , ,;q=1", {}),
        ("Text/HTML, */*;q=0.8", {"text/html": 1.0, "*/*": 0.8}),
        ("gzip ; Q= 0.1 ;x=2", {"gzip": 0.1}),
        ("a;charset=utf-8;q=0.000", {"a": 0.0}),
        ("a;q=7, b;q=-1, c;q=inf", {"a": 1.0, "b": 0.0, "c": 1.0}),
        ("a;q=high, b;q=, c;q=nan", {}),
        ("a, a;q=0.5", {"a": 0.5}),
    ],
)
def test_weights_are_read_as_rfc_9110_says(header: str, weights: dict[str, float]) -> None:
    """A weight is from 0 to 1, by default 1. A value whose weight is not a number is ignored."""
    assert weights_of(header) == weights
