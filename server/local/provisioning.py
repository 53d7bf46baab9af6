"""The client that `make run` provisions and syncs with. It shows the progress of operations in the terminal."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from rich.console import Console

# Longer than any admin field may take, which is 25 s.
_RESPONSE_SECONDS = 40
# Longer than any pause between two events: the server sends pings more often.
_STREAM_SECONDS = 60
_PAYLOAD = "operation { id } plan { steps { name action } } userErrors { code message operation { id } }"
_WATCH = """
subscription Watch($id: ID!) {
  operationProgress(id: $id) { state progress failure { message } steps { name state message resource } }
}
"""
_DONE = {"SUCCEEDED", "FAILED", "CANCELLED"}


class ProvisioningError(Exception):
    """An operation failed or could not be watched. The message is the server's."""


class Provisioning:
    """A client of the server's admin mutations."""

    def __init__(self, url: str, console: Console) -> None:
        self._url = url
        self._console = console

    def provision(self) -> bool:
        """Create instance, catalog, synced table and indexes, as far as they are missing.

        Returns:
            Whether the synced table was created.

        Raises:
            ProvisioningError: with the server's message.
        """
        mutation = f"mutation {{ provisionLakebase(input: {{acknowledgeCost: true}}) {{ {_PAYLOAD} }} }}"
        payload = self._complete("provisionLakebase", mutation)
        return {"name": "create_synced_table", "action": "CREATE"} in payload["plan"]["steps"]

    def refresh(self) -> None:
        """Sync the orders now.

        Raises:
            ProvisioningError: with the server's message.
        """
        self._complete("refreshSyncedTable", f"mutation {{ refreshSyncedTable {{ {_PAYLOAD} }} }}")

    def orders(self) -> int:
        """The number of orders that the server serves."""
        return int(self._ask("{ orderCount { count } }")["orderCount"]["count"])

    def address(self) -> str:
        """The instance's PostgreSQL version and address."""
        instance = self._ask("{ lakebase { instance { postgresVersion host } } }")["lakebase"]["instance"]
        version = str(instance["postgresVersion"]).removeprefix("PG_VERSION_")
        return f"{version} at {instance['host']}"

    def _complete(self, field: str, mutation: str) -> dict[str, Any]:
        """Send a mutation, wait until its operation has succeeded, and return its payload."""
        payload: dict[str, Any] = self._ask(mutation)[field]
        while payload["userErrors"] and payload["userErrors"][0]["code"] == "OPERATION_IN_PROGRESS":
            # An operation that an earlier run started continues by itself.
            self._watch("another operation", payload["userErrors"][0]["operation"]["id"])
            payload = self._ask(mutation)[field]
        if payload["userErrors"]:
            raise ProvisioningError("\n".join(error["message"] for error in payload["userErrors"]))
        operation = self._watch(field, payload["operation"]["id"])
        if operation["state"] != "SUCCEEDED":
            interrupted = "cancelled" if operation["state"] == "CANCELLED" else "interrupted"
            raise ProvisioningError((operation["failure"] or {}).get("message") or f"The operation was {interrupted}.")
        return payload

    def _watch(self, field: str, id_: str) -> dict[str, Any]:
        """Show the progress of an operation until it ends, and return its last state."""
        operation: dict[str, Any] = {"state": "PENDING", "failure": None}
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        shown: set[str] = set()
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task(field, total=1.0)
            for operation in self._events(id_):
                for step in operation["steps"]:
                    if step["state"] in _DONE and step["name"] not in shown:
                        shown.add(step["name"])
                        progress.console.print(f"{step['name']:<20} {step['resource']}: {step['message']}")
                running = next((step for step in operation["steps"] if step["state"] == "RUNNING"), None)
                description = f"{running['name']}: {running['message'] or 'starting'}" if running else field
                progress.update(bar, completed=operation["progress"], description=description)
        return operation

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

    @staticmethod
    def _request(url: str, body: dict[str, Any], *, accept: str) -> urllib.request.Request:
        return urllib.request.Request(  # noqa: S310 # our own address
            url, json.dumps(body).encode(), {"content-type": "application/json", "accept": accept}
        )
