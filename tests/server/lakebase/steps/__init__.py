"""Tests of steps: what is sent, and when, and what ends them."""
