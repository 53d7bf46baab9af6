"""The READMEs: their links lead somewhere, the files that they name exist, and each can be read in one sitting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.process import ROOT

MOST_LINES = 200
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A path from the root, as in `server/db/pool.py` or in a table of tests.
_PATH = re.compile(r"(?<![\w/.])((?:server|schema|tests)/[\w/.]*\w)")
_CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# The folders whose readers need more than the docstrings: house rules name them.
WITH_README = (
    "",
    "schema",
    "server/auth",
    "server/db",
    "server/graphql",
    "server/lakebase",
    "server/local",
    "server/observability",
    "server/process",
    "server/settings",
    "server/traffic",
    "tests",
)

_FILES = [f"{folder}/README.md".lstrip("/") for folder in WITH_README]


def _anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _anchors(text: str) -> set[str]:
    return {_anchor(heading) for heading in re.findall(r"^#+ (.*)$", _CODE_BLOCK.sub("", text), re.MULTILINE)}


@pytest.mark.parametrize("folder", WITH_README)
def test_a_folder_has_its_readme(folder: str) -> None:
    """Its reader finds what they want to do there."""
    assert (ROOT / folder / "README.md").is_file()


@pytest.mark.parametrize("name", _FILES)
def test_every_link_resolves(name: str) -> None:
    """To a file of this repository, and to a heading of it. Addresses of the web are not asked for."""
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
def test_every_path_that_is_named_exists(name: str) -> None:
    """A file that moves takes its name in the READMEs along."""
    named = set(_PATH.findall((ROOT / name).read_text()))
    assert not {path for path in named if not (ROOT / path).exists() and path != "server/graphiql/static/vendor"}


@pytest.mark.parametrize("name", _FILES)
def test_a_readme_is_read_in_one_sitting(name: str) -> None:
    """200 lines at most."""
    assert len((ROOT / name).read_text().splitlines()) <= MOST_LINES
