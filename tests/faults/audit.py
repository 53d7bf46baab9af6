"""The audit for N1 to N4: compares the ledger of a scenario's writers with the tables and counts the discrepancies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from tests.blackbox.ledger import Outcome
from tests.faults.orders import NAMES

if TYPE_CHECKING:
    from tests.blackbox.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Audit:
    """The discrepancies found. `resolved` counts the writes that were in doubt and whose outcome is now known."""

    acknowledged_absent: int
    refused_applied: int
    applied_twice: int
    unresolved: int
    unaudited: int


async def audited(ledger: Ledger, database: str, schema: str) -> Audit:
    """Compare a ledger with the tables. None of its writes may be in flight any more."""
    connection = await asyncpg.connect(database)
    try:
        rows = await connection.fetch(f"SELECT * FROM {schema}.order_status_change ORDER BY id")
        overlay = await connection.fetch(f"SELECT o_orderkey, status, version FROM {schema}.order_status")
    finally:
        await connection.close()
    settled = ledger.settled()
    outcomes = {key: answer.outcome for key, (_, answer) in settled.items()}
    made = Counter(row["note"] for row in rows if row["note"] in settled)
    acknowledged = {key for key, outcome in outcomes.items() if outcome is Outcome.APPLIED}
    last: dict[int, tuple[str, int]] = {}
    unaudited = 0
    for row in rows:
        status = NAMES[row["status"]]
        version = last.get(row["o_orderkey"], ("", 0))[1] + 1
        last[row["o_orderkey"]] = (status, row["version"])
        if row["note"] in settled:
            intent, answer = settled[row["note"]]
            expected = (intent.order, intent.status, answer.version)
            # The row has to match its intent and the answer, and its version has to follow the last one.
            as_acknowledged = (
                answer.outcome is not Outcome.APPLIED or (row["o_orderkey"], status, row["version"]) == expected
            )
            unaudited += not as_acknowledged or row["version"] != version
    unaudited += {row["o_orderkey"]: (NAMES[row["status"]], row["version"]) for row in overlay} != last
    return Audit(
        acknowledged_absent=len(acknowledged - made.keys()),
        refused_applied=sum(outcomes[key] in {Outcome.REFUSED, Outcome.UNCHANGED} for key in made),
        applied_twice=sum(count > 1 for count in made.values()),
        unresolved=sum(outcome is Outcome.UNKNOWN for outcome in outcomes.values()),
        unaudited=unaudited,
    )
