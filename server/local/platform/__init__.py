"""Owns a local Lakebase: the platform's REST over HTTP, and real PostgreSQLs behind it."""
