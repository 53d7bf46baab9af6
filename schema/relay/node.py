"""Owns Relay's object identification: the Node interface and the global id."""

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
# The longest key is a synced table's name: 255 characters, 63 and 63.
_GLOBAL_ID_MAX_CHARACTERS = 640
_ROW_KEY = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_ROW_KEYS = range(-(2**63), 2**63)


@strawberry.interface(
    description="Anything that can be fetched again by a global id, with the fields `node` and `nodes`."
)
class Node:
    """Relay's Node. Each type names the role it takes to fetch it, so that `node` is no way round."""

    role: ClassVar[Role]

    @strawberry.field(description="Identifies this object among all objects of all types. Opaque.")
    def id(self) -> strawberry.ID:
        """The type's name and the object's own key, in base64 as Relay's own libraries write it."""
        return encode_global_id(type(self).__name__, self.node_key())

    @abstractmethod
    def node_key(self) -> str:
        """What identifies the object among those of its type."""


def encode_global_id(type_name: str, key: str) -> strawberry.ID:
    """The global id of the object of this type with this key."""
    return strawberry.ID(base64.b64encode(f"{type_name}:{key}".encode()).decode())


def decode_global_id(global_id: str) -> tuple[str, str]:
    """The type name and the key in a global id.

    Raises:
        InputError: ID_INVALID where it is none of ours.
    """
    try:
        return _split(global_id)
    except ValueError as error:
        raise InputError(Reason.ID_INVALID, "The id was not issued by this API, or is damaged.") from error


def row_key_of(key: str) -> int | None:
    """The key in a global id as the key of a table's row; None where no row can have it."""
    return int(key) if _ROW_KEY.fullmatch(key) and int(key) in _ROW_KEYS else None


def _split(global_id: str) -> tuple[str, str]:
    if len(global_id) > _GLOBAL_ID_MAX_CHARACTERS:
        raise ValueError(global_id)
    match = _GLOBAL_ID.fullmatch(base64.b64decode(global_id.encode("ascii"), validate=True).decode())
    # Only the spelling that we issue is ours, so that clients may compare ids.
    if match is None or encode_global_id(match[1], match[2]) != global_id:
        raise ValueError(global_id)
    return match[1], match[2]
