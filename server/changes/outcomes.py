"""The outcomes of changes, from the JSON in which PostgreSQL decides and records them (revision 0006)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from schema.errors import Reason
from schema.ports.changes import Outcome, Refusal, StatusChange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schema.ports.changes import WriteRequest

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def decoded(outcomes: str) -> list[dict[str, Any]]:
    """The outcomes as JSON values. Those of a change have its version, by which the history finds it."""
    values: list[dict[str, Any]] = orjson.loads(outcomes)
    return values


def outcomes_of(values: Sequence[Mapping[str, Any]], changes: Mapping[int, StatusChange]) -> tuple[Outcome, ...]:
    """The outcomes from JSON values, with the changes that were made, by order key."""
    return tuple(
        Outcome(
            value["key"],
            value["previous"],
            changes.get(value["key"]),
            # Earlier releases left out an empty list of others.
            tuple(_refusal(refusal) for refusal in (value["refusal"], *value.get("others", ())) if refusal),
        )
        for value in values
    )


def changes_made(
    request: WriteRequest,
    user: str,
    values: Sequence[Mapping[str, Any]],
    *,
    ids: Mapping[int, int],
    synced: Mapping[int, str | None],
    changed_at: datetime,
    epoch: int,
) -> dict[int, StatusChange]:
    """The changes that were just made, by order key. PostgreSQL returns of each only what the request does not say."""
    moment = (changed_at - _EPOCH) // _MICROSECOND
    return {
        wanted.order_key: StatusChange(
            id=ids[wanted.order_key],
            order_key=wanted.order_key,
            previous_status=value["previous"],
            status=synced[wanted.order_key] if wanted.status is None else wanted.status,
            cleared=wanted.status is None,
            synced_status=synced[wanted.order_key],
            version=value["version"],
            changed_by=user,
            changed_at=changed_at,
            note=wanted.note,
            moment=moment,
            epoch=epoch,
        )
        for wanted, value in zip(request.wanted, values, strict=True)
        if wanted.order_key in ids
    }


def _refusal(recorded: Sequence[Any]) -> Refusal:
    reason, *rest = recorded
    return Refusal(Reason[reason], *rest)
