"""Tests of the cache between runs: an entry is made once, and is used only if it is unchanged."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.dockerfile import Image, Replay
from tests.support.kept import kept

if TYPE_CHECKING:
    from collections.abc import Callable

_DOCKERFILE = """
FROM base:1 AS made
WORKDIR /made
COPY given ./
RUN cat given > /made/result && echo /made > /made/where && ln -s /made/result link && echo >> "$RUNS"
FROM base:1 AS further
COPY --from=made /made/result /further
RUN echo further >> /further
FROM base:1
COPY --from=further /further /app/
COPY --from=made /made/result /made/where /made/link /app/
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of entries of the kind `text`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lakebase-orders-tests" / "text"


@pytest.fixture
def making() -> tuple[list[Path], Callable[[Path], None]]:
    """A function that makes an entry of two files, and the directories in which it did."""
    made: list[Path] = []

    def make(directory: Path) -> None:
        made.append(directory)
        (directory / "a").write_text("alpha")
        (directory / "b").symlink_to("a")

    return made, make


def test_what_is_kept_is_made_once(making: tuple[list[Path], Callable[[Path], None]]) -> None:
    """For each key the entry is made once, and found again unchanged."""
    made, make = making
    first = kept("text", "one", make)
    assert kept("text", "one", make) == first
    assert ((first / "a").read_text(), (first / "b").read_text()) == ("alpha", "alpha")
    assert len(made) == 1
    assert kept("text", "two", make) != first
    assert len(made) == 2


def test_two_at_once_make_it_once(making: tuple[list[Path], Callable[[Path], None]]) -> None:
    """The second run waits for the first."""
    made, make = making
    both = threading.Barrier(2)

    def ask() -> Path:
        both.wait()
        return kept("text", "one", make)

    with concurrent.futures.ThreadPoolExecutor(2) as asking:
        first, second = (one.result() for one in [asking.submit(ask), asking.submit(ask)])
    assert first == second
    assert len(made) == 1


def test_what_is_cut_off_leaves_nothing(home: Path, making: tuple[list[Path], Callable[[Path], None]]) -> None:
    """A failed run leaves nothing behind. What a killed one leaves is deleted by the next."""
    _, make = making

    def fail(directory: Path) -> None:
        make(directory)
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        kept("text", "one", fail)
    assert [path.name for path in home.iterdir()] == ["lock"]
    (home / ".making-killed" / "entry").mkdir(parents=True)
    assert kept("text", "one", make).exists()
    assert {path.name for path in home.iterdir()} == {"lock", "one"}


@pytest.mark.parametrize("harm", ["a file is gone", "a file is longer", "a file is new", "a link leads elsewhere"])
def test_what_is_not_as_it_was_made_is_made_again(harm: str, making: tuple[list[Path], Callable[[Path], None]]) -> None:
    """Any change to an entry makes it invalid."""
    made, make = making
    entry = kept("text", "one", make)
    if harm == "a file is gone":
        (entry / "a").unlink()
    elif harm == "a file is longer":
        (entry / "a").write_text("alphabet")
    elif harm == "a file is new":
        (entry / "c").touch()
    else:
        (entry / "b").unlink()
        (entry / "b").symlink_to("c")
    assert kept("text", "one", make) == entry
    assert len(made) == 2
    assert sorted(path.read_text() for path in entry.iterdir()) == ["alpha", "alpha"]


def test_what_nobody_uses_is_forgotten(home: Path, making: tuple[list[Path], Callable[[Path], None]]) -> None:
    """An unused entry is deleted after a week. Using it makes it young again."""
    made, make = making
    for key in ("old", "used"):
        kept("text", key, make)
        os.utime(home / key, (0, 0))
    kept("text", "used", make)
    kept("text", "new", make)
    assert {path.name for path in home.iterdir()} == {"lock", "used", "new"}
    assert len(made) == 3


def test_a_stage_is_run_once_for_the_same_files(home: Path, tmp_path: Path) -> None:
    """A changed file or base image makes it run again. Copied files refer to where the stage is now."""
    context, runs = tmp_path / "context", tmp_path / "runs"
    tree = ["git", "init", "--quiet", str(context)]
    subprocess.run(tree, check=True)
    (context / "Dockerfile").write_text(_DOCKERFILE)
    (context / ".dockerignore").touch()

    def result(version: str, given: str) -> str:
        (context / "given").write_text(given)
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        base = Image(lambda _: None, lambda: version)
        stage = Replay(context, place, images={"base": base}, cache={"RUNS": str(runs)}).run()
        assert (stage.root / "app/where").read_text() == f"{stage.root}/made\n"
        assert (stage.root / "app/link").readlink() == stage.root / "made/result"
        assert (stage.root / "app/further").read_text() == f"{given}further\n"
        return (stage.root / "app/result").read_text()

    for version, given, count in (("1", "a", 1), ("1", "a", 1), ("1", "b", 2), ("2", "b", 3), ("2", "b", 3)):
        assert result(version, given) == given
        assert runs.read_text().count("\n") == count
    assert len(list(home.with_name("stages").glob("[!l]*"))) == 6
