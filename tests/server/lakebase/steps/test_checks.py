"""What steps check before they act."""

from __future__ import annotations

import pytest

from schema.errors import PlatformError, Reason
from server.lakebase.steps.checks import require_one_of_ids

RESOURCE = "synced table t"


@pytest.mark.parametrize(
    ("planned", "found"),
    [
        ({"table": "a", "pipeline": "p"}, {"table": "a", "pipeline": "p"}),
        # Unity Catalog does not show the table at one of the two times.
        ({"table": "a", "pipeline": "p"}, {"pipeline": "p"}),
        ({"pipeline": "p"}, {"table": "a", "pipeline": "p"}),
        ({"table": "a"}, {"pipeline": "p"}),
        ({"table": "a"}, {}),
        # A table may get another pipeline.
        ({"table": "a", "pipeline": "p"}, {"table": "a", "pipeline": "q"}),
        (None, {"table": "a"}),
        ({}, {}),
    ],
)
def test_a_table_of_which_more_or_less_is_told_is_no_namesake(
    planned: dict[str, str] | None, found: dict[str, str]
) -> None:
    """Only ids of one kind are compared."""
    require_one_of_ids(RESOURCE, planned, found)


@pytest.mark.parametrize(
    ("planned", "found"),
    [
        ({"table": "a", "pipeline": "p"}, {"table": "b", "pipeline": "p"}),
        ({"table": "a", "pipeline": "p"}, {"pipeline": "q"}),
        ({}, {"table": "a"}),
    ],
)
def test_another_table_of_the_name_is_a_namesake(planned: dict[str, str], found: dict[str, str]) -> None:
    """It is left alone."""
    with pytest.raises(PlatformError) as failed:
        require_one_of_ids(RESOURCE, planned, found)
    assert failed.value.reason is Reason.NAMESAKE_FOUND
