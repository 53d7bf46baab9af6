"""Prints the schema, as schema.graphql holds it."""

from __future__ import annotations

import sys

from schema import build_schema
from schema.graph import TABLES

sys.stdout.write(f"{build_schema(tables=TABLES).as_str()}\n")
