"""The update masks of the Postgres API."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from server.local.platform.rest.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_CAPITAL = re.compile(r"[A-Z]")


@dataclass(frozen=True)
class Mask:
    """The paths below `spec` that an update may name. A group stands for fields of which at most one is given."""

    paths: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def chosen(self, query: Mapping[str, str], raw: bytes) -> set[str]:
        """The paths that an update changes: those that it names, or without a mask those that its body has.

        The SDK writes paths as FieldMask's JSON does, `spec.autoscalingLimitMaxCu`, or as they are given to it.

        Raises:
            PlatformError: INVALID_PARAMETER_VALUE for an unknown path, or for one without a value in the body.
        """
        body = json.loads(raw or b"{}")
        spec = body.get("spec") or {} if isinstance(body, dict) else {}
        named = [_snake(path.strip()) for path in query.get("update_mask", "").split(",") if path.strip()]
        chosen = set()
        for path in named or ["*"]:
            short = path.removeprefix("spec.")
            if path in ("*", "spec"):
                chosen |= {one for one in self.paths if self._is_given(spec, one)}
            elif short == path or short not in self.paths:
                raise invalid(f"Unknown field path in update_mask: '{path}'")
            elif not self._is_given(spec, short):
                raise invalid(f"Field '{path}' is in update_mask but not provided in request")
            else:
                chosen.add(short)
        return chosen

    def _is_given(self, spec: Any, path: str) -> bool:
        *parents, last = path.split(".")
        for parent in parents:
            spec = spec.get(parent) if isinstance(spec, dict) else None
        return isinstance(spec, dict) and any(name in spec for name in self.groups.get(path, (last,)))


def _snake(path: str) -> str:
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", path)
