"""Tests of server/auth, from outside the real process."""
