"""Tests of `make run` and of the local Lakebase."""
