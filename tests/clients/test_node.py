"""Tests of what the Node scripts depend on: the tools, and the installed packages."""

from __future__ import annotations

import json

import pytest

from tests.clients import node


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_tool_skips_and_fails_in_ci(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Node a test is skipped with the reason. In CI, where Node has to be there, the test fails."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(outcome, match="node is not on the PATH"):
        node.tool("node")


def test_the_lock_file_names_no_registry() -> None:
    """Packages come from the machine's configured registry, and are checked against their hashes."""
    packages = json.loads(node.LOCK_FILE.read_text())["packages"].items()
    assert [name for name, package in packages if name and ("resolved" in package or "integrity" not in package)] == []


def test_packages_are_pinned_exactly() -> None:
    """A client's version changes only by a commit, not with each new release."""
    dependencies = json.loads((node.HERE / "package.json").read_text())["dependencies"]
    assert [name for name, version in dependencies.items() if not version.replace(".", "").isdigit()] == []
