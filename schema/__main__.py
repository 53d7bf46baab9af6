"""Prints the schema, as schema.graphql holds it."""

from __future__ import annotations

import sys

from schema import build_schema

sys.stdout.write(f"{build_schema().as_str()}\n")
