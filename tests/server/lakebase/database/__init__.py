"""Tests of server/lakebase/database."""
