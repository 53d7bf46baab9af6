"""The number of hypothesis's examples: few in `make test`, many in `make faults`, and never with a time limit."""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, settings

from tests.support.calibration import MEASURES

# On a busy machine an example, or generating one, may take any time.
_PATIENT: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def be_patient() -> None:
    """Turn off hypothesis's time limits for all tests of this process."""
    settings.register_profile("patient", _PATIENT)
    settings.load_profile("patient")


def examples(few: int, *, many: int) -> int:
    """The number of examples."""
    return many if MEASURES else few
