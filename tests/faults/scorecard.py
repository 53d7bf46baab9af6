"""The scorecard: a table of all faults of a run, with the number of cases that other files have for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from tests.blackbox.load import quantile
from tests.servers.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.faults.scenario import Report

PATH: Final = ROOT / ".local" / "scorecard.md"
# Tests in other files that cover a fault, without the counters.
ELSEWHERE: Final = {
    "tests/blackbox/db/test_database_failures.py": "F1 F3 F4 F9, repeatedly",
    "tests/blackbox/changes/test_nothing_lost.py": "F1 F17, and the synced table replaced, with the ledger",
    "tests/blackbox/lakebase/test_tokens.py": "F5 F6 F8, counted by the platform",
    "tests/blackbox/process/test_shutdown.py": "F19 F20 F21 F22",
    "tests/blackbox/lakebase/test_admin_faults.py": "F23",
    "tests/blackbox/lakebase/test_admin_kills.py": "F24",
    "tests/blackbox/lakebase/test_two_operators.py": "F23 F24, with two operators at once",
    "tests/blackbox/db/test_replicas.py": "a replica that is killed",
    "tests/blackbox/db/test_wake_up.py": "a database that is asleep",
    "tests/blackbox/changes/test_feed.py": "the feed",
}
_HEAD: Final = (
    "fault",
    "what is done",
    "requests",
    "acked",
    "refused",
    "indeterminate",
    "wrong",
    "hung",
    "TTR s",
    "p50/p99 ms of successes",
    "p50/p99 ms of refusals",
    "N1 N2 N3 N4 N5 N7 N8 N9",
    "missed",
)


def written(reports: Iterable[Report], stats: Mapping[str, list[Any]]) -> str:
    """Write the scorecard as Markdown to its file, and return it.

    Args:
        reports: the reports of the scenarios.
        stats: pytest's reports of all tests, by outcome.
    """
    lines = [table(reports), "| fault | cases | of them passed | file |", "| --- | --- | --- | --- |"]
    for path, faults in ELSEWHERE.items():
        passed, failed = (_count(stats, path, outcome) for outcome in ("passed", "failed"))
        if passed + failed:
            lines.append(f"| {faults} | {passed + failed} | {passed} | `{path}` |")
    text = "\n".join(lines) + "\n"
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(text)
    return text


def table(reports: Iterable[Report]) -> str:
    """The scenarios of a run as a Markdown table."""
    lines = [f"| {' | '.join(_HEAD)} |", f"|{' --- |' * len(_HEAD)}"]
    lines += [f"| {' | '.join(_row(report))} |" for report in sorted(reports, key=_number)]
    return "\n".join(lines) + "\n"


def _number(report: Report) -> tuple[int, str]:
    return int("".join(filter(str.isdigit, report.fault))), report.fault


def _count(stats: Mapping[str, list[Any]], path: str, outcome: str) -> int:
    return sum(each.nodeid.startswith(f"{path}::") for each in stats.get(outcome, []))


def _row(report: Report) -> list[str]:
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(report.refused.items()))
    good = [reply.seconds for reply in report.replies if reply.good]
    refusals = [reply.seconds for reply in report.replies if reply.refused]
    return [
        report.fault,
        report.title,
        str(len(report.replies)),
        str(report.acknowledged),
        refused or "0",
        str(report.indeterminate),
        str(len(report.wrong)),
        str(report.hung),
        f"{report.recovery_seconds:.2f}" if math.isfinite(report.recovery_seconds) else "none asked",
        _quantiles(good),
        _quantiles(refusals),
        " ".join(str(count) for count in report.counters.values()),
        "; ".join(report.misses) or "nothing",
    ]


def _quantiles(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    return f"{1000 * quantile(seconds, 0.5):.1f} / {1000 * quantile(seconds, 0.99):.0f}"
