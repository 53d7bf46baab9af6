"""Tests of server/traffic, from outside the real process."""
