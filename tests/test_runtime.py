"""Where files of a running appliance go."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from ocaserve.errors import StartError
from ocaserve.runtime import find_state_folder, make_runtime_folder


def test_service_managers_folder(tmp_path: Path) -> None:
    """The first of several."""
    folder = make_runtime_folder({"RUNTIME_DIRECTORY": f"{tmp_path}:/nonexistent"})
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700


def test_other_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be in one is in the next, and it is said."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent/tmp")
    state = tmp_path / "state"
    state.mkdir()
    environment = {"RUNTIME_DIRECTORY": "/nonexistent/run", "STATE_DIRECTORY": str(state)}
    assert make_runtime_folder(environment).parent == state
    assert "RUNTIME_DIRECTORY = /nonexistent/run" in caplog.text
    assert "the folder of temporary files" in caplog.text


def test_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names each, and why not."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent/tmp")
    with pytest.raises(StartError, match=r"RUNTIME_DIRECTORY = /nonexistent/run.*temporary files"):
        make_runtime_folder({"RUNTIME_DIRECTORY": "/nonexistent/run"})


def test_state_folder() -> None:
    """The settings' comes before the service manager's."""
    assert find_state_folder("/a", {"STATE_DIRECTORY": "/b:/c"}) == Path("/a")
    assert find_state_folder("", {"STATE_DIRECTORY": "/b:/c"}) == Path("/b")
    assert find_state_folder("", {}) is None
