"""How many examples hypothesis tries: few in `make test`, many in `make faults`; and never a time that one may take."""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, settings

from tests.calibration import MEASURES

# A busy machine may take any time for an example, or for making one up.
_PATIENT: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def be_patient() -> None:
    """Hold no example to a time, in all tests of this process."""
    settings.register_profile("patient", _PATIENT)
    settings.load_profile("patient")


def examples(few: int, *, many: int) -> int:
    """So many."""
    return many if MEASURES else few
