"""Runs the statements of a revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context, op

if TYPE_CHECKING:
    from collections.abc import Iterable


def run(statements: Iterable[str]) -> None:
    """Run statements in which `{schema}` stands for the schema of the server's tables."""
    preparer = op.get_context().dialect.identifier_preparer
    schema = preparer.quote_identifier(context.config.attributes["schema"])
    for statement in statements:
        op.execute(statement.replace("{schema}", schema))
