"""Opening below a store: links stay inside, every opener agrees on what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocaserve.serving.openers import Opener, choose_opener, open_openat2, open_without_links


@pytest.fixture
def store(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "store"
    (root / "a" / "b").mkdir(parents=True)
    (root / "top.mp4").write_bytes(b"top")
    (root / "a" / "b" / "deep.mp4").write_bytes(b"deep")
    (root / "inside").symlink_to("a/b/deep.mp4")
    (root / "outside").symlink_to("../secret")
    (root / "absolute").symlink_to(tmp_path / "secret")
    (root / "folder_out").symlink_to("..")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield folder
    os.close(folder)


openers = pytest.mark.parametrize("opener", [open_openat2, open_without_links])


def read(opener: Opener, store: int, path: bytes) -> bytes:
    descriptor = opener(store, path)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


@openers
@pytest.mark.parametrize(
    ("path", "content"), [(b"top.mp4", b"top"), (b"a/b/deep.mp4", b"deep")], ids=["top", "deep"]
)
def test_plain_files_open(opener: Opener, store: int, path: bytes, content: bytes) -> None:
    assert read(opener, store, path) == content


@openers
@pytest.mark.parametrize(
    "path",
    [b"outside", b"absolute", b"folder_out/secret", b"missing", b"top.mp4/below", b"a/missing/c"],
)
def test_what_is_not_below_the_store_does_not_open(opener: Opener, store: int, path: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):  # noqa: PT011 - which error differs between the openers
        opener(store, path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_link_inside_the_store_is_followed(store: int) -> None:
    assert read(open_openat2, store, b"inside") == b"deep"


def test_linux_resolves_in_the_kernel(store: int) -> None:
    assert choose_opener(store) is open_openat2
