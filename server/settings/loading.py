"""Loading the settings, and reporting every mistake in them at once, without their values."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from server.settings.server import PLATFORM_PORT, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

# Messages for mistakes whose message by pydantic means nothing to an operator.
_SENTENCES = {
    "string_pattern_mismatch": "its form is wrong; server/settings/README.md describes it",
    "too_short": "it needs at least {min_length} characters",
}


class SettingsError(Exception):
    """The settings are wrong. The message lists every mistake, and no value.

    Args:
        mistakes: pairs of a setting's name and what is wrong with it.
    """

    def __init__(self, mistakes: Iterable[tuple[str, str]]) -> None:
        lines = sorted(f"  {setting}: {sentence}" for setting, sentence in mistakes)
        super().__init__("\n".join(["The settings are wrong:", *lines]))


def load_settings() -> Settings:
    """Read the settings from the environment and `.env`.

    Raises:
        SettingsError: with a line for each mistake.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(
            (_variable(mistake["loc"]), sentence)
            for mistake in error.errors()
            for sentence in _sentence(mistake).split("\n")
        ) from None


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]).upper() if location else "settings"
    # pydantic names the first alias, whichever of them was set.
    return "PORT" if name == PLATFORM_PORT and name not in os.environ else name


def _sentence(mistake: Any) -> str:
    if own := _SENTENCES.get(mistake["type"]):
        return own.format(**mistake.get("ctx", {}))
    return re.sub(r"^Value error, ", "", mistake["msg"])
