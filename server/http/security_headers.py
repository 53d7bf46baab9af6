"""Owns the headers that tell a browser what it must not make of an answer.

`strict-transport-security` is not among them: whoever speaks TLS for the server says for how long its name is to be
asked by TLS alone, for that holds for all that is served under the name.
"""

from __future__ import annotations

from typing import Final

# Nothing is taken for a script or a page that is not said to be one, and no page of another origin embeds it unread.
EVERY_ANSWER: Final = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
EVERY_ANSWER_RAW: Final = tuple((name.encode(), value.encode()) for name, value in EVERY_ANSWER.items())
# Beside its content security policy: nobody frames the page, holds its window, or learns of it from a link.
PAGE: Final = {
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
