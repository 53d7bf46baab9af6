"""Has hypothesis be patient with a busy machine."""

from __future__ import annotations

from tests.examples import be_patient

be_patient()
