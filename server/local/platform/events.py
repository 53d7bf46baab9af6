"""The events that the local platform reports to an observer. The plain platform ignores them; tests count them."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    # Called with the event and the endpoint's uid, which is empty where the event concerns no single endpoint.
    Observer = Callable[["Event", str], None]


class Event(Enum):
    """The kinds of events."""

    CREDENTIAL_MINTED = auto()
    LOGIN_ACCEPTED = auto()
    LOGIN_REFUSED = auto()
    ENDPOINT_WOKEN = auto()
