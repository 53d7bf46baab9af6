"""The source tables of `samples.tpch`: their columns, their sizes, and their rows, which `tpchgen-cli` generates."""

from __future__ import annotations

import asyncio
import contextlib
import sysconfig
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

PREFIX = "samples.tpch."
# A row has about 100 bytes. A chunk is as large as a batch, so that a batch is hardly larger than requested.
_ROW_BYTES = 100
_MAX_CHUNK_BYTES = 1 << 18
# For each type of the lakehouse: Unity Catalog's name for it, and the PostgreSQL type of the synced column.
_TYPES = {
    "bigint": ("LONG", "bigint"),
    "int": ("INT", "integer"),
    "string": ("STRING", "text"),
    "date": ("DATE", "date"),
    "decimal(18,2)": ("DECIMAL", "numeric(18, 2)"),
}
_DECIMAL = {"type_precision": 18, "type_scale": 2}


class GeneratorError(Exception):
    """`tpchgen-cli` failed."""


@dataclass(frozen=True)
class Source:
    """A source table.

    `rows_at_scale_1` is exact, except for lineitem, where other scales deviate a little. Nations and regions are the
    same at every scale: they are not `scaled`.
    """

    name: str
    rows_at_scale_1: int
    columns: dict[str, str]
    scaled: bool = True

    def rows(self, scale: float) -> int:
        """The number of rows at this scale, approximately."""
        return round(self.rows_at_scale_1 * scale) if self.scaled else self.rows_at_scale_1

    def postgres_columns(self) -> dict[str, str]:
        """The types of its columns in a synced table."""
        return {name: _TYPES[kind][1] for name, kind in self.columns.items()}

    def catalog_columns(self, *, required: list[str]) -> list[dict[str, Any]]:
        """Its columns as Unity Catalog describes them. The required ones are not nullable."""
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
        Source(
            "part",
            200_000,
            {
                "p_partkey": "bigint",
                "p_name": "string",
                "p_mfgr": "string",
                "p_brand": "string",
                "p_type": "string",
                "p_size": "int",
                "p_container": "string",
                "p_retailprice": "decimal(18,2)",
                "p_comment": "string",
            },
        ),
        Source(
            "supplier",
            10_000,
            {
                "s_suppkey": "bigint",
                "s_name": "string",
                "s_address": "string",
                "s_nationkey": "bigint",
                "s_phone": "string",
                "s_acctbal": "decimal(18,2)",
                "s_comment": "string",
            },
        ),
        Source(
            "nation",
            25,
            {"n_nationkey": "bigint", "n_name": "string", "n_regionkey": "bigint", "n_comment": "string"},
            scaled=False,
        ),
        Source("region", 5, {"r_regionkey": "bigint", "r_name": "string", "r_comment": "string"}, scaled=False),
    )
}


def generator_command(table: str, scale: float) -> list[str]:
    """The command that writes a table of TPC-H to standard output as CSV with a header."""
    program = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    return [str(program), "csv", "-s", str(scale), "--tables", table, "--stdout"]


async def batches(source: Source, scale: float, rows: int, directory: Path) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the rows in batches of at least `rows`: the number of rows in the batch, and CSV without a header.

    The rows are generated once and kept in the directory, because the generator takes a second to start.

    Raises:
        GeneratorError: the generator failed.
        OSError: the directory cannot be written to.
    """
    kept = directory / f"{source.name}-{scale:g}.csv"
    chunk_bytes = min(_MAX_CHUNK_BYTES, rows * _ROW_BYTES)
    found = _read(kept, chunk_bytes) if kept.exists() else _generate(source, scale, kept, chunk_bytes)
    pending, count = b"", 0
    async with aclosing(found) as chunks:
        async for chunk in chunks:
            pending += chunk
            count += chunk.count(b"\n")
            if count >= rows:
                # TPC-H's texts have no line breaks, so a line is a row.
                whole, _, pending = pending.rpartition(b"\n")
                yield count, whole + b"\n"
                count = 0
    if pending:
        yield count, pending


async def _read(kept: Path, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    with await asyncio.to_thread(kept.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, chunk_bytes):
            yield chunk


async def _generate(source: Source, scale: float, kept: Path, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the generator's output, and keep it once it is complete. Closing this early ends the generator."""
    program, *arguments = generator_command(source.name, scale)
    with _kept_when_complete(kept) as file:
        generator = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Ctrl-C in the terminal must reach only `make run`, which stops its processes in order.
            start_new_session=True,
        )
        try:
            if generator.stdout is None:
                raise GeneratorError("tpchgen-cli was started without a pipe")
            await generator.stdout.readline()  # the header
            while chunk := await generator.stdout.read(chunk_bytes):
                await asyncio.to_thread(file.write, chunk)
                yield chunk
            if await generator.wait() != 0:
                raise GeneratorError("tpchgen-cli failed")
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
