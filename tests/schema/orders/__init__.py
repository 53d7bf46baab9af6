"""Tests of schema/orders."""
