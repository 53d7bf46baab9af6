"""Owns what `make run` asks of the server: to provision and to sync, with the progress shown in the terminal."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from rich.console import Console

_ANSWER_SECONDS = 40
# Longer than any pause between two events: the server pings more often.
_STREAM_SECONDS = 60
_BEGUN = "operation { id } plan { steps { name action } } userErrors { code message operation { id } }"
_SHAPE = """
{ lakebase { instance {
  capacity nodeCount enableReadableSecondaries: readableSecondaries retentionWindowInDays
} } }
"""
_WATCH = """
subscription Watch($id: ID!) {
  operationProgress(id: $id) { state progress failure { message } steps { name state message resource } }
}
"""
_DONE = {"SUCCEEDED", "FAILED"}


class ProvisioningError(Exception):
    """It did not come to its end; the message is the server's own."""


class Provisioning:
    """A client of the server's admin mutations, like any other."""

    def __init__(self, url: str, console: Console) -> None:
        self._url = url
        self._console = console

    def provision(self) -> bool:
        """Make instance, catalog, synced table and indexes, or find them; whether the table had yet to be made.

        Raises:
            ProvisioningError: with what the server says.
        """
        found = self._ask(_SHAPE)["lakebase"]["instance"] or {}
        # An operator may have made it larger: what is there is what is served.
        shape = "".join(f", {name}: {json.dumps(value).strip(chr(34))}" for name, value in found.items() if value)
        mutation = f"mutation {{ provisionLakebase(input: {{acknowledgeCost: true{shape}}}) {{ {_BEGUN} }} }}"
        begun = self._follow("provisionLakebase", mutation)
        return {"name": "create_synced_table", "action": "CREATE"} in begun["plan"]["steps"]

    def refresh(self) -> None:
        """Sync the orders now.

        Raises:
            ProvisioningError: with what the server says.
        """
        self._follow("refreshSyncedTable", f"mutation {{ refreshSyncedTable {{ {_BEGUN} }} }}")

    def orders(self) -> int:
        """How many orders are served."""
        return int(self._ask("{ orderCount { count } }")["orderCount"]["count"])

    def address(self) -> str:
        """Where the instance is, and its version."""
        instance = self._ask("{ lakebase { instance { postgresVersion host } } }")["lakebase"]["instance"]
        version = str(instance["postgresVersion"]).removeprefix("PG_VERSION_")
        return f"{version} at {instance['host']}"

    def _follow(self, field: str, mutation: str) -> dict[str, Any]:
        begun: dict[str, Any] = self._ask(mutation)[field]
        while begun["userErrors"] and begun["userErrors"][0]["code"] == "OPERATION_IN_PROGRESS":
            # What a run before this one had begun goes on by itself.
            self._watch("another operation", begun["userErrors"][0]["operation"]["id"])
            begun = self._ask(mutation)[field]
        if begun["userErrors"]:
            raise ProvisioningError("\n".join(error["message"] for error in begun["userErrors"]))
        operation = self._watch(field, begun["operation"]["id"])
        if operation["state"] != "SUCCEEDED":
            raise ProvisioningError((operation["failure"] or {}).get("message") or "The operation was cut off.")
        return begun

    def _watch(self, field: str, id_: str) -> dict[str, Any]:
        """Show how far an operation is, and give it as it was last."""
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
                doing = f"{running['name']}: {running['message'] or 'begins'}" if running else field
                progress.update(bar, completed=operation["progress"], description=doing)
        return operation

    def _events(self, id_: str) -> Any:
        """The operation, at each step further, as server-sent events bring it."""
        request = self._request(
            f"{self._url}/stream", {"query": _WATCH, "variables": {"id": id_}}, accept="text/event-stream"
        )
        try:
            with urllib.request.urlopen(request, timeout=_STREAM_SECONDS) as stream:  # noqa: S310 # our own address
                for line in stream:
                    if line.startswith(b"data:") and (text := line.removeprefix(b"data:").strip()):
                        answer = json.loads(text)
                        if answer.get("errors"):
                            raise ProvisioningError(answer["errors"][0]["message"])
                        yield answer["data"]["operationProgress"]
        except (OSError, http.client.HTTPException) as error:
            raise ProvisioningError(f"The server's events broke off: {error}") from error

    def _ask(self, document: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(  # noqa: S310 # our own address
                self._request(self._url, {"query": document}, accept="application/json"), timeout=_ANSWER_SECONDS
            ) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            answer = json.load(error)
        if answer.get("errors"):
            raise ProvisioningError("\n".join(error["message"] for error in answer["errors"]))
        data: dict[str, Any] = answer["data"]
        return data

    @staticmethod
    def _request(url: str, body: dict[str, Any], *, accept: str) -> urllib.request.Request:
        return urllib.request.Request(  # noqa: S310 # our own address
            url, json.dumps(body).encode(), {"content-type": "application/json", "accept": accept}
        )
