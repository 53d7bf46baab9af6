"""Names that look like a user's, or that some rule of Unicode takes for the same, and that are other users' names."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

USER: Final = "kim.strasse@example.com"
LOOKALIKES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "the Kelvin sign": "\u212aim.strasse@example.com",
        "sharp s": "kim.stra\u00dfe@example.com",
        "a capital sharp s": "KIM.STRA\u1e9eE@EXAMPLE.COM",
        "long s": "kim.\u017ftrasse@example.com",
        "a ligature": "kim.\ufb06rasse@example.com",
        "dotless i": "k\u0131m.strasse@example.com",
        "a dotted capital I": "K\u0130M.STRASSE@EXAMPLE.COM",
        "a combining mark": "ki\u0307m.strasse@example.com",
        "fullwidth letters": "\uff4b\uff49\uff4d.strasse@example.com",
        "a fullwidth at sign": "kim.strasse\uff20example.com",
        "a Cyrillic letter": "kim.str\u0430sse@example.com",
        "a trailing dot": "kim.strasse@example.com.",
        "another kind of dot": "kim\u2024strasse@example.com",
    }
)
# These hide a character, and are no names at all.
HIDDEN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "NUL": f"{USER}\0",
        "a tab": "kim\t.strasse@example.com",
        "a no-break space": f"{USER}\u00a0",
        "an ideographic space": f"{USER}\u3000",
        "a zero-width space": "kim\u200b.strasse@example.com",
        "a zero-width joiner": f"{USER}\u200d",
        "a soft hyphen": "kim\u00ad.strasse@example.com",
        "a byte order mark": f"\ufeff{USER}",
        "a mark that turns the direction": f"\u202e{USER}",
    }
)
