"""Owns the paths that are served."""

from __future__ import annotations

from typing import Final

GRAPHQL: Final = "/api/graphql"
STREAM: Final = f"{GRAPHQL}/stream"
METRICS: Final = "/api/metrics"
LIVE: Final = "/livez"
READY: Final = "/readyz"
STATIC: Final = "/static"
# What is asked for by whoever watches the process, and what pages are made of: neither counted nor traced.
WATCHED: Final = (LIVE, READY, f"{STATIC}/", METRICS)
