"""Tests of server/wire, from outside the real process."""
