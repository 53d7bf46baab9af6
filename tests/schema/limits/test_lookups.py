"""`node` and `nodes` cost what the fields cost that look the same objects up, and look up a few at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schema.limits.lookups import LOOKUP_PRICES
from schema.limits.prices import PRICES
from schema.nodes import NODE_TYPES
from schema.relay.node import encode_global_id
from schema.tables.registry import REGISTERED
from tests.schema.limits.test_cost import cost
from tests.schema.recording import RecordingAdministration, run

NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
# The field itself, and its arguments and ids: two points for each element.
OF_FIELD, OF_ID = 1, 2
INSTANCE = encode_global_id("DatabaseInstance", "a")


def test_every_type_that_is_looked_up_by_itself_has_its_price() -> None:
    """That of the field which looks up one such object."""
    assert {*NODE_TYPES} - {*LOOKUP_PRICES} == {
        "OrderStatusChange",
        *(declared.type_name for declared in REGISTERED.values()),
    }
    assert LOOKUP_PRICES["DatabaseInstance"] == PRICES["Query.databaseInstance"]
    assert LOOKUP_PRICES["SyncedTable"] == PRICES["Query.syncedTable"]
    assert LOOKUP_PRICES["Operation"] == PRICES["Query.operation"]


@pytest.mark.parametrize("key", ["a", "ab", "abc", "main.a.b"])
@pytest.mark.parametrize("type_name", NODE_TYPES)
def test_an_object_that_is_looked_up_by_itself_is_paid_for(type_name: str, key: str) -> None:
    """In variables and literals, in a list and alone. One that is read with others costs nothing more."""
    id_, price = encode_global_id(type_name, key), LOOKUP_PRICES.get(type_name, 0)
    other = encode_global_id(type_name, f"{key}x")
    assert cost(NODES, ids=[id_, other, id_]) == OF_FIELD + 3 * OF_ID + 2 * price
    assert cost(NODES, ids=id_) == OF_FIELD + OF_ID + price
    assert cost(f'{{ nodes(ids: ["{id_}", "{other}"]) {{ id }} }}') == OF_FIELD + 2 * OF_ID + 2 * price
    assert cost("query($id: ID!) { nodes(ids: [$id]) { id } }", id=id_) == OF_FIELD + OF_ID + price
    assert cost("query($id: ID!) { node(id: $id) { id } }", id=id_) == OF_FIELD + 1 + price
    assert cost(f'{{ node(id: "{id_}") {{ id }} }}') == OF_FIELD + 1 + price
    assert cost(f'{{ a: node(id: "{id_}") {{ id }} b: node(id: "{id_}") {{ id }} }}') == 2 * (OF_FIELD + 1 + price)


@pytest.mark.parametrize("ids", [None, [None], [[INSTANCE]], {}, [{}], 5, [1.5, True], ["", "RGF0YWJhc2VJ", "é"]])
def test_what_is_no_id_costs_nothing_more(ids: Any) -> None:
    """Other checks refuse it."""
    assert cost(NODES, ids=ids) < 10


class Counting(RecordingAdministration):
    """Counts how many instances are looked up at once."""

    now = most = 0

    async def instance(self, name: str) -> Any:
        """An instance with this name."""
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await super().instance(name)


async def test_a_few_objects_are_looked_up_at_once() -> None:
    """Each with its own answer, in the order of the ids."""
    administration = Counting()
    ids = [encode_global_id("DatabaseInstance", f"a{number}") for number in range(100)]
    result = await run(administration, NODES, ids=ids)
    assert result.data == {"nodes": [{"id": id_} for id_ in ids]}
    assert administration.most == 4
