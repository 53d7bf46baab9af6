"""The load of a scenario: open-loop reads of known orders and recorded writes. Every response is checked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason
from tests.blackbox.ledger import Answer, Intent, Outcome
from tests.faults.client import Client, LostError, NotSentError, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.blackbox.ledger import Ledger
    from tests.faults.leaks import Leaks
    from tests.faults.orders import KnownOrders

# The reasons of requests without a response: no connection was accepted, or the connection was lost.
NOT_SENT, LOST = "NOT_SENT", "LOST"
_Result = Response | NotSentError | LostError
_READ_SHARE: Final = 0.8
_LOOK_UP: Final = "query($key: BigInt!) { order(orderKey: $key) { orderKey customerKey totalPrice orderDate } }"
_PAGE: Final = (
    "query($after: String) { orders(first: 10, after: $after) "
    "{ nodes { orderKey customerKey totalPrice orderDate } pageInfo { endCursor } } }"
)
_SET: Final = """
mutation($input: SetOrderStatusInput!) {
  setOrderStatus(input: $input) { replayed change { version } userErrors { code currentVersion } }
}
"""
# Every write changes the status.
_AFTER: Final = {"OPEN": "FULFILLED", "FULFILLED": "PARTIAL", "PARTIAL": "OPEN"}
_GIVE_UP_SECONDS: Final = 20.0
# Pause before a request is repeated because the server is stopping or gone.
_PAUSE_SECONDS: Final = 0.05
_RESOLVE_SECONDS: Final = 30.0
_CURSORS: Final = 32


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of one request.

    `status` is 0 if there was no response. `wrong` describes a violation of the contract, if there is one.
    """

    kind: str
    sent_at: float
    seconds: float
    status: int
    reason: str | None = None
    outcome: Outcome | None = None
    wrong: str | None = None

    @property
    def ended_at(self) -> float:
        """When the response came, or the client gave up."""
        return self.sent_at + self.seconds

    @property
    def good(self) -> bool:
        """Whether the response has data and no error."""
        return self.status == 200 and self.reason is None

    @property
    def refused(self) -> bool:
        """Whether the server answered that nothing was done."""
        return not self.good and self.status != 0 and self.outcome is not Outcome.UNKNOWN


class Traffic:
    """A fixed rate of requests, whether or not they are answered. Four of five read, the fifth writes.

    Args:
        url: the server's URL.
        orders: the known orders, which reads are compared with.
        ledger: the ledger of the writes. Each order has at most one write in flight.
        leaks: searches every response.
        rate: requests per second.
        seed: seeds the choice of requests.
    """

    def __init__(
        self, url: str, orders: KnownOrders, ledger: Ledger, leaks: Leaks, *, rate: float, seed: int = 1
    ) -> None:
        self._orders = orders
        self._ledger = ledger
        self._leaks = leaks
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 # not for cryptography
        self._url = url
        self._client: Client
        self._free = deque(orders.statuses)
        self._statuses = dict(orders.statuses)
        self._cursors: list[tuple[str, int]] = []
        self._in_doubt: list[Intent] = []
        self.replies: list[Reply] = []
        # Set when no more requests are to be sent.
        self.stopped = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send requests inside the block. At its end, wait for those in flight."""
        async with Client(self._url, timeout=_GIVE_UP_SECONDS) as self._client, asyncio.TaskGroup() as group:
            group.create_task(self._keep_schedule(group))
            try:
                yield
            finally:
                self.stopped.set()

    async def resolve(self, url: str | None = None) -> None:
        """Repeat the writes in doubt, with their keys, until their outcomes are known; on this or another server."""
        async with Client(url or self._url, timeout=_GIVE_UP_SECONDS) as client:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RESOLVE_SECONDS):
                    for intent in self._in_doubt:
                        while (answer := (await self._sent(client, intent))[0]).retryable:  # noqa: ASYNC110 # polls
                            await asyncio.sleep(_PAUSE_SECONDS)  # between two attempts
                        self._ledger.note(intent, answer)
            self._in_doubt.clear()

    async def until(self, condition: Callable[[list[Reply]], bool], *, seconds: float = 30) -> None:
        """Wait until the condition holds for the replies.

        Raises:
            TimeoutError: it does not hold in time.
        """
        async with asyncio.timeout(seconds):
            while not condition(self.replies):  # noqa: ASYNC110 # the list of replies has no event to wait for
                await asyncio.sleep(0.01)  # between two looks at the condition

    async def _keep_schedule(self, group: asyncio.TaskGroup) -> None:
        began = time.monotonic()
        for number in itertools.count():
            ahead = began + number / self._rate - time.monotonic()
            if ahead > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopped.wait(), ahead)
            if self.stopped.is_set():
                return
            reads = self._random.random() < _READ_SHARE or not self._free
            group.create_task(self._read() if reads else self._write())

    async def _read(self) -> None:
        if self._random.random() < 0.5:
            key = self._random.choice(self._orders.keys)
            body = {"query": _LOOK_UP, "variables": {"key": str(key)}}
            expected: Callable[[Any], bool] = lambda data: self._orders.are([data["order"]], [key])  # noqa: E731
        else:
            cursor, place = self._random.choice(self._cursors) if self._cursors else (None, 0)
            keys = self._orders.keys[place : place + 10]
            body = {"query": _PAGE, "variables": {"after": cursor}}
            expected = lambda data: self._expect_page(data["orders"], keys, place + 10)  # noqa: E731
        sent_at = time.monotonic()
        response = await self._post(self._client, body)
        reply = self._judged("read", sent_at, response)
        if reply.good and isinstance(response, Response) and not expected(response.json()["data"]):
            reply = Reply(
                "read", sent_at, reply.seconds, 200, reply.reason, None, f"wrong answer: {response.text[:300]}"
            )
        self.replies.append(reply)

    def _expect_page(self, page: Any, keys: list[int], end: int) -> bool:
        if len(self._cursors) < _CURSORS and end < len(self._orders.keys) - 10:
            self._cursors.append((page["pageInfo"]["endCursor"], end))
        return self._orders.are(page["nodes"], keys)

    async def _write(self) -> None:
        order = self._free.popleft()
        intent = Intent(str(uuid.uuid4()), order, _AFTER[self._statuses[order]])
        # The intent is on the disk before it is sent. The thread lets other requests go on meanwhile.
        await asyncio.to_thread(self._ledger.intend, intent)
        answer, reply = await self._sent(self._client, intent)
        self._ledger.note(intent, answer)
        self.replies.append(reply)
        if answer.outcome is Outcome.UNKNOWN:
            # No other write touches this order until the outcome is known.
            self._in_doubt.append(intent)
        else:
            # A refused write is final: it is not repeated.
            self._free.append(order)
            if answer.outcome is Outcome.APPLIED:
                self._statuses[order] = intent.status

    async def _sent(self, client: Client, intent: Intent) -> tuple[Answer, Reply]:
        wanted = {
            "orderKey": str(intent.order),
            "status": intent.status,
            "note": intent.key,
            "idempotencyKey": intent.key,
        }
        sent_at = time.monotonic()
        response = await self._post(client, {"query": _SET, "variables": {"input": wanted}})
        reply = self._judged("write", sent_at, response)
        answer = _answer(response, reply)
        return answer, Reply(
            "write", sent_at, reply.seconds, reply.status, reply.reason or answer.reason, answer.outcome, reply.wrong
        )

    @staticmethod
    async def _post(client: Client, body: dict[str, Any]) -> _Result:
        try:
            return await client.post("/api/graphql", body)
        except (NotSentError, LostError) as error:
            return error

    def _judged(self, kind: str, sent_at: float, response: _Result) -> Reply:
        seconds = time.monotonic() - sent_at
        if not isinstance(response, Response):
            return Reply(kind, sent_at, seconds, 0, NOT_SENT if isinstance(response, NotSentError) else LOST)
        self._leaks.look(response.text)
        reason, wrong = _contract(response)
        return Reply(kind, sent_at, seconds, response.status, reason, None, wrong)


def _contract(response: Response) -> tuple[str | None, str | None]:
    """The reason in a response, and its deviation from the table of errors in schema/README.md, if there is one."""
    try:
        body = response.json()
        errors = body.get("errors", [])
        if not errors:
            return None, None if response.status == 200 and body["data"] else f"no data: {response.text[:300]}"
        (error,) = errors
        extensions = error["extensions"]
        kind = Reason[extensions["reason"]].value
    except (json.JSONDecodeError, KeyError, ValueError, TypeError, AttributeError) as fault:
        return None, f"{response.status} {fault!r}: {response.text[:300]}"
    status = kind.status if not any((body.get("data") or {}).values()) else 200
    expected = (status, kind.code.value)
    found = (response.status, extensions["code"])
    if found != expected:
        return extensions["reason"], f"{found} and not {expected} with {extensions['reason']}"
    if status == 503 and "retry-after" not in response.headers:
        return extensions["reason"], f"{extensions['reason']} without Retry-After"
    return extensions["reason"], None


def _answer(response: _Result, reply: Reply) -> Answer:
    if not isinstance(response, Response):
        outcome = Outcome.REFUSED if reply.reason == NOT_SENT else Outcome.UNKNOWN
        return Answer(outcome, reply.reason, retryable=True)
    if reply.reason is not None:
        unknown = reply.reason == Reason.OUTCOME_UNKNOWN.name
        return Answer(
            Outcome.UNKNOWN if unknown else Outcome.REFUSED, reply.reason, retryable=Reason[reply.reason].value.retry
        )
    if reply.wrong is not None:
        return Answer(Outcome.UNKNOWN, "UNREADABLE", retryable=True)
    done = response.json()["data"]["setOrderStatus"]
    if done["userErrors"]:
        (refusal,) = done["userErrors"]
        return Answer(Outcome.REFUSED, refusal["code"], refusal["currentVersion"], done["replayed"])
    if done["change"] is None:
        return Answer(Outcome.UNCHANGED, replayed=done["replayed"])
    return Answer(Outcome.APPLIED, version=done["change"]["version"], replayed=done["replayed"])
