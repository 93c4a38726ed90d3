"""What the report tells besides routes is new when it matters, and not with each second."""

from __future__ import annotations

from typing import Any

import pytest

from ocaserve.control import sections
from ocaserve.control.sections import Steady


def test_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once in what matters, with all else as it is by then; else after the time."""
    now: dict[str, Any] = {"level": "ok", "sent": 1}
    clock = 100.0
    monkeypatch.setattr(sections, "monotonic", lambda: clock)
    section = Steady(lambda: dict(now), lambda it: it["level"], 30.0)
    assert section() == {"level": "ok", "sent": 1}
    now["sent"] = 2
    clock += 29.0
    assert section() == {"level": "ok", "sent": 1}
    now["level"] = "error"
    assert section() == {"level": "error", "sent": 2}
    now["sent"] = 3
    clock += 29.0
    assert section() == {"level": "error", "sent": 2}
    clock += 1.0
    assert section() == {"level": "error", "sent": 3}
