"""Differences in words, as an operator reads them in a plan or in the message of a step."""

from __future__ import annotations

from schema.ports.admin.plans import Difference
from server.lakebase.plans.drafts.differences import describe, describe_changes

ENDS = Difference("expiresAt", "2026-12-01T12:06:38.065000+00:00", "never")


def test_moments_are_told_to_the_second() -> None:
    """And in UTC. Whatever is no moment is told as it is."""
    larger = Difference("autoscaling.maxCu", "2", "4")
    assert describe_changes([ENDS, larger]) == (
        "changes expiresAt from 2026-12-01 12:06:38 UTC to never, autoscaling.maxCu from 2 to 4"
    )
    assert describe([ENDS]) == "expiresAt is 2026-12-01 12:06:38 UTC, should be never"
