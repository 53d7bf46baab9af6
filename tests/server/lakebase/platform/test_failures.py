"""What the platform's own words may repeat in an error."""

from __future__ import annotations

import pytest
from databricks.sdk.errors import BadRequest

from server.lakebase.platform.failures import Action, to_api_error


@pytest.mark.parametrize(
    "words",
    [
        "The token dapi-hunter2 is not valid",
        "Bearer hunter2",
        "Authorization: Basic hunter2",
        '{"password": "hunter2"}',
        "client_secret: hunter2",
        "secret='hunter2'",
        "cannot connect to postgresql://orders:hunter2@db.example.com/orders",
        "https://bucket.example.com/x?X-Amz-Signature=hunter2&X-Amz-Expires=60",
    ],
)
def test_no_secret_of_the_platforms_words_is_repeated(words: str) -> None:
    """The rest of the message is."""
    message = to_api_error(BadRequest(f"Not now. {words}. Try later"), Action.GET_INSTANCE).message
    assert "hunter2" not in message
    assert "Not now." in message
    assert "***" in message
