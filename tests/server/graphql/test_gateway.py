"""How often the caller of an open connection is asked about, in the process. The clock jumps."""

from __future__ import annotations

import asyncio

from schema.errors import ApiError, ForbiddenError, Reason, UnavailableError
from server.graphql.gateway import refused_before
from tests.support.clock import in_virtual_time, now

LOST = ForbiddenError(Reason.ROLE_MISSING, "lost")
DOWN = UnavailableError(Reason.AUTHENTICATION_UNAVAILABLE, "down")


class Caller:
    """A caller whose roles are checked, and are lost at some time."""

    def __init__(self, error: ApiError, *, at: float) -> None:
        self._error = error
        self._at = at
        self.checked = 0

    async def check(self) -> None:
        """Check the roles."""
        self.checked += 1
        if now() >= self._at:
            raise self._error


async def never() -> None:
    """Wait for nothing."""
    await asyncio.get_running_loop().create_future()


@in_virtual_time
async def test_a_caller_without_its_roles_is_refused_within_half_a_minute() -> None:
    """So is one whose roles cannot be determined."""
    for error in (LOST, DOWN):
        began = now()
        assert await refused_before(never, check=Caller(error, at=began + 1000).check) is error
        assert began + 1000 <= now() <= began + 1030


@in_virtual_time
async def test_a_caller_is_asked_about_until_the_event_comes() -> None:
    """Twice a minute, and not after it."""
    caller, event = Caller(LOST, at=1000), asyncio.Event()
    asyncio.get_running_loop().call_later(910, event.set)
    assert await refused_before(event.wait, check=caller.check) is None
    assert (now(), caller.checked) == (910, 30)
    await asyncio.sleep(1000)
    assert caller.checked == 30


@in_virtual_time
async def test_nobody_is_asked_about_while_the_event_has_come() -> None:
    """A process that is about to stop ends its connections anyway."""
    caller, event = Caller(LOST, at=0), asyncio.Event()
    event.set()
    assert await refused_before(event.wait, check=caller.check) is None
    assert (now(), caller.checked) == (0, 0)
