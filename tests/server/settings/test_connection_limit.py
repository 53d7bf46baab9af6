"""The limit of connections: what is documented is what is held, and who wants more than there are says so."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from pydantic import SecretStr

from server.db.engine import connections_of, warn_of_limit
from server.observability.log_setup import configure_logs
from server.settings import Settings
from tests.servers.process import ROOT

if TYPE_CHECKING:
    from server.db.engine import Engines

# As documented for Lakebase: by the largest size of the compute.
LIMITS = {"at most 0.5 CU": 104, "1 CU": 209, "2 CU": 419, "4 CU": 839, "8 CU": 1_678, "16 CU": 3_357}
_SYNCED_TABLE, _PEOPLE = 16, 4


def test_the_readme_says_how_many_connections_a_process_may_hold() -> None:
    """And how many processes a database of each size takes."""
    readme = (ROOT / "server" / "db" / "README.md").read_text()
    wanted = connections_of(Settings(database_url=SecretStr("postgresql://127.0.0.1/x")))
    assert f"+ feed 1 + migration 1 + administration 1 = {wanted}" in readme
    for size, limit in LIMITS.items():
        processes = (limit - _SYNCED_TABLE - _PEOPLE) // wanted
        assert f"{size} | {limit:,} | {processes} |" in readme


async def test_who_may_want_more_connections_than_there_are_says_so(engines: Engines, orders_url: str) -> None:
    """Once it has reached the database; a default installation of PostgreSQL has a hundred, less three."""
    settings = Settings(database_url=SecretStr(orders_url))
    log = io.StringIO()
    configure_logs(settings, stream=log)
    await warn_of_limit(settings, engines.pages)
    assert not log.getvalue()
    await warn_of_limit(settings.model_copy(update={"workers": 5}), engines.pages)
    (line,) = log.getvalue().splitlines()
    assert (json.loads(line)["wanted"], json.loads(line)["allowed"]) == (140, 97)
