"""Relay's object identification: the Node interface and the global id."""

from __future__ import annotations

import base64
import re
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import strawberry

from schema.errors import InputError, Reason

if TYPE_CHECKING:
    from schema.permissions import Role

_GLOBAL_ID = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,62}):(.{1,400})", re.ASCII)
# The longest key is the name of a synced table: 255, 63 and 63 characters.
_GLOBAL_ID_MAX_CHARACTERS = 640
_ROW_KEY = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_ROW_KEYS = range(-(2**63), 2**63)


@strawberry.interface(description="Any object with a global id, by which `node` and `nodes` fetch it again.")
class Node:
    """Relay's Node. Each type names the role needed to fetch it, so that `node` does not bypass the roles."""

    role: ClassVar[Role]

    @strawberry.field(description="The global id: identifies this object among all objects of all types. Opaque.")
    def id(self) -> strawberry.ID:
        """The type's name and the object's key, in base64, as Relay's own libraries encode it."""
        return encode_global_id(type(self).__name__, self.node_key())

    @abstractmethod
    def node_key(self) -> str:
        """The key that identifies the object among those of its type."""


def encode_global_id(type_name: str, key: str) -> strawberry.ID:
    """The global id of the object of this type with this key."""
    return strawberry.ID(base64.b64encode(f"{type_name}:{key}".encode()).decode())


def decode_global_id(global_id: str) -> tuple[str, str]:
    """The type name and the key in a global id.

    Raises:
        InputError: ID_INVALID if this API did not issue it.
    """
    try:
        return _split(global_id)
    except ValueError as error:
        raise InputError(Reason.ID_INVALID, "The id was not issued by this API, or is damaged.") from error


def row_key_of(key: str) -> int | None:
    """The key in a global id as the key of a table's row; None if no row can have it."""
    return int(key) if _ROW_KEY.fullmatch(key) and int(key) in _ROW_KEYS else None


def _split(global_id: str) -> tuple[str, str]:
    if len(global_id) > _GLOBAL_ID_MAX_CHARACTERS:
        raise ValueError(global_id)
    match = _GLOBAL_ID.fullmatch(base64.b64decode(global_id.encode("ascii"), validate=True).decode())
    # Only the exact encoding that we issue is accepted, so that clients can compare ids.
    if match is None or encode_global_id(match[1], match[2]) != global_id:
        raise ValueError(global_id)
    return match[1], match[2]
