"""Owns the paths that are served."""

from __future__ import annotations

from typing import Final

GRAPHQL_PATH: Final = "/api/graphql"
STREAM_PATH: Final = f"{GRAPHQL_PATH}/stream"
METRICS_PATH: Final = "/api/metrics"
# What is asked for by whoever watches the process, and what pages are made of: neither counted nor traced.
WATCHED: Final = ("/livez", "/readyz", "/static/", METRICS_PATH)
