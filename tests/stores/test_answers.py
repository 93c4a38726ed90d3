"""What an answer of the kernel says of an object, and which one is asked for again."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocaserve.stores.answers import insist, says_absent


class Answering:
    """A call that gives these errors one after the other, then 7."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise OSError(self.errors.pop(0), "")
        return 7


@pytest.mark.parametrize(
    ("errors", "calls"),
    [
        pytest.param([], 1, id="well"),
        pytest.param([errno.EAGAIN] * 3, 4, id="path_changed"),
        pytest.param([errno.EINTR] * 3, 4, id="interrupted"),
        pytest.param([errno.ESTALE], 2, id="stale"),
    ],
)
def test_transient_answer_is_asked_for_again(errors: list[int], calls: int) -> None:
    call = Answering(*errors)
    assert (insist(call), call.calls) == (7, calls)


@pytest.mark.parametrize(
    ("code", "calls"),
    [(errno.EIO, 1), (errno.ENOENT, 1), (errno.EMFILE, 1), (errno.ESTALE, 2), (errno.EINTR, 8)],
)
def test_lasting_answer_ends_it(code: int, calls: int) -> None:
    call = Answering(*[code] * 100)
    with pytest.raises(OSError) as raised:  # noqa: PT011 - its number is compared
        insist(call)
    assert (raised.value.errno, call.calls) == (code, calls)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "below").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("key", "code", "absent"),
    [
        (b"gone", errno.ENOENT, True),
        (b"file/below", errno.ENOTDIR, True),
        (b"x" * 300, errno.ENAMETOOLONG, True),
        (b"outside", errno.EXDEV, True),
        (b"circle", errno.ELOOP, True),
        (b"circle/below", errno.ELOOP, True),
        (b"fifo", errno.ENXIO, True),
        (b"below", errno.EACCES, True),
        (b"file", errno.ELOOP, False),
        (b"file", errno.EACCES, False),
        (b"link", errno.EACCES, False),
        (b"file", errno.ENXIO, False),
        (b"file", errno.EINVAL, False),
        (b"file", errno.EIO, False),
        (b"gone", errno.EIO, False),
        (b"file", errno.ESTALE, False),
        (b"file", errno.EMFILE, False),
        (b"file", errno.EAGAIN, False),
    ],
)
def test_only_what_is_known_not_to_be_there_is_absent(
    folder: int, key: bytes, code: int, absent: bool
) -> None:
    assert says_absent(folder, key, OSError(code, "")) is absent
