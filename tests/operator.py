"""Owns what an operator does in tests: a server in front of a local platform, admin mutations sent, their ends awaited."""

from __future__ import annotations

import base64
import contextlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.calibration import MEASURES
from tests.process import NO_TLS, answers, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.platform import LocalPlatform
    from tests.process import Server

INSTANCE, DATABASE, CATALOG = "orders-pg", "orders", "orders_catalog"
TABLE = f"{CATALOG}.public.orders_synced"
OPERATION = """
  id state progress durable requestedBy finishedAt failure { reason message retryable }
  steps { name state progress resource message startedAt finishedAt }
"""
PAYLOAD = f"""
  operation {{ {OPERATION} }}
  plan {{ statusChangesLost steps {{ name action resource exists message costs differences {{ field current wanted }} }} }}
  userErrors {{ code field message differences {{ field current wanted }} operation {{ id }} }}
"""
_ENDED = ("SUCCEEDED", "FAILED")
# Constants of the server. A platform that is on this machine is done at once, and need not be left alone for a tenth of
# a second; but a slow machine takes its time to make the server's tables. What is measured, is measured as it is.
HASTE: Final[Mapping[str, float]] = MappingProxyType(
    {}
    if MEASURES
    else {"server.lakebase.steps.step._FIRST_PAUSE_SECONDS": 0.02, "server.db.migrate._PATIENCE_SECONDS": 600}
)
# What is run as the server where it would wait for the platform, or for leases.
HASTY: Final = "server" if MEASURES else "tests.hasty"


@dataclass(frozen=True)
class Operator:
    """Somebody with the role admin, at a server."""

    server: Server

    def answer(self, document: str, **variables: object) -> dict[str, Any]:
        """The whole answer to a document, errors and all."""
        body = {"query": document, "variables": variables}
        answer: dict[str, Any] = httpx.post(self.server.graphql, json=body, verify=NO_TLS).json()
        return answer

    def ask(self, document: str, **variables: object) -> Any:
        """The data of an answer without errors."""
        answer = self.answer(document, **variables)
        assert "errors" not in answer, answer
        return answer["data"]

    def insist(self, document: str, **variables: object) -> Any:
        """The data of an answer without errors. It is asked for again, as a client does, as long as that may help."""
        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            answers.append(self.answer(document, **variables))
            errors = answers[-1].get("errors", [])
            assert all(error["extensions"]["retryable"] for error in errors), errors
            return not errors

        wait_for(answered, what=lambda: f"an answer and not {answers[-1]}\n{self.server.log()[-2000:]}")
        return answers[-1]["data"]

    def send(self, mutation: str, **values: object) -> dict[str, Any]:
        """The payload of an admin mutation with these values as its input."""
        input_type = f"{mutation[0].upper()}{mutation[1:]}Input"
        document = f"mutation($input: {input_type}!) {{ payload: {mutation}(input: $input) {{ {PAYLOAD} }} }}"
        payload: dict[str, Any] = self.ask(document, input=values)["payload"]
        return payload

    def operation(self, id_: str) -> dict[str, Any] | None:
        """The operation as it is now. It is asked for again, as a client does, as long as that may help."""
        document = f"query($id: ID!) {{ operation(id: $id) {{ {OPERATION} }} }}"
        found: dict[str, Any] | None = self.insist(document, id=id_)["operation"]
        return found

    def ended(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The operation of a payload, once it has ended."""
        assert payload["operation"], payload
        latest: list[dict[str, Any] | None] = [None]

        def has_ended() -> bool:
            latest[0] = self.operation(payload["operation"]["id"])
            return latest[0] is not None and latest[0]["state"] in _ENDED

        wait_for(has_ended, what=lambda: f"the end of {latest[0]}\n{self.server.log()[-3000:]}")
        assert latest[0] is not None
        return latest[0]

    def done(self, mutation: str, **values: object) -> dict[str, Any]:
        """Send a mutation and wait for its success."""
        operation = self.ended(self.send(mutation, **values))
        assert operation["state"] == "SUCCEEDED", operation
        return operation

    def provisioned(self) -> dict[str, Any]:
        """Everything made, or found, and orders served."""
        operation = self.done("provisionLakebase", acknowledgeCost=True)
        wait_for(lambda: answers(f"{self.server.url}/readyz"), what=self.server.log)
        return operation


@contextlib.contextmanager
def operated(
    platform: LocalPlatform,
    *,
    port: int | None = None,
    module: str = "server",
    # Typed as what they are they would refuse settings that are unpacked from a dictionary.
    patient: Any = True,
    altered: Any = HASTE,
    **settings: str,
) -> Iterator[Operator]:
    """A server that is given the platform, a token and the names, as in the cloud, and somebody who operates it.

    Args:
        platform: that it is given.
        port: to listen on, a free one where none is given.
        module: what is run in the server's place.
        patient: False for the server's own default timeouts.
        altered: constants of the server with other values.
        settings: others, or in place of these; an empty one stands for none.
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
    given |= {"module": module, "patient": patient, "altered": altered}
    with running_server(None, ready=False, port=port, **given) as server:
        yield Operator(server)


def plain_id(global_id: str) -> str:
    """The key in a global id."""
    return base64.b64decode(global_id).decode().split(":", 1)[1]
