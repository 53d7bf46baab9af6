"""Tests of the architecture: the code keeps each contract of import-linter, and tasks inherit no request's context."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# For each contract: a file, and the code to add to it that violates the contract.
VIOLATIONS: dict[str, tuple[str, str | int]] = {
    "server imports schema, never back": ("schema/errors.py", "import server.settings"),
    "the schema imports no library that serves it": ("schema/errors.py", "import starlette"),
    "the server does not import the local Lakebase": ("server/process/commands.py", "import server.local.cluster"),
    "layers of the server": ("server/settings/server.py", "import server.process.app"),
    "layers of the schema": ("schema/errors.py", "import schema.orders.types"),
    "no import cycles, between files or packages": ("server/db/pool.py", "import server.db.engine"),
    "a package has at most twelve modules": ("server/wire", 12),
    "the root of the server has fewer than ten modules": ("server", 9),
}
# The tasks that run in the context of the code that starts them, and why. By their file and what they run.
INHERITING: dict[tuple[str, str], str] = {
    ("changes/status_writer.py", "self._write"): "The writing of one request, and part of its log line.",
    ("graphql/export/pages.py", "self._next_page"): "It is a page of one export, and ends with it.",
    ("graphql/sse.py", "anext"): "It ends with its request.",
    ("graphql/sse.py", "begun.wait"): "It ends with its request.",
    ("graphql/sse.py", "self._wait_to_stop"): "It ends with its request.",
    ("graphql/websocket_connection.py", "self._watch"): "It ends with its connection.",
    ("graphql/websocket_connection.py", "self._operate"): "It is one operation, and ends with its connection.",
    ("lakebase/administration.py", "self._begin"): "It stores what one request asks for.",
    ("lakebase/database/indexes.py", "builder.execute"): "It ends with its operation, which has its own context.",
    ("lakebase/lanes.py", "run_lane"): "The same.",
    ("lakebase/execution.py", "self._beat"): "It ends with its operation, which has its own context.",
    ("lakebase/plans/drafts/dependents.py", "look"): "It looks something up for the plan of one request.",
    ("lakebase/platform/autoscaling/projects.py", "self.instance"): "It looks up an instance for one page.",
    ("lakebase/steps/step.py", "work"): "It ends with its operation, which has its own context.",
    ("observability/exposition.py", "self._keep_sampling"): "The process starts it, not a request.",
    ("process/lifespan.py", "administering.stop_with"): "The process starts it, not a request.",
}
# Functions that start a task. The last one passes a context on.
STARTING = {"create_task", "ensure_future", "_spawn"}
_CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]


def _broken(root: Path) -> set[str]:
    """The contracts that the code below a folder violates."""
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))",
    ]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout
    outcomes = dict(re.findall(r"^(.+) (KEPT|BROKEN)$", output, re.MULTILINE))
    assert list(outcomes) == _CONTRACTS, output
    return {name for name, outcome in outcomes.items() if outcome == "BROKEN"}


def test_the_code_keeps_every_contract() -> None:
    """`make check` checks the same."""
    assert _broken(ROOT) == set()


@pytest.mark.parametrize("contract", _CONTRACTS)
def test_a_violation_breaks_the_contract(contract: str, tmp_path: Path) -> None:
    """An import against the layers, a cycle or a crowded package makes `make check` fail."""
    for folder in ("schema", "server"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "static"))
    (tmp_path / "tests" / "support").mkdir(parents=True)
    for name in ("pyproject.toml", "tests/__init__.py", "tests/support/__init__.py", "tests/support/architecture.py"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    place, added = VIOLATIONS[contract]
    if isinstance(added, str):
        with (tmp_path / place).open("a") as file:
            file.write(f"\n{added}\n")
    else:
        for number in range(added + 1):
            (tmp_path / place / f"extra_{number}.py").touch()
    assert contract in _broken(tmp_path)


def _inheriting(root: Path) -> set[tuple[str, str]]:
    """The tasks of the server that are started without a context of their own, by their file and what they run."""
    found = set()
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root)
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or ast.unparse(call.func).rpartition(".")[2] not in STARTING:
                continue
            if module.parts[0] != "local" and not any(keyword.arg == "context" for keyword in call.keywords):
                run = call.args[0]
                found.add((str(module), ast.unparse(run.func if isinstance(run, ast.Call) else run)))
    return found


def test_a_task_that_outlives_its_request_inherits_nothing_of_it() -> None:
    """Neither its log record, its deadline nor its admission slot: it starts in an empty context."""
    assert _inheriting(ROOT / "server") == set(INHERITING)
