"""Writers that keep a ledger of their intents and the answers, and its audit against the tables."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WRITERS: Final = 8
_ORDERS_EACH: Final = 3
# An order's status after this many changes, modulo three, and the letter that is stored for each.
_STATUSES: Final = ("OPEN", "FULFILLED", "PARTIAL")
_NAMES: Final = {name[0]: name for name in _STATUSES}
_SET: Final = """
mutation ($input: SetOrderStatusInput!) {
  setOrderStatus(input: $input) {
    replayed change { cursor version note } userErrors { code currentVersion }
  }
}
"""


class _Turn(Enum):
    """What a writer attempts: a change, a change that expects a wrong version, or the status that is already set."""

    CHANGE = 1
    STALE = 2
    SAME = 3


_TURNS: Final = (_Turn.CHANGE, _Turn.CHANGE, _Turn.STALE, _Turn.CHANGE, _Turn.SAME)


class Outcome(StrEnum):
    """The outcome of one attempt, as the server reported it."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Intent:
    """A change to be made once. Its note holds the key too, so that the audit can find its row."""

    key: str
    order: int
    status: str
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one attempt. The version is the change's, or the order's if the reason is STATUS_CONFLICT."""

    outcome: Outcome
    reason: str | None = None
    version: int | None = None
    replayed: bool = False
    retryable: bool = False


class Ledger:
    """A file of JSON lines: each intent is on the disk before it is sent; the answer to every attempt follows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a", encoding="utf-8")
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons: Counter[str] = Counter()

    def intend(self, intent: Intent) -> None:
        """Record an intent, and wait until it would survive a crash."""
        self._write(asdict(intent))
        os.fsync(self._file.fileno())

    def note(self, intent: Intent, answer: Answer) -> None:
        """Record the answer to an attempt."""
        self._write({"key": intent.key, "answer": asdict(answer)})
        self.outcomes[answer.outcome] += 1
        if answer.reason:
            self.reasons[answer.reason] += 1

    def settled(self) -> dict[str, tuple[Intent, Answer]]:
        """Every intent in the file with the last answer to it."""
        intents: dict[str, Intent] = {}
        answers: dict[str, Answer] = {}
        for line in self._path.read_text("utf-8").splitlines():
            entry = json.loads(line)
            if "answer" in entry:
                answers[entry["key"]] = Answer(**{**entry["answer"], "outcome": Outcome(entry["answer"]["outcome"])})
            else:
                intents[entry["key"]] = Intent(**entry)
        return {key: (intent, answers[key]) for key, intent in intents.items()}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


async def send(client: httpx.AsyncClient, intent: Intent, *, with_key: bool = True) -> Answer:
    """Attempt a change once."""
    wanted = {
        "orderKey": intent.order,
        "status": intent.status,
        "expectedVersion": intent.expected_version,
        "note": intent.key,
        "idempotencyKey": intent.key if with_key else None,
    }
    try:
        response = await client.post("/api/graphql", json={"query": _SET, "variables": {"input": wanted}})
    except httpx.ConnectError:
        return Answer(Outcome.REFUSED, "NOT_SENT", retryable=True)
    except httpx.TransportError as error:
        return Answer(Outcome.UNKNOWN, type(error).__name__, retryable=True)
    return _answer(response)


def _answer(response: httpx.Response) -> Answer:
    body = response.json()
    if body["data"] is None:
        (error,) = body["errors"]
        extensions = error["extensions"]
        unknown = extensions["reason"] == "OUTCOME_UNKNOWN"
        assert response.status_code == (504 if unknown else 503), response.text
        return Answer(
            Outcome.UNKNOWN if unknown else Outcome.REFUSED, extensions["reason"], retryable=extensions["retryable"]
        )
    assert response.status_code == 200
    done = body["data"]["setOrderStatus"]
    if done["userErrors"]:
        (refusal,) = done["userErrors"]
        return Answer(Outcome.REFUSED, refusal["code"], refusal["currentVersion"], done["replayed"])
    if done["change"] is None:
        return Answer(Outcome.UNCHANGED, replayed=done["replayed"])
    return Answer(Outcome.APPLIED, version=done["change"]["version"], replayed=done["replayed"])


@contextlib.asynccontextmanager
async def writing(url: str, ledger: Ledger, *, first_order: int = 1) -> AsyncIterator[None]:
    """Run writers inside the block, each with orders of its own from this one on. At its end each outcome is known."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            first = first_order + number * _ORDERS_EACH
            orders = range(first, first + _ORDERS_EACH)
            group.create_task(_write(url, ledger, orders, stop))
        yield
        stop.set()


async def _write(url: str, ledger: Ledger, orders: range, stop: asyncio.Event) -> None:
    """Change orders that no other writer changes, so that every answer follows from the one before."""
    versions = dict.fromkeys(orders, 0)
    async with httpx.AsyncClient(base_url=url) as client:
        for turn in itertools.count():
            if stop.is_set():
                return
            order = orders[turn % len(orders)]
            version = versions[order]
            # The current status is known only of orders that this writer has changed.
            kind = _TURNS[turn % len(_TURNS)] if version else _Turn.CHANGE
            intent = Intent(
                str(uuid.uuid4()),
                order,
                _STATUSES[(version + (kind is not _Turn.SAME)) % len(_STATUSES)],
                expected_version=version + 1 if kind is _Turn.STALE else None,
            )
            ledger.intend(intent)
            answer = await _settle(client, ledger, intent, gives_up=turn % 2 == 0)
            if answer.retryable:
                # The writer has given up on it: the server said that nothing was written.
                assert answer.outcome is Outcome.REFUSED, (intent, answer)
                continue
            outcome = answer.outcome, answer.reason, answer.version
            match kind:
                case _Turn.CHANGE:
                    assert outcome == (Outcome.APPLIED, None, version + 1), (intent, answer)
                    versions[order] += 1
                case _Turn.STALE:
                    assert outcome == (Outcome.REFUSED, "STATUS_CONFLICT", version), (intent, answer)
                case _Turn.SAME:
                    assert outcome == (Outcome.UNCHANGED, None, None), (intent, answer)


async def _settle(client: httpx.AsyncClient, ledger: Ledger, intent: Intent, *, gives_up: bool) -> Answer:
    """Repeat an intent with its key until its outcome is known.

    A writer that `gives_up` believes a refusal, which says that nothing was written, and does not repeat the intent.
    """
    in_doubt = False
    while True:
        answer = await send(client, intent)
        ledger.note(intent, answer)
        in_doubt = in_doubt or answer.outcome is Outcome.UNKNOWN
        if not answer.retryable or (gives_up and not in_doubt):
            return answer
        await asyncio.sleep(0.03)  # between two attempts


async def audit(ledger: Ledger, database: str, schema: str) -> dict[int, tuple[str, int]]:
    """Check the tables against the ledger, N1 to N4 of `reliability.md`. Return the changed orders."""
    connection = await asyncpg.connect(database)
    try:
        rows = await connection.fetch(f"SELECT * FROM {schema}.order_status_change ORDER BY id")
        overlay = await connection.fetch(f"SELECT o_orderkey, status, version FROM {schema}.order_status")
        held = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lakebase%' AND state LIKE 'idle in %'"
        )
        assert await connection.fetchval(held) == 0
    finally:
        await connection.close()
    settled = ledger.settled()
    acknowledged = {key: pair for key, pair in settled.items() if pair[1].outcome is Outcome.APPLIED}
    assert [key for key, (_, answer) in settled.items() if answer.outcome is Outcome.UNKNOWN] == []
    made = Counter(row["note"] for row in rows)
    assert acknowledged.keys() - made.keys() == set(), "acknowledged and absent"
    assert made.keys() - acknowledged.keys() == set(), "refused and applied"
    assert len(rows) == len(acknowledged), "applied twice"
    last: dict[int, tuple[str, int]] = {}
    for row in rows:
        intent, answer = acknowledged[row["note"]]
        order = row["o_orderkey"]
        status = _NAMES[row["status"]]
        assert (order, status, row["version"]) == (intent.order, intent.status, answer.version)
        before = last.get(order)
        assert row["version"] == (before[1] + 1 if before else 1)
        assert before is None or _NAMES[row["previous_status"]] == before[0]
        last[order] = (status, row["version"])
    assert {row["o_orderkey"]: (_NAMES[row["status"]], row["version"]) for row in overlay} == last
    return last
