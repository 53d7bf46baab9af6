"""All settings of the server, read from the environment once, at its start; `server.py` first."""

from __future__ import annotations

from server.settings.server import Settings, SettingsError, load_settings

__all__ = ["Settings", "SettingsError", "load_settings"]
