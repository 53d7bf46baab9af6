"""Tests of schema/relay."""
