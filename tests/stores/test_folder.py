"""Which folder stands at a store's path, beside the one that is held."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocaserve.stores.folder import Folder, FolderIdentity, Sight, compare_folders, look_at_folder

DISK = FolderIdentity(8, 2, is_mount=True)
PLAIN = FolderIdentity(1, 77, is_mount=False)


@pytest.mark.parametrize(
    ("held", "found", "sight"),
    [
        pytest.param(None, PLAIN, Sight.OTHER, id="none_held"),
        pytest.param(PLAIN, PLAIN, Sight.SAME, id="same"),
        pytest.param(DISK, DISK._replace(is_mount=False), Sight.SAME, id="same_by_number"),
        pytest.param(PLAIN, PLAIN._replace(inode=78), Sight.OTHER, id="replaced"),
        pytest.param(PLAIN, DISK, Sight.OTHER, id="mounted_over"),
        pytest.param(DISK, FolderIdentity(9, 2, is_mount=True), Sight.OTHER, id="other_disk"),
        pytest.param(DISK, PLAIN, Sight.UNMOUNTED, id="unmounted"),
        pytest.param(DISK, FolderIdentity(8, 9, is_mount=False), Sight.OTHER, id="same_disk"),
    ],
)
def test_sight(held: FolderIdentity | None, found: FolderIdentity, sight: Sight) -> None:
    assert compare_folders(held, found) is sight


def test_folder_is_closed_with_its_last_holder(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    also = folder
    descriptor = folder.descriptor
    del folder
    os.fstat(descriptor)
    del also
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_replaced_folder_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    held = look_at_folder(str(path), None)
    assert held is not None
    assert look_at_folder(str(path), held.identity) is None
    path.rename(tmp_path / "before")
    with pytest.raises(FileNotFoundError):
        look_at_folder(str(path), held.identity)
    path.mkdir()
    found = look_at_folder(str(path), held.identity)
    assert found is not None
    assert found.identity.inode == path.stat().st_ino
