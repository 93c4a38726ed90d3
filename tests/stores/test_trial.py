"""A bad file is no bad disk: what a trial counts, and from where on a store fails by it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocaserve.stores import trial as module
from ocaserve.stores.judging import Look, StoreEvent, judge_look
from ocaserve.stores.trial import Trial, try_objects

ERROR = OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("tried", "unreadable", "fails"),
    [
        (0, 0, False), (1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True), (3, 2, False),
        (5, 3, False), (16, 1, False), (16, 8, False), (16, 9, True), (16, 16, True),
    ],
)  # fmt: skip
def test_from_where_on_a_store_fails(tried: int, unreadable: int, fails: bool) -> None:
    assert Trial(tried, unreadable, ERROR if unreadable else None).fails(0.5) is fails


@pytest.mark.parametrize(
    ("look", "event", "why"),
    [
        pytest.param(Look(), StoreEvent.GOOD, "", id="nothing_tried"),
        pytest.param(Look(trial=Trial(16, 1, ERROR)), StoreEvent.GOOD, "", id="a_bad_file"),
        pytest.param(Look(ERROR), StoreEvent.BAD, "Input/output error", id="the_folder"),
        pytest.param(
            Look(trial=Trial(16, 12, ERROR)),
            StoreEvent.BAD,
            "Input/output error: 12 of 16 objects cannot be read",
            id="most_objects",
        ),
    ],
)
def test_judgement(look: Look, event: StoreEvent, why: str) -> None:
    assert judge_look(look, 0.5) == (event, why)


def fill(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}").write_bytes(b"x" * (number + 1))


def test_good_store(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "b", 10)
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere")
    assert try_objects(str(tmp_path), 100) == Trial(10, 0)


def test_no_more_are_tried_than_asked(tmp_path: Path) -> None:
    fill(tmp_path, 30)
    assert try_objects(str(tmp_path), 8).tried == 8


def test_empty_store_is_good(tmp_path: Path) -> None:
    assert try_objects(str(tmp_path), 8) == Trial(0, 0)


@pytest.mark.parametrize(
    ("code", "unreadable"),
    [(errno.EIO, 3), (errno.ENOKEY, 3), (errno.ENOENT, 0), (errno.EACCES, 0), (errno.EMFILE, 0)],
)
def test_what_cannot_be_read_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, unreadable: int
) -> None:
    """But for what is gone meanwhile, or may not be read: that says nothing of the disk."""
    fill(tmp_path, 10)

    def read(file: str, _: int) -> None:
        if Path(file).name in ("1", "2", "3"):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module, "_read_page", read)
    found = try_objects(str(tmp_path), 100)
    assert (found.tried, found.unreadable) == (10, unreadable)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        try_objects(str(tmp_path / "gone"), 8)
