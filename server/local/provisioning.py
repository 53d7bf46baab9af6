"""The client that `make run` provisions and syncs with. It shows the progress of operations in the terminal."""

from __future__ import annotations

import http.client
import itertools
import json
import urllib.error
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

from server.local.progress import Bars, Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

# Longer than any admin field may take, which is 25 s.
_RESPONSE_SECONDS = 40
# Longer than any pause between two events: the server sends pings more often.
_STREAM_SECONDS = 60
_PAYLOAD = "operation { id } plan { steps { name action resource } } userErrors { code message operation { id } }"
_WATCH = """
subscription Watch($id: ID!) {
  operationProgress(id: $id) { state failure { message } steps { name state progress message resource } }
}
"""
_SUCCEEDED = "SUCCEEDED"


class ProvisioningError(Exception):
    """An operation failed or could not be watched. The message is the server's."""


class Provisioning:
    """A client of the server's admin mutations."""

    def __init__(self, url: str, console: Console) -> None:
        self._url = url
        self._console = console
        self.request_id = f"make-run-{uuid.uuid4()}"

    def provision(self, served: Callable[[bool], None]) -> bool:
        """Create instance, catalog, synced tables and indexes, as far as they are missing.

        Args:
            served: called when the orders can be read, while the other tables are being synced, with what is returned.

        Returns:
            Whether all synced tables are new.

        Raises:
            ProvisioningError: with the server's message.
        """
        mutation = f"mutation {{ provisionLakebase(input: {{acknowledgeCost: true}}) {{ {_PAYLOAD} }} }}"
        return self._complete("provisionLakebase", mutation, served)

    def refresh(self, served: Callable[[], None]) -> None:
        """Sync all tables now. `served` is called when the orders are synced.

        Raises:
            ProvisioningError: with the server's message.
        """
        self._complete("refreshSyncedTable", f"mutation {{ refreshSyncedTable {{ {_PAYLOAD} }} }}", lambda _: served())

    def orders(self) -> int:
        """The number of orders that the server serves."""
        return int(self._ask("{ orderCount { count } }")["orderCount"]["count"])

    def instance(self) -> tuple[str, str]:
        """The version of the instance's PostgreSQL, and its address."""
        instance = self._ask("{ lakebase { instance { postgresVersion host } } }")["lakebase"]["instance"]
        return str(instance["postgresVersion"]).removeprefix("PG_VERSION_"), str(instance["host"])

    def _complete(self, field: str, mutation: str, served: Callable[[bool], None]) -> bool:
        """Send a mutation, wait until its operation has succeeded, and return whether it has created all tables."""
        payload: dict[str, Any] = self._ask(mutation)[field]
        while payload["userErrors"] and payload["userErrors"][0]["code"] == "OPERATION_IN_PROGRESS":
            # An operation that an earlier run started continues by itself.
            self._watch(payload["userErrors"][0]["operation"]["id"], lambda: None)
            payload = self._ask(mutation)[field]
        if payload["userErrors"]:
            raise ProvisioningError("\n".join(error["message"] for error in payload["userErrors"]))
        creations = [one for one in payload["plan"]["steps"] if one["name"] == "create_synced_table"]
        created = bool(creations) and all(one["action"] == "CREATE" for one in creations)
        operation = self._watch(payload["operation"]["id"], lambda: served(created))
        if operation["state"] != _SUCCEEDED:
            interrupted = "cancelled" if operation["state"] == "CANCELLED" else "interrupted"
            raise ProvisioningError((operation["failure"] or {}).get("message") or f"The operation was {interrupted}.")
        return created

    def _watch(self, id_: str, served: Callable[[], None]) -> dict[str, Any]:
        """Show the steps of an operation until it ends, and return its last state.

        First the steps of the orders, and of what holds them, then those of the other tables.
        """
        names = self._ask("{ lakebase { tableNames } }")["lakebase"]["tableNames"]
        others = {f"synced table {name}" for name in names[1:]}
        last: dict[str, Any] = {"state": "PENDING", "failure": None}
        events = self._events(id_)
        with self._steps() as shown:
            for last in events:
                first = [step for step in last["steps"] if step["resource"] not in others]
                shown.show(first)
                if all(step["state"] == _SUCCEEDED for step in first):
                    break
            else:
                return last
        served()
        with self._steps() as shown:
            for operation in itertools.chain([last], events):
                shown.show_tables([step for step in operation["steps"] if step["resource"] in others])
                last = operation
        return last

    def _steps(self) -> Bars | Lines:
        return Bars(self._console) if self._console.is_terminal else Lines(self._console)

    def _events(self, id_: str) -> Any:
        """Yield the operation at each progress, from server-sent events."""
        request = self._request(
            f"{self._url}/stream", {"query": _WATCH, "variables": {"id": id_}}, accept="text/event-stream"
        )
        try:
            with urllib.request.urlopen(request, timeout=_STREAM_SECONDS) as stream:  # noqa: S310 # our own address
                for line in stream:
                    if line.startswith(b"data:") and (text := line.removeprefix(b"data:").strip()):
                        event = json.loads(text)
                        if event.get("errors"):
                            raise ProvisioningError(event["errors"][0]["message"])
                        yield event["data"]["operationProgress"]
        except (OSError, http.client.HTTPException) as error:
            raise ProvisioningError(f"The stream of the server's events ended early: {error}") from error

    def _ask(self, document: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(  # noqa: S310 # our own address
                self._request(self._url, {"query": document}, accept="application/json"), timeout=_RESPONSE_SECONDS
            ) as response:
                result = json.load(response)
        except urllib.error.HTTPError as error:
            result = json.load(error)
        if result.get("errors"):
            raise ProvisioningError("\n".join(error["message"] for error in result["errors"]))
        data: dict[str, Any] = result["data"]
        return data

    def _request(self, url: str, body: dict[str, Any], *, accept: str) -> urllib.request.Request:
        headers = {"content-type": "application/json", "accept": accept, "x-request-id": self.request_id}
        return urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 # our own address
