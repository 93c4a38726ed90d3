"""What root leaves for the account that ExaBGP runs as."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from ocaserve.routing.exabgp import ExabgpPlan, become_user, make_feed_folder, owner_of, write_files
from ocaserve.settings.bgp import Bgp

USER = "nobody"
PLAN = ExabgpPlan("neighbor 192.0.2.1 {}", "[exabgp.log]", USER)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files to give away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where ExaBGP's files lie; every account can get there."""
    for parent in (tmp_path, *tmp_path.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    return make_feed_folder(tmp_path, Bgp(user=USER))


def as_user(act: Callable[[], object]) -> bool:
    """Whether the account can do it."""
    pid = os.fork()
    if not pid:
        try:
            become_user(USER)
            act()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def test_files_are_the_accounts_and_of_nobody_else(folder: Path) -> None:
    """It can read them."""
    write_files(PLAN, folder)
    for name in ("exabgp.conf", "exabgp.env"):
        status = (folder / name).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (pwd.getpwnam(USER).pw_uid, 0o400)
        assert as_user((folder / name).read_bytes)


def test_folder_is_not_the_accounts(folder: Path) -> None:
    """So it can put no link where root is about to write, be it for a moment."""
    write_files(PLAN, folder)
    place = folder / "exabgp.conf"
    assert not as_user(lambda: (folder / ".exabgp.conf.new").symlink_to("/etc/shadow"))
    assert not as_user(place.unlink)
    assert not as_user(lambda: place.rename(folder / "other"))
    assert not as_user(lambda: folder.rename(folder.with_name("other")))


def test_unknown_account() -> None:
    """The error names it."""
    with pytest.raises(OSError, match=r"bgp\.user = 'x-nobody': there is no such user"):
        owner_of("x-nobody")
