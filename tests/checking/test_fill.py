"""What fill meets on a machine."""

from __future__ import annotations

import os
import zoneinfo
from pathlib import Path
from typing import Any

import pytest

from ocaserve.checking.unit import Unit, sandbox_look
from ocaserve.daily_window import read_zone
from ocaserve.fill.process import read_authorization
from ocaserve.settings import load_settings
from ocaserve.settings.fill import Fill
from tests.support.checked import degraded_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "disk1").mkdir()
    return tmp_path


def write(folder: Path, **fill: str) -> str:
    lines = "".join(f'{key} = "{value}"\n' for key, value in fill.items())
    file = folder / "ocaserve.toml"
    file.write_text(f'[fill]\n{lines}[[store]]\npath = "disk1"\n')
    return str(file)


def test_all_well(folder: Path) -> None:
    token = folder / "token"
    token.write_text("secret-token\n")
    token.chmod(0o600)
    assert degraded_of(write(folder, token_file="token")) == []


def test_store_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is served from; only fill does without."""
    access = os.access

    def refuse(path: Any, mode: int) -> bool:
        return access(path, mode) and not mode & os.W_OK

    monkeypatch.setattr(os, "access", refuse)
    [fault] = [each for each in degraded_of(write(folder)) if "store[0]" in each]
    assert fault.endswith("nothing can be fetched into it; must be a directory that can be written")
    (folder / "ocaserve.toml").write_text('[[store]]\npath = "disk1"\n')
    assert degraded_of(str(folder / "ocaserve.toml")) == []


def test_unit_that_hides_stores(folder: Path) -> None:
    """The systemd unit must let them be written, too."""
    settings = load_settings(write(folder))
    look = sandbox_look(Unit("", {"ProtectSystem": "strict"}))
    keys = {finding.key for finding in look(settings)}
    writes_tmp = str(folder).startswith(("/tmp/", "/var/tmp/"))
    assert ("store[0].path" in keys) is not writes_tmp


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param(None, "No such file or directory", id="gone"),
        pytest.param("no certificate", "no certificate can be read from it", id="odd"),
    ],
)
def test_authorities(folder: Path, text: str | None, why: str) -> None:
    if text is not None:
        (folder / "ca.pem").write_text(text)
    [fault] = degraded_of(write(folder, ca_file="ca.pem"))
    assert "fill.ca_file" in fault
    assert why in fault


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        pytest.param(None, 0, "No such file or directory", id="gone"),
        pytest.param("secret", 0o644, "others can read it", id="open"),
        pytest.param("", 0o600, "must be a token", id="empty"),
        pytest.param("sec\x01ret", 0o600, "must be a token", id="control"),
        pytest.param("sec ret", 0o600, "must be a token", id="space"),
    ],
)
def test_token(folder: Path, text: str | None, mode: int, why: str) -> None:
    """Said, never shown."""
    file = folder / "token"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    [fault] = degraded_of(write(folder, token_file="token"))
    assert "fill.token_file" in fault
    assert why in fault
    assert "sec" not in fault
    if mode != 0o644:
        assert read_authorization(Fill(token_file=str(file))) == {}


def test_machine_without_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC, the default, needs no database; for others it is said what is missing."""
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    monkeypatch.setattr("ocaserve.daily_window.available_timezones", set)
    monkeypatch.setitem(__import__("sys").modules, "tzdata", None)
    try:
        assert read_zone("UTC").utcoffset(None) is not None
        with pytest.raises(ValueError, match="package tzdata"):
            read_zone("Europe/Berlin")
    finally:
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()
