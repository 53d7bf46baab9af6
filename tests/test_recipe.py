"""Tests of the recipe that this API replaces: every feature in scope has a counterpart, and the named tests exist."""

from __future__ import annotations

import ast
import functools

import pytest

from tests.servers.process import ROOT
from tests.support.recipe import RECIPE, Row, markdown

# Out of scope are 11 and 12, a warehouse's tables and a welcome page, and everything after 22, guides and tests.
IN_SCOPE = [*(str(number) for number in (*range(1, 11), *range(13, 23))), *(f"7{letter}" for letter in "abcdef")]


@functools.cache
def in_file(file: str) -> set[str]:
    """The names of the tests in a file, as pytest collects them."""
    nodes = ast.parse((ROOT / file).read_text()).body
    functions = (node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return {name for name in functions if name.startswith("test_")}


def test_every_feature_in_scope_has_a_row() -> None:
    """Each has one row, and there are no other rows."""
    assert sorted(row.number for row in RECIPE) == sorted(IN_SCOPE)


@pytest.mark.parametrize("row", RECIPE, ids=lambda row: row.number)
def test_every_named_test_is_there(row: Row) -> None:
    """Each row names at least one test, and each test is in the file it names."""
    assert row.tests
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name in in_file(file), test


def test_the_table_can_be_printed() -> None:
    """The table has a line for every row, and no text breaks its cells."""
    _, _, *lines = markdown().splitlines()
    assert [line.count("|") for line in lines] == [6] * len(RECIPE)
