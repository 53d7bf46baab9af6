"""The server's settings, read once at its start from the environment and `.env`; `server.py` first.

`load_settings` returns a frozen `Settings`, or raises a `SettingsError` that lists every mistake.
"""

from __future__ import annotations

from server.settings.loading import SettingsError, load_settings
from server.settings.server import Settings

__all__ = ["Settings", "SettingsError", "load_settings"]
