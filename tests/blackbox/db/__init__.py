"""Tests of server/db, from outside the real process."""
