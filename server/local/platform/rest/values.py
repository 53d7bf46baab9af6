"""The values of the Postgres API: ids, names of resources, durations, times and terms."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

from server.local.platform.rest.errors import invalid
from server.local.platform.state.times import stamp

if TYPE_CHECKING:
    from server.local.platform.rest.postgres_bodies import ComputeBody, TermBody

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_DURATION = re.compile(r"\d{1,9}(\.\d{1,9})?s")
_BRANCH_NAME = re.compile(r"projects/([^/]+)/branches/([^/]+)")
_DAY_SECONDS = 86_400
_MAX_TERM_SECONDS = 30 * _DAY_SECONDS
_MIN_SUSPENSION, _MAX_SUSPENSION = 60, 7 * _DAY_SECONDS
_MIN_CU, _MAX_CU, _MAX_SPREAD = 0.5, 64, 16


def checked_id(name: str, field: str) -> str:
    """Check the id of a new resource, and return it.

    Raises:
        PlatformError: INVALID_PARAMETER_VALUE.
    """
    if not name:
        raise invalid(f"Field '{field}' is required, expected non-default value (not \"\")!")
    if not _ID.fullmatch(name):
        raise invalid(
            f"Field '{field}' must be 1-63 characters, start with a lowercase letter, and contain only lowercase"
            " letters, numbers and hyphens (RFC 1123)."
        )
    return name


def branch_parts(name: str | None, field: str) -> tuple[str, str]:
    """The ids of project and branch in the name of a branch."""
    parts = _BRANCH_NAME.fullmatch(name or "")
    if parts is None:
        raise invalid(f"Field '{field}' must be projects/{{project_id}}/branches/{{branch_id}}.")
    return parts[1], parts[2]


def seconds_of(text: str, field: str) -> float:
    """The seconds of a duration such as 300s."""
    if not _DURATION.fullmatch(text):
        raise invalid(f"{field}: {text!r} is not a duration such as 300s.")
    return float(text[:-1])


def duration(seconds: float) -> str:
    """A duration as the platform writes it."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def unix_time_of(text: str, field: str) -> float:
    """A time such as 2026-11-01T12:00:00Z as Unix time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise invalid(f"{field}: {text!r} is not a time such as 2026-11-01T12:00:00Z.")
    return found.timestamp()


def expire_time_of(term: TermBody, *, created: str | None = None) -> str | None:
    """When something ends that is created now or was `created` then, from when a `ttl` counts; None is never.

    Raises:
        PlatformError: INVALID_PARAMETER_VALUE unless exactly one field is given, with at most 30 days.
    """
    given = [name for name, value in term.model_dump(include={"ttl", "expire_time", "no_expiry"}).items() if value]
    if len(given) != 1:
        raise invalid("spec: exactly one of ttl, expire_time and no_expiry is required.")
    if term.no_expiry:
        return None
    now = time.time()
    if term.ttl:
        end = (unix_time_of(created, "create_time") if created else now) + seconds_of(term.ttl, "spec.ttl")
    else:
        end = unix_time_of(str(term.expire_time), "spec.expire_time")
    if not now < end <= now + _MAX_TERM_SECONDS:
        raise invalid(f"spec.{given[0]}: the end must be in the future, and at most 30 days ahead.")
    return stamp(end)


def suspend_after_of(body: ComputeBody, field: str) -> float | None:
    """The idle time after which an endpoint is suspended: 0 is never, None is not given."""
    if body.no_suspension is not None and body.suspend_timeout_duration is not None:
        raise invalid(f"{field}: no_suspension and suspend_timeout_duration are mutually exclusive.")
    if body.no_suspension is not None:
        if not body.no_suspension:
            raise invalid(f"{field}.no_suspension: should be true when provided.")
        return 0
    if body.suspend_timeout_duration is None:
        return None
    seconds = seconds_of(body.suspend_timeout_duration, f"{field}.suspend_timeout_duration")
    if not _MIN_SUSPENSION <= seconds <= _MAX_SUSPENSION:
        raise invalid(f"{field}.suspend_timeout_duration: must be between {_MIN_SUSPENSION}s and {_MAX_SUSPENSION}s.")
    return seconds


def check_limits(least: float, most: float, field: str) -> None:
    """Check the capacity units between which an endpoint scales."""
    if not _MIN_CU <= least <= most <= _MAX_CU:
        raise invalid(
            f"{field}: autoscaling_limit_min_cu and autoscaling_limit_max_cu must be between {_MIN_CU} and {_MAX_CU},"
            " and the first not above the second."
        )
    if most - least > _MAX_SPREAD:
        raise invalid(f"{field}: autoscaling_limit_max_cu - autoscaling_limit_min_cu must not exceed {_MAX_SPREAD}.")
