"""Owns the source tables of `samples.tpch`: their columns, how many rows they have, and the rows themselves."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from server.local.platform.blocking import in_thread
from server.local.tpch import LoadError, generator_command

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

PREFIX = "samples.tpch."
_MAX_CHUNK_BYTES = 1 << 18
# About; chunks are as large as a batch, so that batches are as large as they are asked for.
_ROW_BYTES = 100
# The lakehouse's type, Unity Catalog's name of it, and PostgreSQL's type of the synced column.
_TYPES = {
    "bigint": ("LONG", "bigint"),
    "int": ("INT", "integer"),
    "string": ("STRING", "text"),
    "date": ("DATE", "date"),
    "decimal(18,2)": ("DECIMAL", "numeric(18, 2)"),
}
_DECIMAL = {"type_precision": 18, "type_scale": 2}


@dataclass(frozen=True)
class Source:
    """A source table. `rows_at_scale_1` is exact but for lineitem, where it is nearly so."""

    name: str
    rows_at_scale_1: int
    columns: dict[str, str]

    def rows(self, scale: float) -> int:
        """How many rows there are at the scale, about."""
        return round(self.rows_at_scale_1 * scale)

    def postgres_columns(self) -> dict[str, str]:
        """Its columns with the types that a synced table gives them."""
        return {name: _TYPES[kind][1] for name, kind in self.columns.items()}

    def catalog_columns(self, *, required: list[str]) -> list[dict[str, Any]]:
        """Its columns as Unity Catalog describes them; the required ones are not nullable."""
        return [
            {
                "name": name,
                "position": position,
                "type_text": kind,
                "type_name": _TYPES[kind][0],
                "nullable": name not in required,
                **(_DECIMAL if kind.startswith("decimal") else {}),
            }
            for position, (name, kind) in enumerate(self.columns.items())
        ]


SOURCES = {
    f"{PREFIX}{source.name}": source
    for source in (
        Source(
            "orders",
            1_500_000,
            {
                "o_orderkey": "bigint",
                "o_custkey": "bigint",
                "o_orderstatus": "string",
                "o_totalprice": "decimal(18,2)",
                "o_orderdate": "date",
                "o_orderpriority": "string",
                "o_clerk": "string",
                "o_shippriority": "int",
                "o_comment": "string",
            },
        ),
        Source(
            "customer",
            150_000,
            {
                "c_custkey": "bigint",
                "c_name": "string",
                "c_address": "string",
                "c_nationkey": "bigint",
                "c_phone": "string",
                "c_acctbal": "decimal(18,2)",
                "c_mktsegment": "string",
                "c_comment": "string",
            },
        ),
        Source(
            "lineitem",
            6_001_215,
            {
                "l_orderkey": "bigint",
                "l_partkey": "bigint",
                "l_suppkey": "bigint",
                "l_linenumber": "int",
                "l_quantity": "decimal(18,2)",
                "l_extendedprice": "decimal(18,2)",
                "l_discount": "decimal(18,2)",
                "l_tax": "decimal(18,2)",
                "l_returnflag": "string",
                "l_linestatus": "string",
                "l_shipdate": "date",
                "l_commitdate": "date",
                "l_receiptdate": "date",
                "l_shipinstruct": "string",
                "l_shipmode": "string",
                "l_comment": "string",
            },
        ),
    )
}


async def batches(source: Source, scale: float, rows: int, directory: Path) -> AsyncGenerator[tuple[int, bytes], None]:
    """The rows as CSV without a header, in batches of so many rows or a little more, each with its number of rows.

    They are generated once and kept in the directory, since the generator takes a second to begin.

    Raises:
        LoadError: the generator failed.
        OSError: the directory cannot be written to.
    """
    kept = directory / f"{source.name}-{scale:g}.csv"
    chunk_bytes = min(_MAX_CHUNK_BYTES, rows * _ROW_BYTES)
    found = _read(kept, chunk_bytes) if kept.exists() else _generate(source, scale, kept, chunk_bytes)
    waiting, count = b"", 0
    async with aclosing(found) as chunks:
        async for chunk in chunks:
            waiting += chunk
            count += chunk.count(b"\n")
            if count >= rows:
                # No text of TPC-H has a line break in it, so that a line is a row.
                whole, _, waiting = waiting.rpartition(b"\n")
                yield count, whole + b"\n"
                count = 0
    if waiting:
        yield count, waiting


async def _read(kept: Path, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    file = await in_thread(kept.open, "rb")
    with file:
        while chunk := await in_thread(file.read, chunk_bytes):
            yield chunk


async def _generate(source: Source, scale: float, kept: Path, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    """What the generator writes, kept when it is complete. Closed early, it ends the generator."""
    program, *arguments = generator_command(source.name, scale)
    with _kept_when_complete(kept) as file:
        generator = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Ctrl-C in the terminal is for us, who stop things in their order.
            start_new_session=True,
        )
        try:
            if generator.stdout is None:
                raise LoadError("the generator was started without its pipe")
            await generator.stdout.readline()  # the header
            while chunk := await generator.stdout.read(chunk_bytes):
                await in_thread(file.write, chunk)
                yield chunk
            if await generator.wait() != 0:
                raise LoadError("tpchgen-cli failed")
        finally:
            with contextlib.suppress(ProcessLookupError):
                generator.kill()
            await generator.wait()


@contextlib.contextmanager
def _kept_when_complete(kept: Path) -> Generator[IO[bytes], None, None]:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
        scratch = Path(file.name)
        try:
            yield file
            file.flush()
            scratch.rename(kept)
        finally:
            scratch.unlink(missing_ok=True)
