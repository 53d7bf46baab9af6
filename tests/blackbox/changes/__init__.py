"""Tests of server/changes, from outside the real process."""
