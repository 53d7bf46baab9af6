"""Calls to the platform that a step makes: each once, until its effect can be seen or it has failed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from schema.errors import PlatformError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.lakebase.steps.step import Step

# The platform may not show the effect of a call for a moment. A call is not repeated sooner than this: the platform
# would refuse a second creation.
_AGAIN_SECONDS: Final = 20.0
# The same for the start of a pipeline's run. Another run that was being stopped is over by then.
_START_AGAIN_SECONDS: Final = 20.0
# The same for deletions, which may be repeated sooner: a second one does no harm.
DELETE_AGAIN_SECONDS: Final = 3.0
# Once the platform has refused to create a resource because its name is taken, it may still not show the resource for
# this long: another client may have only begun to create it. One that does not appear is not ours.
_APPEARS_SECONDS: Final = 20.0
# How long a step waits for the platform's operation once the resource is there or gone, as it should be.
_FREED_SECONDS: Final = 30.0
# How often the platform's operation behind a call may fail for a reason that may pass.
_OPERATION_ATTEMPTS: Final = 3
# The progress of a step that has sent its request.
REQUESTED: Final = 0.05


class Absence:
    """Whether a resource is gone. It may be invisible for a moment, so it has to be missing twice in a row."""

    def __init__(self) -> None:
        self._times = 0

    def confirmed(self) -> bool:
        """Note that the resource was not found, and say whether it is certainly gone."""
        self._times += 1
        return self._times > 1

    def reset(self) -> None:
        """Note that the resource was found."""
        self._times = 0


class Call:
    """A call that changes something, with the platform's own operation behind it.

    It is not repeated while the operation runs, or while its effect may merely not be visible yet. The operation's name
    is kept in the facts, and the platform is asked only for its failure: a read of the resource shows what is.

    Args:
        step: the step.
        what: what the call does, "creation of instance orders-pg". One step's calls have different names.
        again: after how many seconds it may be repeated.
        repeated: whether it is sent again, a few times, if its operation fails for a reason that may pass.
    """

    def __init__(self, step: Step, what: str, *, again: float = _AGAIN_SECONDS, repeated: bool = False) -> None:
        self._step = step
        self._what = what
        self._again = again
        self._repeated = repeated
        self._name = f"platform operation of {what}"
        self._times = f"failures of {what}"
        self._sent_at: float | None = None
        self._seen_since: float | None = None

    async def due(self) -> bool:
        """Whether the call should be sent now.

        Raises:
            ApiError: why its operation has failed.
        """
        over = await self.check()
        return over and (self._sent_at is None or time.monotonic() - self._sent_at > self._again)

    async def send(
        self, request: Callable[[], Awaitable[str | None]], *, guard: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Send the call, which returns the name of the platform's operation if it has one.

        Right before it, `guard` or else `Step.guard` confirms that this process still holds the operation.
        """
        await (guard or self._step.guard)()
        try:
            name = await request()
        except PlatformError:
            # A refusal is an answer, too. Any other failure may mean that the platform has not seen the call.
            self._sent_at = time.monotonic()
            raise
        self._sent_at = time.monotonic()
        if name is not None:
            self._step.facts[self._name] = name

    async def over(self) -> bool:
        """Whether the operation is over, however it has ended: what it is for can be seen already.

        A resource that is gone may keep its name until then. After a while the operation counts as over: it may never
        end.
        """
        name = self._step.facts.get(self._name)
        self._seen_since = self._seen_since or time.monotonic()
        if name is None or time.monotonic() - self._seen_since > _FREED_SECONDS:
            return True
        return (await self._step.services.platform.outcome_of(name)).done

    async def check(self, *, last: bool = False) -> bool:
        """Continue only if the operation has not failed; return whether it is over.

        After a failure that may pass the call is due at once, if it is `repeated`; but not with `last`, nor for ever.

        Raises:
            ApiError: why it has failed.
        """
        name = self._step.facts.get(self._name)
        if name is None:
            return True
        outcome = await self._step.services.platform.outcome_of(name)
        if (failure := outcome.failure) is None:
            return outcome.done
        del self._step.facts[self._name]
        self._sent_at = None
        times = self._step.facts[self._times] = self._step.facts.get(self._times, 0) + 1
        if failure.retryable and (last or not self._repeated or times >= _OPERATION_ATTEMPTS):
            raise PlatformError(
                Reason.CONTROL_PLANE_REFUSED, f"The platform has failed in the {self._what}: {failure.message}"
            )
        raise failure


class Creation:
    """The creation of one resource by a step.

    The platform may refuse it because the name is taken. If another client has created the same resource, or we have
    and the reply was lost, a later look finds it. Otherwise something else has the name, and the step fails. The
    refusal is kept with the operation, which therefore never creates the resource when the name comes free later.

    Args:
        step: the step.
        resource: its kind and name.
    """

    def __init__(self, step: Step, resource: str) -> None:
        self._step = step
        self._resource = resource
        self._fact = f"creation of {resource} refused"
        self._call = Call(step, f"creation of {resource}", repeated=True)
        self._missing_since: float | None = None

    def found(self) -> None:
        """Note that the resource exists."""
        self._step.facts.pop(self._fact, None)
        self._missing_since = None

    async def check(self) -> bool:
        """Continue only if the platform has not failed in the creation of the resource, which exists, but is not ready.

        Returns:
            Whether the platform's operation is over.

        Raises:
            ApiError: why it has failed.
        """
        return await self._call.check(last=True)

    async def over(self) -> bool:
        """Whether the creation of a resource that can be seen is over, for one that has no state. As `check`."""
        return await self.check() or await self._call.over()

    async def send(self, create: Callable[[], Awaitable[str | None]], progress: float, message: str) -> None:
        """Send the creation and report it, unless it was sent recently. Each look without the resource calls this.

        Raises:
            PlatformError: SPEC_CONFLICT with the platform's words, if something else has the name.
            ApiError: as `create` and `Step.guard` raise them.
        """
        if refusal := self._step.facts.get(self._fact):
            self._wait_for_it(refusal)
            return
        try:
            # If two clients create it at once, the platform may accept both calls, and refuse one in its operation.
            if not await self._call.due():
                return
            await self._call.send(create)
        except PlatformError as error:
            if error.reason is not Reason.SPEC_CONFLICT:
                raise
            self._step.facts[self._fact] = error.message
            message = f"{error.message} The server looks whether it is this {self._resource}."
        await self._step.report(progress, message)

    def _wait_for_it(self, refusal: str) -> None:
        if self._missing_since is None:
            self._missing_since = time.monotonic()
        elif time.monotonic() - self._missing_since > _APPEARS_SECONDS:
            raise PlatformError(
                Reason.SPEC_CONFLICT,
                f"{refusal} The server finds no {self._resource}, so something else is in the way. It was left alone: "
                "choose another name, or remove it and send the same mutation again.",
            )


class RunStart:
    """The start of a pipeline's run by a step, at looks that find no run under way.

    The platform may refuse it because of another run, which may be ours: the reply was lost. A later look sees that
    run, or starts one once the other is done. If it is refused again, and there still is no run, the step fails.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._call = Call(step, "start of a sync", again=_START_AGAIN_SECONDS)
        self._refusal = ""

    async def send(self, start: Callable[[], Awaitable[str | None]]) -> str:
        """Start the run, unless it was started recently. Return the platform's words if it refused; empty otherwise.

        Raises:
            PlatformError: SPEC_CONFLICT with the platform's words, if it refuses twice.
            ApiError: as `start` and `Step.guard` raise them.
        """
        if await self._call.due():
            refused_before, self._refusal = self._refusal, ""
            try:
                await self._call.send(start)
            except PlatformError as error:
                if error.reason is not Reason.SPEC_CONFLICT:
                    raise
                if refused_before:
                    message = f"{error.message} The pipeline has no run under way that could be the reason."
                    raise PlatformError(Reason.SPEC_CONFLICT, message) from error
                self._refusal = f"{error.message} The server tries again."
        return self._refusal
