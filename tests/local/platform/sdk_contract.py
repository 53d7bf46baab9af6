"""Checks every reply of the local platform against the SDK's class for it: nothing that it has is unknown to that."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.platform import LocalPlatform


class Checked:
    """The SDK's client of a platform, which checks every reply.

    Attributes:
        called: the names of the methods that were called, such as `postgres.get_branch`.
        unknown: what the replies had that the SDK's classes do not have.
    """

    def __init__(self, platform: LocalPlatform) -> None:
        self._workspace = platform.workspace()
        self._log = platform.log
        self._replies: list[Any] = []
        self.called: set[str] = set()
        self.unknown: set[str] = set()
        client: Any = self._workspace.api_client
        send = client.do

        def keep(*args: Any, **kwargs: Any) -> Any:
            reply = send(*args, **kwargs)
            self._replies.append(reply)
            return reply

        client.do = keep

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a service, such as `postgres.get_branch`, and return what it returns; an iterator as a list."""
        service, method = name.split(".")
        function: Callable[..., Any] = getattr(getattr(self._workspace, service), method)
        self._replies.clear()
        found = function(*args, **kwargs)
        if inspect.isgenerator(found):
            found = list(found)
        self.called.add(name)
        annotation = str(inspect.signature(function).return_annotation)
        for reply in list(self._replies):
            self._check(name, sys.modules[function.__module__], annotation, reply)
        return found

    def done(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method that begins an operation, and wait until that has succeeded. Returns its response."""
        begun = self.call(name, *args, **kwargs)
        operation = self.call("postgres.get_operation", begun.name())

        def is_done() -> bool:
            nonlocal operation
            operation = self.call("postgres.get_operation", begun.name())
            return bool(operation.done)

        wait_for(is_done, what=self._log)
        assert operation.error is None, (name, operation.error)
        postgres = sys.modules[type(begun).__module__]
        self._compare(f"{name} metadata", begun.metadata().as_dict(), operation.metadata)
        answer = inspect.signature(begun.wait).return_annotation
        if isinstance(answer, str):
            response = operation.response
            self._compare(f"{name} response", getattr(postgres, answer).from_dict(response).as_dict(), response)
        return operation.response

    def _check(self, name: str, module: Any, annotation: str, reply: Any) -> None:
        kind = annotation.removeprefix("Wait[").removeprefix("Iterator[").rstrip("]")
        if annotation.startswith("Iterator["):
            # A page has its items under a name of their own.
            for items in (value for value in reply.values() if isinstance(value, list)):
                for item in items:
                    if isinstance(item, dict):
                        self._compare(name, getattr(module, kind).from_dict(item).as_dict(), item)
        elif kind.endswith("Operation"):
            self._compare(name, module.Operation.from_dict(reply).as_dict(), reply)
        elif hasattr(module, kind):
            self._compare(name, getattr(module, kind).from_dict(reply).as_dict(), reply)
        else:
            assert reply in ({}, None), (name, reply)

    def _compare(self, path: str, known: Any, sent: Any) -> None:
        """Note whatever was sent and did not come through the SDK's class."""
        if isinstance(sent, dict) and isinstance(known, dict):
            for key, value in sent.items():
                if value not in (None, [], {}, "") and not key.startswith(("@", "$")):
                    self._compare(f"{path}.{key}", known.get(key), value)
        elif isinstance(sent, list) and isinstance(known, list) and len(sent) == len(known):
            for one, other in zip(known, sent, strict=True):
                self._compare(path, one, other)
        elif str(known) != str(sent) and not _is_same_value(known, sent):
            self.unknown.add(f"{path}: {sent!r} is {known!r} to the SDK")


def _is_same_value(known: Any, sent: Any) -> bool:
    """Whether both are the same number, or times or durations in different precision."""
    if isinstance(sent, str) and isinstance(known, str) and sent[-1:] in ("Z", "s"):
        return known[-1:] == sent[-1:] and known[:10] == sent[:10]
    return bool(known == sent)
