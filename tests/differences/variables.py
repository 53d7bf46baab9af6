"""The variables of a random document: declared where needed, with values for each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphql import GraphQLNonNull

from tests.differences.arguments import ABSENT, Purpose, Values, Variable, literal, plain

if TYPE_CHECKING:
    from random import Random

    from graphql import GraphQLInputType

    from tests.differences.corpus import Corpus


@dataclass(frozen=True)
class _Declared:
    type_: GraphQLInputType
    purpose: Purpose
    default: Any


class Variables:
    """The variables of one document."""

    def __init__(self, random: Random, corpus: Corpus, *, mistakes: float) -> None:
        self._random = random
        self._mistakes = mistakes
        self._values = Values(random, corpus, mistakes=mistakes)
        self._declared: dict[str, _Declared] = {}

    def for_position(self, wanted: GraphQLInputType, purpose: Purpose) -> Variable:
        """A variable for a position of this type: an existing one or a new one."""
        random = self._random
        fitting = [
            name
            for name, declared in self._declared.items()
            if declared.purpose == purpose and _fits(declared, wanted) and random.random() < 0.5
        ]
        if fitting:
            return Variable(random.choice(fitting))
        type_, default = wanted, ABSENT
        if random.random() < 0.3:
            type_ = wanted.of_type if isinstance(wanted, GraphQLNonNull) else GraphQLNonNull(wanted)
        if type_ is not wanted and isinstance(wanted, GraphQLNonNull):
            default = self._values.of(type_, purpose, nulls=0)
        elif random.random() < 0.3:
            default = self._values.of(type_, purpose)
        name = random.choice(("v", "v", "w", "first", "_", "x" * 60, "id", "id")) + f"{len(self._declared)}" * (
            random.random() < 0.9
        )
        if name in self._declared:
            name = f"{name}_{len(self._declared)}"
        self._declared[name] = _Declared(type_, purpose, default)
        return Variable(name)

    def declarations(self, names: set[str]) -> str:
        """The declarations of the variables of an operation, in parentheses; empty if there are none."""
        parts = [
            f"${name}: {declared.type_}" + ("" if declared.default is ABSENT else f" = {literal(declared.default)}")
            for name, declared in self._declared.items()
            if name in names
        ]
        return f"({', '.join(parts)})" if parts else ""

    def values(self) -> dict[str, Any] | None:
        """JSON values for all variables, most of them valid. None for a request without variables."""
        random = self._random
        values = {name: value for name in self._declared if (value := self._value(name)) is not ABSENT}
        if random.random() < 0.03:
            values[random.choice(("unknown", "", "$v0"))] = self._values.stray()
        if values and random.random() < self._mistakes * 2:
            values[random.choice(list(values))] = self._values.stray()
        if values and random.random() < self._mistakes:
            del values[random.choice(list(values))]
        return values if values or random.random() < 0.5 else None

    def _value(self, name: str) -> Any:
        declared, random = self._declared[name], self._random
        nullable = not isinstance(declared.type_, GraphQLNonNull)
        if (nullable or declared.default is not ABSENT) and random.random() < 0.2:
            return ABSENT
        return plain(self._values.of(declared.type_, declared.purpose, nulls=0.08))


def _fits(declared: _Declared, wanted: GraphQLInputType) -> bool:
    if str(declared.type_) in {str(wanted), f"{wanted}!"}:
        return True
    return str(wanted) == f"{declared.type_}!" and declared.default is not None and declared.default is not ABSENT
