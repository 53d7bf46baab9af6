"""Has hypothesis be patient with a busy machine."""

from __future__ import annotations

from tests.support.examples import be_patient

be_patient()
