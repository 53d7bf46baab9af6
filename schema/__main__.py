"""Owns the printing of the schema: what schema.graphql holds."""

from __future__ import annotations

import sys

from schema import build_schema

sys.stdout.write(f"{build_schema().as_str()}\n")
