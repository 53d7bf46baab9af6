"""Tests of what every plan is made of."""
