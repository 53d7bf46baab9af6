"""The requests for credentials of an endpoint."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from server.local.platform.rest.errors import invalid
from server.local.platform.rest.values import seconds_of, unix_time_of

if TYPE_CHECKING:
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.rest.bodies import EndpointCredentialBody
    from server.local.platform.state.projects import Compute

_ENDPOINT_NAME = re.compile(r"projects/([^/]+)/branches/([^/]+)/endpoints/([^/]+)")
_MIN_LIFETIME_SECONDS, _MAX_LIFETIME_SECONDS = 300, 3600


def requested(body: EndpointCredentialBody, lookup: Lookup) -> tuple[Compute, float]:
    """The endpoint of a request for a credential, and the credential's lifetime in seconds.

    Raises:
        PlatformError: NOT_FOUND, or INVALID_PARAMETER_VALUE for a lifetime outside 5 minutes to an hour.
    """
    parts = _ENDPOINT_NAME.fullmatch(body.endpoint or "")
    if parts is None:
        raise invalid("endpoint: must be projects/{project}/branches/{branch}/endpoints/{endpoint}.")
    return lookup.endpoint(*parts.groups()), _lifetime(body)


def _lifetime(body: EndpointCredentialBody) -> float:
    """The lifetime in seconds: given as `ttl` or as `expire_time`, or an hour."""
    if body.ttl is not None and body.expire_time is not None:
        raise invalid("ttl and expire_time are mutually exclusive.")
    seconds: float = _MAX_LIFETIME_SECONDS
    if body.ttl is not None:
        seconds = seconds_of(body.ttl, "ttl")
    elif body.expire_time is not None:
        seconds = unix_time_of(body.expire_time, "expire_time") - time.time()
    if not _MIN_LIFETIME_SECONDS <= seconds <= _MAX_LIFETIME_SECONDS:
        field = "ttl" if body.ttl is not None else "expire_time"
        raise invalid(f"{field}: must be {_MIN_LIFETIME_SECONDS} to {_MAX_LIFETIME_SECONDS} seconds ahead.")
    return seconds
