"""Each setting with values of every sort: a verdict, in lines that name the key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from ocaserve.checking import examine, stores
from ocaserve.checking.folders import FolderSight
from ocaserve.settings.manual import SECTIONS

VALUES = (
    "1", "-1", "0", "1.5", "nan", "inf", "99999999999999999999", "true", '""', '"x"', '"/"',
    '"a\\u0000b"', '"a\\nb"', '"\\u2028"', '"127.0.0.1:0"', '"unix:/"', "[]", "[1]", '["x", 2]',
    '[["x"]]', "{}", "{ x = 1 }", "[{}]", "[{ x = [1] }]", "1979-05-27", "07:32:00",
    "1979-05-27T07:32:00Z", '"' + "x" * 300 + '"', '["' + "x" * 300 + '"]', '"~"', '"../x"',
)  # fmt: skip
SETTINGS = [
    pytest.param(title, info.name, id=f"{title}{info.name}")
    for title, shape in SECTIONS
    for info in msgspec.structs.fields(shape)
]
SEEN = FolderSight("/disk1", "", is_writable=True)


@pytest.mark.slow
@pytest.mark.parametrize(("title", "name"), SETTINGS)
def test_some_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, name: str
) -> None:
    """A third of them, others for each setting."""
    try_values(tmp_path, monkeypatch, title, name, VALUES[len(name) % 3 :: 3])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("title", "name"), SETTINGS)
def test_any_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, name: str) -> None:
    try_values(tmp_path, monkeypatch, title, name, VALUES)


def try_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, name: str, values: Sequence[str]
) -> None:
    (tmp_path / "disk1").mkdir()
    if title != "[[store]]":  # 6,000 processes that look at it would take a minute
        monkeypatch.setattr(stores, "look_at_folders", lambda paths: dict.fromkeys(paths, SEEN))
    store = "" if title == "[[store]]" else '[[store]]\npath = "disk1"\n'
    for value in values:
        file = tmp_path / "ocaserve.toml"
        file.write_text(f"{title}\n{name} = {value}\n{store}")
        examined = examine(base=str(file))
        for finding in examined.findings:
            assert finding.key
            assert finding.line in (1, 2)
            assert "\n" not in str(finding)
            assert len(finding.text) < 1_000
            json.dumps(finding.as_json())
        if not examined.refused:
            assert examined.require() is examined.settings
