"""Tests of server/process, from outside the real process."""
