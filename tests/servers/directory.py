"""A workspace's directory for tests: its users, service principals and their groups, by SCIM over HTTP on loopback."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import unicodedata
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.servers.issuer import serving
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN, ROBOT = "ann@example.com", "0b5d4c3e-0000-4000-8000-1234567890ab"
_ATTRIBUTES: Final = {"Users": "userName", "ServicePrincipals": "applicationId"}
_FILTER: Final = re.compile('(.*) eq "(.*)"')


class Directory:
    """The groups of each user by e-mail, and of each service principal by client id.

    Like a real directory it takes names for equal that the server must tell apart: more than their case differs.
    """

    def __init__(self) -> None:
        self.groups: dict[str, list[str]] = {ANN: ["order-desk", "everybody"], ROBOT: ["robots"]}
        self.asked: list[str] = []
        self.status = 200
        # Sent in place of every answer, if it is set.
        self.garbage: bytes | None = None
        self.url = ""
        # Answers wait until it is set.
        self.answering = threading.Event()
        self.answering.set()

    def settings(self, **others: str) -> dict[str, Any]:
        """The settings of a server on the platform with this directory."""
        return {
            "AUTH_MODE": "databricks-app",
            "DATABRICKS_APP_NAME": "orders",
            "DATABRICKS_HOST": self.url,
            "DATABRICKS_TOKEN": "dapi-of-the-server",
            **others,
        }

    def answer(self, path: str) -> tuple[int, Any]:
        """The status and the body of a SCIM response."""
        address = urlsplit(path)
        if not address.path.startswith("/api/2.0/preview/scim/v2/"):
            return 404, {"error_code": "NOT_FOUND", "message": "no such page"}
        kind, asked = address.path.rpartition("/")[2], parse_qs(address.query)
        self.asked.append(f"{kind} {asked['filter'][0]}")
        self.answering.wait(PATIENCE_SECONDS)
        if self.status != 200:
            return self.status, {"error_code": "SAID_NO", "message": "no"}
        attribute, found = _ATTRIBUTES[kind], _FILTER.fullmatch(asked["filter"][0])
        assert found
        assert (found[1], asked["attributes"]) == (attribute, [f"{attribute},groups"])
        resources = [
            {
                "id": "1",
                attribute: name,
                "groups": [{"display": group, "value": "1", "type": "direct"} for group in groups],
            }
            for name, groups in self.groups.items()
            if _folded(name) == _folded(found[2])
        ]
        return 200, {"totalResults": len(resources), **({"Resources": resources} if resources else {})}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().replace("\u0131", "i").strip(" .")


@contextlib.contextmanager
def running_directory() -> Iterator[Directory]:
    """Serve a directory inside the block."""
    directory = Directory()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, answer = directory.answer(self.path)
            body = json.dumps(answer).encode() if directory.garbage is None else directory.garbage
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            # The client may have given up.
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        directory.url = url
        yield directory
        directory.answering.set()
