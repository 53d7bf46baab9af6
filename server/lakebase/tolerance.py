"""Goes on when an operation cannot be stored, and logs each unforeseen cause once."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog

from schema.errors import UnavailableError
from server.db.errors import sqlstate
from server.lakebase.operations.table import LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.lakebase.operations.operation import OperationRecord

_log = structlog.get_logger(__name__)


class Tolerance:
    """Tolerates failures of the store while operations run."""

    def __init__(self) -> None:
        # The causes of unforeseen failures that have been logged, for each operation.
        self._logged: defaultdict[str, set[object]] = defaultdict(set)

    @contextlib.contextmanager
    def of(self, operation: OperationRecord) -> Iterator[None]:
        """Go on whatever failure of the store occurs, except for a lost lease."""
        try:
            yield
        except LeaseLostError:
            raise
        except UnavailableError:
            return
        except Exception as error:  # noqa: BLE001 # logged with its traceback
            log_once(self._logged[operation.id], error, "operation not stored", operation=operation.id)

    def forget(self, operation: OperationRecord) -> None:
        """Forget what was logged for an operation."""
        self._logged.pop(operation.id, None)


def log_once(logged: set[object], error: Exception, event: str, **values: str) -> None:
    """Log an unforeseen failure with its traceback, unless `logged` has its cause."""
    cause = type(error), sqlstate(error)
    if cause not in logged:
        logged.add(cause)
        _log.error(event, exc_info=error, **values)
