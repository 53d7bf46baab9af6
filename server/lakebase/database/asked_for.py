"""What this server has asked the platform for, kept in a table, because the Postgres API's reads do not tell it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from schema.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.lakebase.database.own_tables import OwnTables

# A read of the platform waits no longer for what was asked: the database may be asleep, or not there at all.
_SECONDS: Final = 3.0


class AskedForStore:
    """The specs of catalogs and synced tables as they were asked for: an `AskedFor` of the platform.

    They are rows of `asked_for`. Without a database, as while it is being provisioned, they wait in this process's
    memory. In a copy of the database the rows of the original count as not known. So do those of a resource that was
    deleted and created anew by another client, because they name its uid.
    """

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables
        # By kind and name: the uid, which is None until the resource is first read, and the spec.
        self._known: dict[tuple[str, str], tuple[str | None, Mapping[str, Any]]] = {}
        self._unwritten: set[tuple[str, str]] = set()

    async def note(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        """Remember this spec, which is about to be asked for."""
        self._remember((kind, name), None, spec)
        await self._write()

    async def of(self, kind: str, name: str, uid: str | None) -> Mapping[str, Any] | None:
        """The spec of the resource with this uid; None if it is not known, or was that of another resource."""
        key = kind, name
        if key not in self._known or self._known[key][0] not in {None, uid}:
            await self._read(kind, name)
        known, spec = self._known.get(key, (None, None))
        if spec is None or known not in {None, uid}:
            return None
        if known is None and uid is not None:
            self._remember(key, uid, spec)
        await self._write()
        return spec

    def _remember(self, key: tuple[str, str], uid: str | None, spec: Mapping[str, Any]) -> None:
        self._known[key] = uid, spec
        self._unwritten.add(key)

    async def _read(self, kind: str, name: str) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                rows = await self._tables.rows(
                    f"SELECT uid, spec FROM {self._tables.schema}.asked_for "  # noqa: S608 # the setting is an identifier, and quoted
                    "WHERE kind = :kind AND name = :name AND home = :home",
                    {"kind": kind, "name": name, "home": await self._tables.home()},
                )
        except (UnavailableError, TimeoutError):
            return
        if rows:
            self._known[kind, name] = rows[0]

    async def _write(self) -> None:
        """Write what waits in memory, if the database answers. What is asked for does not depend on it."""
        for key in tuple(self._unwritten):
            uid, spec = self._known[key]
            try:
                async with asyncio.timeout(_SECONDS):
                    await self._tables.rows(
                        f"""
                        INSERT INTO {self._tables.schema}.asked_for (kind, name, uid, spec, home)
                        VALUES (:kind, :name, :uid, CAST(:spec AS jsonb), :home)
                        ON CONFLICT (kind, name) DO UPDATE
                        SET uid = excluded.uid, spec = excluded.spec, home = excluded.home,
                            noted_at = clock_timestamp()
                        RETURNING name
                        """,  # noqa: S608 # as above
                        {
                            "kind": key[0],
                            "name": key[1],
                            "uid": uid,
                            "spec": json.dumps(spec),
                            "home": await self._tables.home(),
                        },
                    )
            except (UnavailableError, TimeoutError):
                return
            if self._known[key] == (uid, spec):
                self._unwritten.discard(key)
