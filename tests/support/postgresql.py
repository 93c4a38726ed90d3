"""A server of PostgreSQL of our own, on a local socket in a private folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import psycopg

from tests.support.waiting import eventually

_USER = "nobody"  # the server refuses to run as root


class PostgresqlServer:
    """`url`: of its database."""

    def __init__(self, folder: Path, *, fsync: bool) -> None:
        self._folder = folder
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://ocaserve@/postgres?host={folder}"

    @classmethod
    @contextmanager
    def running(cls, *, fsync: bool = False) -> Iterator[PostgresqlServer]:
        """Until the block ends. fsync: whether it may lose nothing when the machine does."""
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        server = cls(folder, fsync=fsync)
        try:
            server._prepare()
            server.start()
            yield server
        finally:
            server.stop(signal.SIGINT)
            shutil.rmtree(folder)

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        words = ["-A", "trust", "-U", "ocaserve", "-E", "UTF8", "--no-sync", "--no-instructions"]
        made = [find_program("initdb"), "-D", str(self._folder / "data"), *words]
        subprocess.run(made, check=True, capture_output=True, **self._as_user())

    def _as_user(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        return {"user": _USER, "group": pwd.getpwnam(_USER).pw_gid, "extra_groups": []}

    def start(self) -> None:
        words = [
            "-D", str(self._folder / "data"), "-k", str(self._folder), "-c", "listen_addresses=",
            "-c", f"fsync={'on' if self._fsync else 'off'}", "-c", "shared_buffers=128MB",
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [find_program("postgres"), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_user(),
            )  # fmt: skip
        eventually(self._answers, "the server answers", timeout_s=30)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: int = signal.SIGKILL) -> None:
        """By default as by a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


def find_program(name: str) -> str:
    """Debian keeps them where the PATH does not look."""
    found = shutil.which(name) or max(glob(f"/usr/lib/postgresql/*/bin/{name}"), default="")
    assert found, f"{name} is needed: the package postgresql"
    return found
