"""Tests of server/lakebase from outside, with the real server in front of the local Lakebase."""
