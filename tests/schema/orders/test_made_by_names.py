"""Inputs made by names: they equal the inputs that Strawberry would make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import strawberry
from graphql.utilities import coerce_input_value
from hypothesis import given
from hypothesis import strategies as st
from strawberry.types import get_object_definition
from strawberry.types.arguments import convert_argument

from schema import build_schema
from schema.orders.made_by_names import made_by_names
from schema.orders.status_inputs import (
    ClearOrderStatusInput,
    OrderStatusChangeInput,
    SetOrderStatusesInput,
    SetOrderStatusInput,
)

if TYPE_CHECKING:
    from graphql import GraphQLInputType

SCHEMA: Final = build_schema()
STATUSES: Final = st.sampled_from(["OPEN", "FULFILLED", "PARTIAL"])
ORDER: Final = {
    "orderKey": st.none() | st.integers(1, 2**63 - 1) | st.integers(1, 2**63 - 1).map(str),
    "id": st.none() | st.text(),
    "expectedVersion": st.none() | st.integers(0, 2**31 - 1),
    "note": st.none() | st.text(),
}
CONDITION: Final = {"expectedStatus": st.none() | STATUSES, **ORDER}
KEY: Final = {"idempotencyKey": st.none() | st.uuids().map(str)}
CHANGES: Final = st.fixed_dictionaries({"status": STATUSES}, optional=CONDITION)
INPUTS: Final = {
    SetOrderStatusInput: st.fixed_dictionaries({"status": STATUSES}, optional={**CONDITION, **KEY}),
    ClearOrderStatusInput: st.fixed_dictionaries({}, optional={**ORDER, **KEY}),
    SetOrderStatusesInput: st.fixed_dictionaries(
        {"changes": st.lists(CHANGES, max_size=3)},
        optional={"mode": st.sampled_from(["ATOMIC", "INDEPENDENT"]), **KEY},
    ),
}


@pytest.mark.parametrize("input_type", INPUTS)
@given(data=st.data())
def test_it_is_what_strawberry_would_make(input_type: type, data: st.DataObject) -> None:
    """Whichever fields are absent or null."""
    type_: GraphQLInputType = SCHEMA._schema.type_map[input_type.__name__]  # type: ignore[assignment] # noqa: SLF001 # an input, and Strawberry has no public way to it
    value = coerce_input_value(data.draw(INPUTS[input_type]), type_)
    by_names = made(input_type, value)
    with pytest.MonkeyPatch.context() as undoing:
        for type_by_names in (*INPUTS, OrderStatusChangeInput):
            undoing.setattr(get_object_definition(type_by_names), "from_input", None)
        assert by_names == made(input_type, value)


def made(input_type: type, value: dict[str, Any]) -> object:
    """The input that a resolver receives."""
    return convert_argument(value, input_type, SCHEMA.schema_converter.scalar_registry, config=SCHEMA.config)


@strawberry.input
class OfAnInput:
    """Such a field would need a conversion of its own."""

    within: ClearOrderStatusInput | None


@strawberry.input
class OfAList:
    """Strawberry may have to convert its elements."""

    within: list[int]


@pytest.mark.parametrize("input_type", [OfAnInput, OfAList])
def test_what_is_not_plain_is_left_to_strawberry(input_type: type) -> None:
    """This is found before anything is served."""
    with pytest.raises(TypeError, match="within is not made by names"):
        made_by_names(input_type)
