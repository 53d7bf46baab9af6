"""An operator in tests: runs a server in front of a local platform, sends admin mutations, and awaits operations."""

from __future__ import annotations

import base64
import contextlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.servers.process import NO_TLS, ROOT, answers, running_server, wait_for
from tests.support.calibration import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.servers.platform import LocalPlatform
    from tests.servers.process import Server

INSTANCE, DATABASE, CATALOG = "orders-pg", "orders", "orders_catalog"
TABLE = f"{CATALOG}.public.orders_synced"
OPERATION = """
  id state progress durable requestedBy cancelRequestedBy finishedAt failure { reason message retryable }
  steps { name state progress resource message startedAt finishedAt }
"""
PAYLOAD = f"""
  operation {{ {OPERATION} }}
  plan {{ statusChangesLost steps {{ name action resource exists message costs differences {{ field current wanted }} }} }}
  userErrors {{ code field message differences {{ field current wanted }} operation {{ id }} }}
"""
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
# Constants of the server that tests change. The local platform is done at once, so a step need not pause for a tenth
# of a second; but a slow machine takes longer to create the server's tables. Measurements use the real values.
HASTE: Final[Mapping[str, float]] = MappingProxyType(
    {
        # Tests count the platform's calls, and fail some of them.
        "server.lakebase.freshness._FIRST_SECONDS": 86_400,
        **(
            {}
            if MEASURES
            else {"server.lakebase.steps.step._FIRST_PAUSE_SECONDS": 0.02, "server.db.migrate._PATIENCE_SECONDS": 600}
        ),
    }
)
# The module to run as the server if it would otherwise wait for the platform or for leases.
HASTY: Final = "server" if MEASURES else "tests.servers.hasty"


@dataclass(frozen=True)
class Operator:
    """A client of a server, with the role admin."""

    server: Server

    def answer(self, document: str, **variables: object) -> dict[str, Any]:
        """Send a document, and return the whole response, with its errors."""
        body = {"query": document, "variables": variables}
        answer: dict[str, Any] = httpx.post(self.server.graphql, json=body, verify=NO_TLS).json()
        return answer

    def ask(self, document: str, **variables: object) -> Any:
        """Send a document, assert that there are no errors, and return the data."""
        answer = self.answer(document, **variables)
        assert "errors" not in answer, answer
        return answer["data"]

    def insist(self, document: str, **variables: object) -> Any:
        """Send a document, again while its errors are retryable, and return the data."""
        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            answers.append(self.answer(document, **variables))
            errors = answers[-1].get("errors", [])
            assert all(error["extensions"]["retryable"] for error in errors), errors
            return not errors

        wait_for(answered, what=lambda: f"a response without errors, not {answers[-1]}\n{self.server.log()[-2000:]}")
        return answers[-1]["data"]

    def send(self, mutation: str, **values: object) -> dict[str, Any]:
        """Send an admin mutation with these values as its input, and return its payload."""
        payload: dict[str, Any] = self.ask(document(mutation), input=values)["payload"]
        return payload

    def persist(self, mutation: str, **values: object) -> dict[str, Any]:
        """Do as `done` does, but send the mutation again while its errors are retryable.

        A change of an instance restarts its database, which keeps the operations.
        """
        operation = self.ended(self.insist(document(mutation), input=values)["payload"])
        assert operation["state"] == "SUCCEEDED", operation
        return operation

    def operation(self, id_: str) -> dict[str, Any] | None:
        """The current state of an operation. The query is repeated while its errors are retryable."""
        document = f"query($id: ID!) {{ operation(id: $id) {{ {OPERATION} }} }}"
        found: dict[str, Any] | None = self.insist(document, id=id_)["operation"]
        return found

    def instance_host(self) -> str:
        """The address of the instance's PostgreSQL."""
        return str(self.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ host }} }}')["databaseInstance"]["host"])

    def ended(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Wait until the operation of a payload has ended, and return it."""
        assert payload["operation"], payload
        latest: list[dict[str, Any] | None] = [None]

        def has_ended() -> bool:
            latest[0] = self.operation(payload["operation"]["id"])
            return latest[0] is not None and latest[0]["state"] in _ENDED

        wait_for(has_ended, what=lambda: f"the end of {latest[0]}\n{self.server.log()[-3000:]}")
        assert latest[0] is not None
        return latest[0]

    def done(self, mutation: str, **values: object) -> dict[str, Any]:
        """Send a mutation, wait until its operation has succeeded, and return that."""
        operation = self.ended(self.send(mutation, **values))
        assert operation["state"] == "SUCCEEDED", operation
        return operation

    def provisioned(self) -> dict[str, Any]:
        """Provision everything, and wait until the server is ready."""
        operation = self.done("provisionLakebase", acknowledgeCost=True)
        wait_for(lambda: answers(f"{self.server.url}/readyz"), what=self.server.log)
        return operation


def document(mutation: str) -> str:
    """An admin mutation that takes its input as a variable."""
    input_type = f"{mutation[0].upper()}{mutation[1:]}Input"
    return f"mutation($input: {input_type}!) {{ payload: {mutation}(input: $input) {{ {PAYLOAD} }} }}"


@contextlib.contextmanager
def operated(
    platform: LocalPlatform,
    *,
    port: int | None = None,
    module: str = "server",
    # Any: with their real types mypy would refuse settings unpacked from a dictionary.
    patient: Any = True,
    altered: Any = HASTE,
    root: Any = ROOT,
    **settings: str,
) -> Iterator[Operator]:
    """Run a server that is configured as in the cloud, by the platform's address, a token and names, and operate it.

    Args:
        platform: the platform of the server.
        port: to listen on; by default a free one.
        module: the module to run as the server.
        patient: False for the server's own default timeouts.
        altered: other values for constants of the server.
        root: the directory of the code to run.
        settings: more settings, or other values; an empty value removes a setting.
    """
    given: dict[str, Any] = {
        "DATABRICKS_HOST": platform.host,
        "DATABRICKS_TOKEN": platform.token,
        "LAKEBASE_INSTANCE_NAME": INSTANCE,
        "LAKEBASE_DATABASE_NAME": DATABASE,
        "LAKEBASE_CATALOG_NAME": CATALOG,
        "LAKEBASE_PORT": str(platform.pg_port),
        "SYNCED_TABLE_STORAGE_CATALOG": "main",
        "SYNCED_TABLE_STORAGE_SCHEMA": "lakebase_meta",
        **settings,
    }
    given = {name: value for name, value in given.items() if value}
    given |= {"module": module, "patient": patient, "altered": altered, "root": root}
    with running_server(None, ready=False, port=port, **given) as server:
        yield Operator(server)


def plain_id(global_id: str) -> str:
    """The key in a global id."""
    return base64.b64decode(global_id).decode().split(":", 1)[1]
