"""Clients that go on asking while the appliance changes, and tell what failed."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_PATIENCE_S = 120.0  # in emulation all is slow; a request that fails does so at once
_PAUSE_S = 0.5


def unchecked() -> ssl.SSLContext:
    """The certificate is made in the machine; who signed it is not what is tried."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fetch(path: str = "/film.bin", *, tls: bool = False, slowly: bool = False) -> bytes:
    """A whole object on a new connection. Raises OSError or HTTPException, also for a status."""
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection("127.0.0.1", 443, timeout=_PATIENCE_S, context=unchecked())
        if tls
        else http.client.HTTPConnection("127.0.0.1", 80, timeout=_PATIENCE_S)
    )
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"status {response.status}")
        body = bytearray()
        while piece := response.read(1 << 18):
            body += piece
            time.sleep(0.1 if slowly else 0)
        return bytes(body)
    finally:
        connection.close()


class Load:
    """While the block runs: HTTP and HTTPS on new connections, and one client that is slow."""

    def __init__(self, film: Path) -> None:
        self._want = hashlib.sha256(film.read_bytes()).digest()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, kwargs=how)
            for how in ({}, {"tls": True}, {"slowly": True})
        ]
        self.good = 0
        self.bad: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for(3)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is None:
            self.wait_for(6)
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        """Until so many more requests have been answered, or some have failed."""
        end, limit = self.good + count, time.monotonic() + 2 * _PATIENCE_S
        while self.good < end and not self.bad and time.monotonic() < limit:
            time.sleep(_PAUSE_S)

    def _ask(self, *, tls: bool = False, slowly: bool = False) -> None:
        os.nice(19)  # of this thread alone: what is tried has the processors first
        while not self._over.is_set():
            try:
                body = fetch(tls=tls, slowly=slowly)
            except (OSError, http.client.HTTPException) as error:
                self.bad.append(f"{'https' if tls else 'http'}: {error!r}")
            else:
                if hashlib.sha256(body).digest() == self._want:
                    self.good += 1
                else:
                    self.bad.append(f"{len(body)} bytes, and not those of the object")
            time.sleep(_PAUSE_S)

    def __str__(self) -> str:
        return f"{self.good} requests good, {len(self.bad)} failed {self.bad[:3] or ''}".rstrip()
