"""Tests of schema/tables."""
