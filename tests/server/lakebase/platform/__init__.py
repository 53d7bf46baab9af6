"""Tests of the platform's calls and of what they return."""
