"""Owns where in a document something stands: its lines are counted once, however much is wrong with it."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from typing import Final

from graphql import Source
from graphql.language import SourceLocation

# Counting the ends of lines of one takes a microsecond or two.
_BLOCK_CHARACTERS: Final = 1_024


class IndexedSource(Source):
    """graphql-core's, which for the place of each error would go through the text from its beginning."""

    @cached_property
    def _ends(self) -> list[int]:
        """How many lines have ended before each block, and before what would follow the last."""
        starts = range(0, len(self.body), _BLOCK_CHARACTERS)
        return [*accumulate((self._count(start, start + _BLOCK_CHARACTERS) for start in starts), initial=0)]

    def get_location(self, position: int) -> SourceLocation:
        """The line and the column of a position, both from 1 on."""
        block = position // _BLOCK_CHARACTERS
        line = 1 + self._ends[block] + self._count(block * _BLOCK_CHARACTERS, position)
        before = position - (self.body[position - 1 : position + 1] == "\r\n")
        start = 1 + max(self.body.rfind("\n", 0, position), self.body.rfind("\r", 0, before))
        return SourceLocation(line, position + 1 - start)

    def _count(self, start: int, end: int) -> int:
        """How many lines end in between. A carriage return before a line feed ends none."""
        both = self.body.count("\r\n", start, end + 1)
        return self.body.count("\n", start, end) + self.body.count("\r", start, end) - both
