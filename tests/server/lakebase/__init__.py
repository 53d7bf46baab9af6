"""Tests of server/lakebase within the process."""
