"""Every bad input gets exactly the expected response, and five things that must never happen do not happen."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest

from tests.bad_inputs import (
    administration,
    arguments,
    bodies,
    callers,
    content_types,
    cursors,
    documents,
    envelopes,
    filters,
    framing,
    graph,
    orders,
    proxies,
    statuses,
    strings,
)
from tests.bad_inputs.case import ORDER, Case, ask
from tests.bad_inputs.runner import CPU_SECONDS, LOGGED_BYTES, Counters, Outcome, Subject, outcome_of
from tests.servers.graph_tables import make_graph, served
from tests.servers.issuer import running_issuer
from tests.servers.operator import operated
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import running_server
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from server.local.cluster import Cluster

pytestmark = pytest.mark.faults

# The cases of each class, and the least number of them.
CLASSES: Final = {
    "body": (bodies.CASES, 30),
    "content-type": (content_types.CASES, 25),
    "envelope": (envelopes.CASES, 20),
    "document": (documents.CASES, 40),
    "argument": (arguments.CASES, 45),
    "filter": (filters.CASES, 45),
    "order": (orders.CASES, 30),
    "cursor": (cursors.CASES, 25),
    "string": (strings.CASES, 25),
    "graph": (graph.CASES, 75),
    "status": (statuses.CASES, 15),
    "caller": (callers.CASES, 30),
    "proxy": (proxies.CASES, 15),
    "administration": (administration.CASES, 30),
    "framing": (framing.CASES, 20),
}
_ROLE: Final = "bad_inputs"
_GRAPH: Final = "bad_inputs_graph"
_TABLES: Final = ",".join(f"{name}={table}" for name, table in served(_GRAPH).items())
_PASSWORD: Final = "canary-of-the-database"  # noqa: S105 # only for this test
_METRICS: Final = "canary-of-the-metrics"
_PLATFORM: Final = "canary-of-the-platform"
# For the cases that are too slow. All other servers wait for longer.
_HASTY: Final = {
    "server.wire.connections._HEADERS_SECONDS": 0.5,
    "server.wire.connections._BODY_SECONDS": 0.5,
    "server.wire.connections._CHECK_SECONDS": 0.125,
}


@pytest.fixture(scope="module")
async def database_url(cluster: Cluster, orders_url: str) -> AsyncIterator[str]:
    """The URL of a role with only the server's privileges. Its password is a canary."""
    database = await asyncpg.connect(orders_url)
    try:
        await make_graph(database, _GRAPH)
    finally:
        await database.close()
    cluster.run_sql(
        f"CREATE ROLE {_ROLE} LOGIN PASSWORD '{_PASSWORD}'; GRANT SELECT ON orders_synced TO {_ROLE};"
        f"GRANT CREATE ON DATABASE orders TO {_ROLE}; GRANT USAGE ON SCHEMA {_GRAPH} TO {_ROLE};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {_GRAPH} TO {_ROLE}"
    )
    yield f"postgresql://{_ROLE}:{_PASSWORD}@127.0.0.1:{cluster.port}/orders"
    cluster.run_sql(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{_ROLE}'; DROP OWNED BY {_ROLE}; DROP ROLE {_ROLE}"
    )


class Subjects:
    """The servers under test. Each is started for its first case."""

    def __init__(self, database_url: str, stack: ExitStack) -> None:
        self._url = database_url
        self._stack = stack
        self._started: dict[str, Subject] = {}
        self._start: dict[str, Callable[[], Subject]] = {
            "open": self._open,
            "hasty": self._hasty,
            "guarded": self._guarded,
            "proxied": self._proxied,
            "operated": self._operated,
        }

    def of(self, case: Case) -> Subject:
        """The server for a case."""
        if case.server not in self._started:
            subject = self._started[case.server] = self._start[case.server]()
            self._stack.callback(subject.close)
        return self._started[case.server]

    def all(self) -> list[Subject]:
        """The servers that were started."""
        return list(self._started.values())

    def _serve(self, **settings: Any) -> Any:
        given = {"APP_SCHEMA": _ROLE, "METRICS_TOKEN": _METRICS, "TABLES": _TABLES, **settings}
        return self._stack.enter_context(running_server(self._url, **given))

    def _open(self) -> Subject:
        return Subject(self._serve(), canaries=[_PASSWORD, _METRICS])

    def _hasty(self) -> Subject:
        return Subject(self._serve(altered=_HASTY), canaries=[_PASSWORD, _METRICS])

    def _guarded(self) -> Subject:
        issuer = self._stack.enter_context(running_issuer())
        token = issuer.token(exp=4_000_000_000)
        good = ask(ORDER, None, ("Authorization", f"Bearer {token}"))
        server = self._serve(**issuer.settings())
        return Subject(server, good=good, issuer=issuer, canaries=[_PASSWORD, _METRICS, "eyJ"])

    def _proxied(self) -> Subject:
        settings = {"DATABRICKS_APP_NAME": "orders", "READER_USERS": "*", "WRITER_USERS": "ann@example.com"}
        server = self._serve(AUTH_MODE="databricks-app", DATABRICKS_TOKEN=_PLATFORM, **settings)
        good = ask(ORDER, None, ("X-Forwarded-Email", "ann@example.com"))
        return Subject(server, good=good, canaries=[_PASSWORD, _METRICS, _PLATFORM])

    def _operated(self) -> Subject:
        directory = self._stack.enter_context(platform_directory())
        platform = self._stack.enter_context(running_platform(directory))
        platform.create_instance(administration.TAKEN, capacity="CU_1")
        platform.create_catalog(administration.TAKEN_CATALOG, administration.TAKEN)
        server = self._stack.enter_context(operated(platform, METRICS_TOKEN=_METRICS)).server
        # There is no database to read orders from.
        answer = {"data": {"__typename": "Query"}}
        return Subject(server, good=ask("{ __typename }"), answer=answer, canaries=[platform.token, _METRICS])


@pytest.fixture(scope="module")
def subjects(database_url: str) -> Iterator[Subjects]:
    """The servers under test."""
    with ExitStack() as stack:
        yield Subjects(database_url, stack)


@pytest.fixture(scope="module")
def outcome(subjects: Subjects) -> Outcome:
    """The counts and measurements of all cases that have run."""
    return outcome_of(subjects.all())


@pytest.mark.parametrize("name", CLASSES)
def test_there_are_enough_of_each_class(name: str) -> None:
    """Each class has as many cases as the scorecard says, and the names are unique."""
    cases, least = CLASSES[name]
    assert len({case.name for case in cases}) == len(cases) >= least


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{name}-{case.name}") for name, (cases, _) in CLASSES.items() for case in cases],
)
def test_a_bad_input_gets_its_answer(subjects: Subjects, case: Case) -> None:
    """Status, code, reason and data are exact. Nothing leaks, stalls or dies, and a good request then succeeds."""
    assert subjects.of(case).run(case) == []


@pytest.mark.parametrize(
    "counter",
    [
        # Only `make faults` measures stalls.
        pytest.param(of.name, marks=[pytest.mark.long] if of.name == "stalls" else [])
        for of in fields(Counters)
    ],
)
def test_what_must_never_happen_never_did(outcome: Outcome, counter: str) -> None:
    """None of these happens in any case, or in any log."""
    assert getattr(outcome.counters, counter) == []


def test_a_bad_input_writes_little_into_the_log(
    outcome: Outcome, record_property: Callable[[str, object], None]
) -> None:
    """No case writes more than 2 KiB into the log."""
    for line in outcome.lines:
        record_property("summary", line)
    assert outcome.most_logged_bytes <= LOGGED_BYTES, outcome.lines


@pytest.mark.long
def test_a_rejection_costs_little(outcome: Outcome) -> None:
    """A rejection uses little CPU time."""
    hold("the slowest rejection", outcome.slowest_seconds, computing_seconds=CPU_SECONDS)
