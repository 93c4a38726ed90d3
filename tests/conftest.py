"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# No test asserts a time, so no property has a deadline; and a run that failed can be repeated.
settings.register_profile("ocaserve", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ocaserve")
