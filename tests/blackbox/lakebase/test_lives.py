"""The matrices of faults and kills are complete: the lives make every mutation, and every call of the platform's port."""

from __future__ import annotations

import inspect
from itertools import chain
from typing import Any

import pytest
from graphql import build_schema, get_named_type

from server.lakebase.platform.api import Branching, Platform
from server.lakebase.platform.pipelines import Pipelines
from tests.servers.flavours import AUTOSCALING, PROVISIONED, Flavour
from tests.servers.lives.walk import lives_of
from tests.servers.process import ROOT

# The methods of the port that change nothing.
READS = {
    *("outcome_of", "instance", "deleted_instance", "instances", "in_full", "branches", "endpoints"),
    *("catalog", "synced_table", "ids_of", "is_registered"),
    *("branch", "snapshots"),
    *("exists", "latest_run"),
}
# The older API has no soft deletion.
ONLY_AUTOSCALING = {"undelete_instance"}
BOTH = [AUTOSCALING, PROVISIONED]


def methods(*ports: type[Any]) -> set[str]:
    """The methods of the ports that call the platform."""
    return {
        name for port in ports for name, method in vars(port).items() if inspect.iscoroutinefunction(method)
    } - READS


@pytest.mark.parametrize("flavour", BOTH, ids=lambda flavour: flavour.name)
def test_the_lives_make_every_call_of_the_port(flavour: Flavour) -> None:
    """A new method of the port is in a life, and so in every matrix, or among the reads."""
    changes = chain.from_iterable(life.changes for life in lives_of(flavour).values())
    made = {call.port for change in changes for call in change.calls}
    if flavour is AUTOSCALING:
        assert made == methods(Platform, Branching, Pipelines)
    else:
        assert made == methods(Platform, Pipelines) - ONLY_AUTOSCALING


def test_the_lives_make_every_mutation_that_begins_an_operation() -> None:
    """A new mutation is in a life, and so in every matrix."""
    mutations = build_schema((ROOT / "schema" / "schema.graphql").read_text()).mutation_type
    assert mutations is not None
    planned = {
        name
        for name, field in mutations.fields.items()
        if "dryRun" in getattr(get_named_type(field.args["input"].type), "fields", {})
    }
    assert planned == {change.mutation for life in lives_of(AUTOSCALING).values() for change in life.changes}


@pytest.mark.parametrize("flavour", BOTH, ids=lambda flavour: flavour.name)
def test_a_life_ends_where_it_began(flavour: Flavour) -> None:
    """So that a walk can go round and round."""
    for life in lives_of(flavour).values():
        assert life.after(len(life.changes) - 1) == sorted(life.begins)
