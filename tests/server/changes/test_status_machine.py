"""Statuses change as a simple model says, with any mutations, repetitions and syncs in any order."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import ANY
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from schema.permissions import Principal, Role
from tests.servers.process import PATIENCE_SECONDS
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    import asyncpg

    from schema.context import Context
    from tests.server.conftest import Execute, OpenStore

pytestmark = pytest.mark.faults

T = TypeVar("T")
Values = dict[str, Any]

TABLE = "public.machine_orders"
APP_SCHEMA = "machine_changes"
STORED = {"OPEN": "O", "FULFILLED": "F", "PARTIAL": "P"}
ORDER_KEYS = (1, 2, 3, 4)
# The field that names the order: it is the one that the request used, also in a replay.
ORDER_FIELD = "the order's"

CHANGE = """
fragment Change on OrderStatusChange {
  id cursor orderKey previousStatus status cleared syncedStatus version changedBy changedAt note
}
"""
ORDER = "fragment Order on Order { orderKey status statusVersion statusUpdatedBy syncedStatus statusSuperseded }"
OUTCOME = f"""
fragment Outcome on OrderStatusOutcome {{
  previousStatus change {{ ...Change }} order {{ ...Order }}
  userErrors {{ code field message currentStatus currentVersion }}
}}
{CHANGE} {ORDER}
"""
MUTATIONS = {
    operation: f"mutation($input: {operation[0].upper()}{operation[1:]}Input!) {{"
    f"  payload: {operation}(input: $input) {{ {selection} replayed }}"
    f"}} {OUTCOME}"
    for operation, selection in {
        "setOrderStatus": "...Outcome",
        "clearOrderStatus": "...Outcome",
        "setOrderStatuses": "results { ...Outcome } userErrors { code field message currentStatus currentVersion }",
    }.items()
}
EVERYTHING = f"""{{
  orders {{ nodes {{ ...Order statusChanges(last: 2) {{ nodes {{ id }} }} }} }}
  open: orders(filter: {{status: {{eq: OPEN}}}}) {{ nodes {{ orderKey }} totalCount }}
  others: orders(filter: {{status: {{in: [FULFILLED, PARTIAL]}}}}) {{ totalCount }}
  orderStats(filter: {{orderKey: {{gt: 0}}}}) {{ count byStatus {{ status count }} }}
  orderStatusChanges(first: 1000) {{ nodes {{ ...Change }} }}
}} {CHANGE} {ORDER}"""


@dataclass(frozen=True)
class Wanted:
    """The requested status of one order; None clears it."""

    key: int
    status: str | None
    expected_status: str | None
    expected_version: int | None
    note: str | None

    def as_input(self, *, by_id: bool) -> Values:
        """The GraphQL input, with the order's key or its global id."""
        name: Values = (
            {"id": base64.b64encode(f"Order:{self.key}".encode()).decode()} if by_id else {"orderKey": str(self.key)}
        )
        if self.status is not None:
            name |= {"status": self.status, "expectedStatus": self.expected_status}
        return {**name, "expectedVersion": self.expected_version, "note": self.note}


@dataclass(frozen=True)
class Call:
    """The content of a mutation: two uses of a key are the same if their content is."""

    wanted: tuple[Wanted, ...]
    many: bool = False
    mode: str = "ATOMIC"

    @property
    def operation(self) -> str:
        """The mutation's field."""
        if self.many:
            return "setOrderStatuses"
        return "clearOrderStatus" if self.wanted[0].status is None else "setOrderStatus"

    def as_input(self, key: UUID | None, *, by_id: bool) -> Values:
        """The mutation's input."""
        items = [wanted.as_input(by_id=by_id) for wanted in self.wanted]
        body = {"changes": items, "mode": self.mode} if self.many else items[0]
        return {**body, "idempotencyKey": key and str(key)}

    def payload(self, outcomes: list[Values], *, replayed: bool, by_id: bool = False, refused: bool = False) -> Values:
        """The mutation's payload, from the outcome of each change."""
        named = "id" if by_id else "orderKey"
        outcomes = [
            outcome
            | {
                "userErrors": [
                    error | {"field": [named if part == ORDER_FIELD else part for part in error["field"]]}
                    for error in outcome["userErrors"]
                ]
            }
            for outcome in outcomes
        ]
        reused = {
            "code": "IDEMPOTENCY_KEY_REUSED",
            "field": ["input", "idempotencyKey"],
            "message": ANY,
            "currentStatus": None,
            "currentVersion": None,
        }
        errors = [reused] if refused else []
        if self.many:
            return {"results": outcomes, "replayed": replayed, "userErrors": errors}
        nothing = {"previousStatus": None, "change": None, "order": None, "userErrors": errors}
        return {**(nothing if refused else outcomes[0]), "replayed": replayed}


@dataclass
class Order:
    """One order. `synced` is None while the synced table lacks it, `set_here` while the overlay has no status."""

    key: int
    synced: str | None = None
    set_here: str | None = None
    set_over: str | None = None
    version: int = 0
    by: str | None = None

    @property
    def status(self) -> str | None:
        """The merged status: the overlay wins."""
        return self.set_here or self.synced

    def view(self) -> Values | None:
        """The order as GraphQL returns it."""
        if self.synced is None:
            return None
        return {
            "orderKey": str(self.key),
            "status": self.status,
            "statusVersion": self.version,
            "statusUpdatedBy": self.by,
            "syncedStatus": self.synced,
            "statusSuperseded": self.set_here is not None and self.set_over != self.synced,
        }

    def refusals(self, wanted: Wanted) -> list[tuple[str, str | None]]:
        """The reasons why the order is not changed, each with the argument that causes it."""
        if self.synced is None:
            return [("ORDER_NOT_FOUND", ORDER_FIELD)]
        version_holds = wanted.expected_version in {None, self.version}
        status_holds = wanted.expected_status in {None, self.status}
        return [
            *([] if version_holds else [("STATUS_CONFLICT", "expectedVersion")]),
            *([] if status_holds else [("STATUS_CONFLICT", "expectedStatus")]),
        ]

    def change(self, wanted: Wanted, user: str) -> Values | None:
        """Make the change and return it as the history has it; None if there is nothing to do."""
        if wanted.status == (self.set_here if wanted.status is None else self.status):
            return None
        before, self.set_here, self.set_over = self.status, wanted.status, self.synced
        self.version, self.by = self.version + 1, user
        return {
            "id": ANY,
            "cursor": ANY,
            "orderKey": str(self.key),
            "previousStatus": before,
            "status": self.status,
            "cleared": wanted.status is None,
            "syncedStatus": self.synced,
            "version": self.version,
            "changedBy": user,
            "changedAt": ANY,
            "note": wanted.note,
        }


@dataclass
class World:
    """The server under test. It runs in the event loop of the test, and the machine calls it from its own thread."""

    loop: asyncio.AbstractEventLoop
    execute: Execute
    context: Context
    database: asyncpg.Connection

    def ask(self, document: str, user: str = "anna", **variables: object) -> Values:
        """The answer to a document."""
        context = replace(self.context, principal=Principal(user, frozenset({Role.WRITER})))
        return self._wait(self.execute(document, context=context, **variables))

    def sql(self, statement: str, *arguments: object) -> None:
        """Run a statement of the sync pipeline, or several statements without arguments."""
        self._wait(self.database.execute(statement, *arguments))

    def _wait(self, work: Awaitable[T]) -> T:
        async def waiting() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(waiting(), self.loop).result(PATIENCE_SECONDS)


@dataclass(frozen=True)
class Sender:
    """The user who sends a mutation, its key, and whether it names orders by key or global id."""

    user: str
    key: UUID | None
    by_id: bool


@dataclass(frozen=True)
class Sent:
    """A mutation that was sent."""

    call: Call
    sender: Sender


@dataclass(frozen=True)
class Draft:
    """A change whose expectation is either the order's current state or something else."""

    key: int
    status: str | None
    expects: dict[str, bool]
    note: str | None

    def wanted(self, order: Order) -> Wanted:
        """The change for an order in this state. A clear cannot expect a status."""
        statuses: dict[bool | None, str | None] = {
            True: order.status,
            False: next(name for name in STORED if name != order.status),
        }
        versions: dict[bool | None, int] = {True: order.version, False: order.version - 1}
        return Wanted(
            self.key,
            self.status,
            expected_status=self.status and statuses.get(self.expects.get("status")),
            expected_version=versions.get(self.expects.get("version")),
            note=self.note,
        )


STATUSES = st.sampled_from(sorted(STORED))
# Few keys, so that some are used again with another input or by another user. Another user's key is a different one.
KEYS = st.sampled_from([None, *(UUID(int=number) for number in range(5))])
SENDERS = st.builds(Sender, user=st.sampled_from(["anna", "ben"]), key=KEYS, by_id=st.booleans())
# Whether the expectation holds. In most drafts it does, so that most of them change something.
EXPECTS = [
    *2 * [{}, {"version": True}, {"status": True}, {"status": True, "version": True}],
    *[{"version": False}, {"status": False}, {"status": False, "version": True}, {"status": False, "version": False}],
]
SETS = st.builds(
    Draft,
    key=st.sampled_from(ORDER_KEYS),
    status=STATUSES,
    expects=st.sampled_from(EXPECTS),
    note=st.sampled_from([None, "", "because"]),
)
CLEARS = SETS.map(lambda draft: replace(draft, status=None))
LISTS = st.lists(SETS, max_size=len(ORDER_KEYS), unique_by=lambda draft: draft.key)
# Ways to make it another input. A status turns a clear into a set; a clear has no expected status.
OTHER_VALUES: list[Values] = [
    {"status": "OPEN"},
    {"status": "OPEN", "expected_status": "OPEN"},
    {"expected_version": 1},
    {"note": "otherwise"},
]
EACH = st.fixed_dictionaries(dict.fromkeys(ORDER_KEYS, STATUSES))
SYNCED = st.sampled_from([*STORED, None])


def pick(field: str, rows: list[Values]) -> list[Values]:
    """The rows with one of their fields only."""
    return [{field: row[field]} for row in rows]


class StatusMachine(RuleBasedStateMachine):
    """All writers of statuses, including the sync pipeline."""

    sent = Bundle("sent")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.orders = {key: Order(key) for key in ORDER_KEYS}
        self.history: list[Values] = []
        self.recorded: dict[tuple[str, UUID], tuple[Call, Values]] = {}
        # A trigger makes the history append only. It is off while the table is emptied.
        world.sql(
            f"SET session_replication_role = replica; TRUNCATE {APP_SCHEMA}.order_status, "
            f"{APP_SCHEMA}.order_status_change, {APP_SCHEMA}.idempotency; RESET session_replication_role"
        )

    @initialize(synced=EACH, statuses=EACH, sender=SENDERS)
    def begin(self, synced: dict[int, str], statuses: dict[int, str], sender: Sender) -> None:
        """The first sync, and changes of some orders that do not have the status yet."""
        self.replace_table("text")
        self.insert(synced)
        self.send_drafts([Draft(key, status, {}, None) for key, status in statuses.items()], sender, many=True)

    @rule(
        synced=st.fixed_dictionaries(dict.fromkeys(ORDER_KEYS, SYNCED)),
        type_=st.sampled_from(["text", "char(3)", "varchar(1)"]),
        draft=SETS,
        sender=SENDERS,
    )
    def resync(self, synced: dict[int, str | None], type_: str, draft: Draft, sender: Sender) -> None:
        """A SNAPSHOT sync drops and recreates the table. It is empty for a moment, and then has other orders and statuses."""
        self.replace_table(type_)
        self.everything_reads_as_the_model_has_it()
        self.send_drafts([draft], sender)
        self.insert(synced)

    @rule(key=st.sampled_from(ORDER_KEYS), status=SYNCED)
    def sync_row(self, key: int, status: str | None) -> None:
        """A sync of a single row: it is updated in place, inserted or deleted."""
        if status is None:
            self.orders[key].synced = None
            self.world.sql(f"DELETE FROM {TABLE} WHERE o_orderkey = {key}")
        elif self.orders[key].synced:
            self.orders[key].synced = status
            self.world.sql(f"UPDATE {TABLE} SET o_orderstatus = '{STORED[status]}' WHERE o_orderkey = {key}")
        else:
            self.insert({key: status})

    @rule()
    def catch_up(self) -> None:
        """The source takes over the overlay's status. The overlay keeps it."""
        for order in self.orders.values():
            if order.synced and order.set_here:
                self.sync_row(order.key, order.set_here)

    @rule(target=sent, draft=SETS, sender=SENDERS)
    def set_one(self, draft: Draft, sender: Sender) -> Sent:
        """Set the status of one order."""
        return self.send_drafts([draft], sender)

    @rule(target=sent, draft=CLEARS, sender=SENDERS)
    def clear_one(self, draft: Draft, sender: Sender) -> Sent:
        """Clear the status of one order, back to the synced one."""
        return self.send_drafts([draft], sender)

    @rule(target=sent, changes=LISTS, sender=SENDERS)
    def set_all_or_none(self, changes: list[Draft], sender: Sender) -> Sent:
        """Set any number of statuses, all or none."""
        return self.send_drafts(changes, sender, many=True)

    @rule(target=sent, changes=LISTS, sender=SENDERS)
    def set_each(self, changes: list[Draft], sender: Sender) -> Sent:
        """Set any number of statuses, each independently."""
        return self.send_drafts(changes, sender, many=True, mode="INDEPENDENT")

    @rule(before=sent, by_id=st.booleans())
    def repeat(self, before: Sent, by_id: bool) -> None:  # noqa: FBT001 # hypothesis gives it by name
        """Send the same again, whatever has happened since. With a key this is a replay."""
        self.send(before.call, replace(before.sender, by_id=by_id))

    @rule(before=sent, value=st.sampled_from(OTHER_VALUES))
    def repeat_with(self, before: Sent, value: Values) -> None:
        """Send the same with one value changed, which makes it another input."""
        wanted = tuple(replace(wanted, **value) for wanted in before.call.wanted)
        self.send(replace(before.call, wanted=wanted), before.sender)

    @rule(before=sent)
    def repeat_as_another(self, before: Sent) -> None:
        """Send the same as another operation or in the other mode, which makes it another input too."""
        call = before.call
        if call.many:
            call = replace(call, mode="INDEPENDENT")
        elif call.operation == "setOrderStatus":
            call = replace(call, many=True)
        self.send(call, before.sender)

    @invariant()
    def everything_reads_as_the_model_has_it(self) -> None:
        """Check orders, their latest changes, filters, counts, statistics, and the whole history."""
        there = [order for order in self.orders.values() if order.synced]
        open_ = [order for order in there if order.status == "OPEN"]
        changes = {key: [one for one in self.history if one["orderKey"] == str(key)] for key in self.orders}
        assert self.world.ask(EVERYTHING) == {
            "data": {
                "orders": {
                    "nodes": [
                        {**(order.view() or {}), "statusChanges": {"nodes": pick("id", changes[order.key][-2:])}}
                        for order in there
                    ]
                },
                "open": {"nodes": [{"orderKey": str(order.key)} for order in open_], "totalCount": len(open_)},
                "others": {"totalCount": len(there) - len(open_)},
                "orderStats": {
                    "count": len(there),
                    "byStatus": [
                        {"status": status, "count": count}
                        for status in STORED
                        if (count := sum(order.status == status for order in there))
                    ],
                },
                "orderStatusChanges": {"nodes": self.history},
            }
        }

    def replace_table(self, type_: str) -> None:
        """Replace the table by a new one without orders."""
        for order in self.orders.values():
            order.synced = None
        self.world.sql(
            f"DROP TABLE IF EXISTS {TABLE}; CREATE TABLE {TABLE} (LIKE public.orders_synced INCLUDING INDEXES); "
            f"ALTER TABLE {TABLE} ALTER o_orderstatus TYPE {type_}"
        )

    def insert(self, synced: Mapping[int, str | None]) -> None:
        """Insert orders as the sync pipeline does. A status of None stands for an order that the source lacks."""
        there = {key: status for key, status in synced.items() if status}
        for key, status in there.items():
            self.orders[key].synced = status
        self.world.sql(
            f"INSERT INTO {TABLE} SELECT key, 1, status, 9.99, '1995-06-17', '5-LOW', 'Clerk#1', 0, '' "
            f"FROM unnest($1::bigint[], $2::text[]) AS given (key, status)",
            list(there),
            [STORED[status] for status in there.values()],
        )

    def send_drafts(self, drafts: list[Draft], sender: Sender, *, many: bool = False, mode: str = "ATOMIC") -> Sent:
        """Send a mutation whose expectations are filled in from the current orders."""
        wanted = tuple(draft.wanted(self.orders[draft.key]) for draft in drafts)
        return self.send(Call(wanted, many, mode), sender)

    def send(self, call: Call, sender: Sender) -> Sent:
        """Send a mutation, and compare the answer with the model."""
        user, key = sender.user, sender.key
        input_ = call.as_input(key, by_id=sender.by_id)
        answer = self.world.ask(MUTATIONS[call.operation], user, input=input_)
        first, recorded = self.recorded.get((user, key), (None, {})) if key else (None, {})
        if first and first != call:
            assert answer == {"data": {"payload": call.payload([], replayed=False, refused=True)}}
        elif first:
            outcomes = recorded.get("results", [recorded])
            orders = [self.orders[wanted.key].view() for wanted in call.wanted]
            outcomes = [outcome | {"order": order} for outcome, order in zip(outcomes, orders, strict=True)]
            assert answer == {"data": {"payload": call.payload(outcomes, replayed=True, by_id=sender.by_id)}}
        elif call.wanted and not any(order.synced for order in self.orders.values()):
            # A sync is filling the table. The key is not used up.
            assert [error["extensions"]["reason"] for error in answer["errors"]] == ["ORDERS_UNAVAILABLE"]
        else:
            outcomes = self.outcomes(call, user)
            assert answer == {"data": {"payload": call.payload(outcomes, replayed=False, by_id=sender.by_id)}}
            payload = answer["data"]["payload"]
            changes = [outcome["change"] for outcome in payload.get("results", [payload]) if outcome["change"]]
            # As recorded, the errors do not say how the order was named.
            for outcome, recorded_ in zip(payload.get("results", [payload]), outcomes, strict=True):
                outcome["userErrors"] = recorded_["userErrors"]
            self.history += sorted(changes, key=lambda change: int(change["orderKey"]))
            if key:
                self.recorded[user, key] = call, payload
        return Sent(call, sender)

    def outcomes(self, call: Call, user: str) -> list[Values]:
        """Make the changes in the model, and return the outcome of each."""
        refusals = [self.orders[wanted.key].refusals(wanted) for wanted in call.wanted]
        held_up = call.mode == "ATOMIC" and any(refusals)
        outcomes = []
        for index, (wanted, refused) in enumerate(zip(call.wanted, refusals, strict=True)):
            order = self.orders[wanted.key]
            previous = order.status if order.synced else None
            trial = order if not held_up else replace(order)
            change = None if refused else trial.change(wanted, user)
            found = refused or ([("CHANGE_NOT_APPLIED", None)] if change and held_up else [])
            path = ["input", "changes", str(index)] if call.many else ["input"]
            errors = [
                {
                    "code": code,
                    "field": [*path, *([argument] if argument else [])],
                    "message": ANY,
                    "currentStatus": previous if code == "STATUS_CONFLICT" else None,
                    "currentVersion": order.version if code == "STATUS_CONFLICT" else None,
                }
                for code, argument in found
            ]
            outcomes.append(
                {
                    "previousStatus": previous,
                    "change": None if found else change,
                    "order": order.view(),
                    "userErrors": errors,
                }
            )
        return outcomes


@pytest.fixture
async def world(execute: Execute, open_store: OpenStore, database: asyncpg.Connection) -> AsyncIterator[World]:
    """The server, with its own table and schema."""
    _, context = open_store(TABLE, app_schema=APP_SCHEMA)
    await database.execute(f"DROP TABLE IF EXISTS {TABLE}; DROP SCHEMA IF EXISTS {APP_SCHEMA} CASCADE")
    # The first write creates the tables of changes.
    await execute('mutation { clearOrderStatus(input: {orderKey: "1"}) { replayed } }', context=context)
    yield World(asyncio.get_running_loop(), execute, context, database)
    await database.execute(f"DROP TABLE IF EXISTS {TABLE}; DROP SCHEMA IF EXISTS {APP_SCHEMA} CASCADE")


async def test_statuses_change_as_the_model_says(world: World) -> None:
    """The machine waits for each answer, so it runs in its own thread beside the event loop."""
    await asyncio.to_thread(
        run_state_machine_as_test,
        lambda: StatusMachine(world),  # type: ignore[arg-type] # a factory is accepted too
        settings=settings(
            RuleBasedStateMachine.TestCase.settings,
            max_examples=examples(6, many=20),
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            # Explaining a failure takes as long as shrinking it.
            phases=[phase for phase in Phase if phase is not Phase.explain],
            print_blob=True,
        ),
    )
