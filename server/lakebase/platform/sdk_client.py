"""Owns calling the Databricks SDK: off the event loop, in few threads, within a deadline of our own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from databricks.sdk import WorkspaceClient
from databricks.sdk.clock import Clock
from databricks.sdk.core import Config

from schema.errors import Reason, UnavailableError
from server.lakebase.platform.failures import meaning_of, summary_of
from server.observability.event_loop import heard

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.lakebase.platform.failures import Action
    from server.settings import Settings


from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")
# Admin work is rare, and a thread that waits for a silent platform costs nothing but its place here.
_THREADS: Final = 8
# For one response of the platform.
_ATTEMPT_SECONDS: Final = 5.0
# How long the SDK retries a call that fails for now, in whole seconds.
_RETRY_SECONDS: Final = 10
_PRODUCT: Final = "lakebase-orders-graphql"
_VERSION: Final = "0.1.0"
# What the SDK says at DEBUG are bodies, tokens among them; its warnings repeat errors with its configuration.
_SDK_LOGGERS: Final = ("databricks.sdk", "urllib3")


class _BoundedClock(Clock):
    """The SDK's clock, but one that refuses to sleep for as long as a Retry-After may say: an hour."""

    def __init__(self, longest_seconds: float) -> None:
        self._longest_seconds = longest_seconds

    def time(self) -> float:
        """In seconds; the SDK takes differences only."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            TimeoutError: for longer than the whole budget.
        """
        if seconds > self._longest_seconds:
            raise TimeoutError("told to wait for longer than there is time")
        time.sleep(seconds)  # in a thread of the SDK's callers, between two attempts; the event loop is elsewhere


def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="databricks")


class Workspace:
    """A client of the workspace, made when it is first needed: making it asks the host for its discovery document.

    The SDK is synchronous and tries again by itself, POSTs too. It stops doing so before our own deadline strikes:
    a thread that is no longer waited for must not send anything more.
    """

    def __init__(self, settings: Settings, *, threads: int = _THREADS, retry_seconds: int | None = None) -> None:
        self._settings = settings
        self._attempt_seconds = _ATTEMPT_SECONDS
        self._retry_seconds = retry_seconds or _RETRY_SECONDS
        # The last attempt may begin just before the budget ends, and comes after a pause of up to a second and more.
        self.deadline_seconds = self._retry_seconds + self._attempt_seconds + 2
        self._size, self._overdue = threads, 0
        self._threads = _pool(threads)
        self._making = threading.Lock()
        self._client: WorkspaceClient | None = None

    @property
    def host(self) -> str:
        """The workspace's address, as its users have it in their browsers; empty where it is not known yet."""
        return self._client.config.host.rstrip("/") if self._client and self._client.config.host else ""

    async def call(self, action: Action, work: Callable[[WorkspaceClient], T]) -> T:
        """What the work gives, which is done in a thread.

        Raises:
            ApiError: what the failure means.
        """
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)
        # Whoever is cancelled here leaves it behind.
        running.add_done_callback(heard)
        done, _ = await asyncio.wait({running}, timeout=self.deadline_seconds)
        if not done:
            running.cancel()
            self._note_overdue()
            raise UnavailableError(
                Reason.CONTROL_PLANE_TIMEOUT,
                f"The platform did not answer within {self.deadline_seconds:g} s ({action.value.doing}). It may still "
                "do what it was asked: look again.",
            )
        if running.cancelled():
            # Another one's time was over, and the threads were left behind before this had begun.
            raise UnavailableError(Reason.CONTROL_PLANE_TIMEOUT, f"The platform is too slow ({action.value.doing}).")
        error = running.exception()
        if error is not None:
            # The SDK's own exception may hold tokens, and a cause is logged.
            raise meaning_of(error, action) from summary_of(error)
        return running.result()

    def _note_overdue(self) -> None:
        """Leave the threads behind, once all of them may be stuck: the SDK logs in without any time limit."""
        self._overdue += 1
        if self._overdue >= self._size:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads, self._overdue, self._client = _pool(self._size), 0, None
            self._making = threading.Lock()

    def close(self) -> None:
        """Begin nothing more. What is being sent is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[WorkspaceClient], T]) -> T:
        with self._making:
            client = self._client = self._client or self._make()
        return work(client)

    def _make(self) -> WorkspaceClient:
        for name in _SDK_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        settings = self._settings
        token, secret = settings.databricks_token, settings.databricks_client_secret
        given: dict[str, Any] = {
            "host": settings.databricks_host,
            "token": token.get_secret_value() if token else None,
            "client_id": settings.databricks_client_id,
            "client_secret": secret.get_secret_value() if secret else None,
        }
        return WorkspaceClient(
            config=Config(
                # What is not set here the SDK looks for itself, in its own variables and files.
                **{name: value for name, value in given.items() if value},
                http_timeout_seconds=self._attempt_seconds,
                retry_timeout_seconds=self._retry_seconds,
                product=_PRODUCT,
                product_version=_VERSION,
                clock=_BoundedClock(self._retry_seconds),
            )
        )
