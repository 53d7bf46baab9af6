"""Owns where in a document something stands: its lines are looked for once, however much is wrong with it."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from typing import Final

from graphql import Source
from graphql.language import SourceLocation

_LINE_END: Final = re.compile(r"\r\n|[\n\r]")


class IndexedSource(Source):
    """graphql-core's, which for the place of each error would go through the text from its beginning."""

    @cached_property
    def _lines(self) -> list[int]:
        """The positions at which lines begin."""
        return [0, *(end.end() for end in _LINE_END.finditer(self.body))]

    def get_location(self, position: int) -> SourceLocation:
        """The line and the column of a position, both from 1 on."""
        line = bisect_right(self._lines, position)
        return SourceLocation(line, position + 1 - self._lines[line - 1])
