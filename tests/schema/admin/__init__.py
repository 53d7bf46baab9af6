"""Tests of schema/admin."""
