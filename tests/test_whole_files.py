"""Files that are replaced in one step, in folders where others can write too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocaserve.whole_files import can_others_write, replace_file


def test_replaces(tmp_path: Path) -> None:
    """Contents and mode; nothing is left beside it."""
    file = tmp_path / "file"
    for data in (b"old", b"new"):
        replace_file(file, data, mode=0o400, durable=True)
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o400
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["file", f".file.{os.getpid()}.new"], ids=["itself", "draft"])
@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_link_that_another_has_put_there(tmp_path: Path, name: str, make: object) -> None:
    """What it leads to is not touched, and not given away."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"root's")
    before = precious.stat()
    folder = tmp_path / "folder"
    folder.mkdir()
    assert callable(make)
    make(precious, folder / name)
    replace_file(folder / "file", b"ours", owner=(os.getuid(), os.getgid()))
    assert precious.read_bytes() == b"root's"
    assert precious.stat().st_mode == before.st_mode
    assert (folder / "file").read_bytes() == b"ours"
    assert not (folder / "file").is_symlink()


def test_cannot_be_written(tmp_path: Path) -> None:
    """The file is as it was, and no draft stays."""
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "file", b"data")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("mode", "is_so"),
    [(0o700, False), (0o755, False), (0o775, True), (0o777, True), (0o1777, False)],
)
def test_whose_folder(tmp_path: Path, mode: int, is_so: bool) -> None:
    """In a sticky one each has files of its own."""
    tmp_path.chmod(mode)
    assert can_others_write(tmp_path) is is_so


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folder_of_another(tmp_path: Path) -> None:
    """That one can replace what we put there."""
    os.chown(tmp_path, 65_534, 65_534)
    assert can_others_write(tmp_path)
