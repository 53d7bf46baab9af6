"""Owns the question who is calling, in each of the modes that there are."""

from __future__ import annotations

from server.auth.loopback import is_loopback

__all__ = ["is_loopback"]
