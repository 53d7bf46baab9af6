"""Tests of the READMEs: links resolve, named files exist, and each README can be read in one sitting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import build_schema, get_named_type

from tests.servers.process import ROOT

MOST_LINES = 200
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A path from the root, such as `server/db/pool.py`, also in a table of tests.
_PATH = re.compile(r"(?<![\w/.])((?:server|schema|tests)/[\w/.]*\w)")
_CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# The folders that need more than docstrings.
WITH_README = (
    "",
    "schema",
    "schema/limits",
    "server/auth",
    "server/db",
    "server/graphql",
    "server/lakebase",
    "server/lakebase/operations",
    "server/local",
    "server/observability",
    "server/process",
    "server/settings",
    "server/traffic",
    "tests",
)

_FILES = [*(f"{folder}/README.md".lstrip("/") for folder in WITH_README), "schema/CLIENTS.md", "schema/ASKING.md"]


def _anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _anchors(text: str) -> set[str]:
    return {_anchor(heading) for heading in re.findall(r"^#+ (.*)$", _CODE_BLOCK.sub("", text), re.MULTILINE)}


@pytest.mark.parametrize("folder", WITH_README)
def test_a_folder_has_its_readme(folder: str) -> None:
    """A README says how to work in the folder."""
    assert (ROOT / folder / "README.md").is_file()


@pytest.mark.parametrize("name", _FILES)
def test_every_link_resolves(name: str) -> None:
    """Each link leads to a file of this repository, and to a heading in it. Web addresses are not requested."""
    text = (ROOT / name).read_text()
    wrong = []
    for target in _LINK.findall(_CODE_BLOCK.sub("", text)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (Path(ROOT / name).parent / path) if path else ROOT / name
        if not file.exists() or (anchor and anchor not in _anchors(file.read_text())):
            wrong.append(target)
    assert not wrong


@pytest.mark.parametrize("name", _FILES)
def test_every_named_path_exists(name: str) -> None:
    """When a file moves, the READMEs have to name its new path."""
    named = set(_PATH.findall((ROOT / name).read_text()))
    assert not {
        path for path in named if not (ROOT / path).exists() and path != "server/graphql/graphiql/static/vendor"
    }


@pytest.mark.parametrize("name", _FILES)
def test_a_readme_can_be_read_in_one_sitting(name: str) -> None:
    """It has at most 200 lines."""
    assert len((ROOT / name).read_text().splitlines()) <= MOST_LINES


def test_every_admin_mutation_is_named_in_operating() -> None:
    """The table of the section names each mutation with an operation in its payload once, and no other."""
    mutations = build_schema((ROOT / "schema/schema.graphql").read_text()).mutation_type
    assert mutations is not None
    operating = (ROOT / "server/lakebase/README.md").read_text().split("\n## Operating\n")[1]
    cells = [row.split("|")[2] for row in operating.lstrip().splitlines() if row.startswith("| ") and "`" in row]
    named = [name for cell in cells[: cells.index(" `cancelOperation` ") + 1] for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(
        name
        for name, field in mutations.fields.items()
        if "operation" in getattr(get_named_type(field.type), "fields", {})
    )
