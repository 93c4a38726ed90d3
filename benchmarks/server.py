"""A peer that runs: started on its core, ready to answer, ended whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.certificate import Pair
from benchmarks.clients.wire import BadAnswer, Client
from benchmarks.errors import LoadFailure
from benchmarks.measure import cpu_seconds, process_tree, pss_kib
from benchmarks.peers import Peer
from benchmarks.processes import last_words, running
from benchmarks.store import Store

_READY_S = 20.0
_POLL_S = 0.001


class Server:
    """A running peer. `startup_s`: from the start of its program to the end of its first answer.

    port: where the scenario's clients go. is_tls: whether they speak TLS there.
    """

    def __init__(self, pid: int, port: int, startup_s: float, *, is_tls: bool, status: int) -> None:
        self.pid = pid
        self.port = port
        self.startup_s = startup_s
        self.is_tls = is_tls
        self._status = status

    def cpu_s(self) -> float:
        """CPU seconds that its whole process tree has used."""
        return cpu_seconds(self.pid)

    def memory_kib(self) -> int:
        """Proportional set size of its whole process tree."""
        return pss_kib(self.pid)

    def pids(self) -> list[int]:
        """Its processes."""
        return list(process_tree(self.pid))

    def reload(self) -> None:
        """Ask it to read its configuration and replace its workers."""
        os.kill(self.pid, signal.SIGHUP)

    def touch(self, store: Store, range_bytes: int) -> None:
        """Ask for the beginning of each object once, so that files are open and code is paged in.

        Raises LoadFailure if an answer is wrong.
        """
        client = Client(self.port, is_tls=self.is_tls)
        try:
            for key in store.keys:
                client.get(key, 0, range_bytes - 1, self._status)
        except (BadAnswer, OSError) as error:
            raise LoadFailure(f"the server does not answer as it should: {error}") from error
        finally:
            client.close()


@contextmanager
def serving(
    peer: Peer,
    store: Store,
    base_port: int,
    range_bytes: int,
    core: int,
    scratch: Path,
    pair: Pair | None = None,
) -> Iterator[Server]:
    """The peer, answering. Its configuration and logs lie below `scratch`, and go at the end.

    pair: for TLS; without it there is none. Raises LoadFailure if it does not come up.
    """
    is_tls = pair is not None
    status = 206 if peer.reply_bytes is None else 200
    ports = peer.ports(base_port)
    port = ports["tls_port" if is_tls else "port"]
    with TemporaryDirectory(dir=scratch, prefix=f"{peer.name}-") as folder:
        values = {
            "folder": folder,
            "store": str(store.folder),
            **{name: str(number) for name, number in ports.items()},
            **(pair.as_values() if pair is not None else {}),
            "python": sys.executable,
            "range_bytes": str(range_bytes),
        }
        configuration = peer.configuration(values, is_tls=is_tls)
        if configuration is not None:
            Path(folder, str(peer.template)).write_text(configuration)
        log = Path(folder, "said.log")
        start = time.monotonic()
        with running(peer.arguments(values), log, core) as process:
            begin = partial(Client, port, is_tls=is_tls)
            ask = partial(
                Client.get, key=store.keys[0], first=0, last=range_bytes - 1, status=status
            )
            _wait_until_ready(process, begin, ask, log)
            startup_s = time.monotonic() - start
            yield Server(process.pid, port, startup_s, is_tls=is_tls, status=status)


def _wait_until_ready(
    process: subprocess.Popen[str],
    begin: Callable[[], Client],
    ask: Callable[[Client], None],
    log: Path,
) -> None:
    deadline = time.monotonic() + _READY_S
    reason: Exception | None = None
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client = begin()
        except BadAnswer as error:
            raise LoadFailure(str(error)) from error
        except OSError as error:
            reason = error
            time.sleep(_POLL_S)
            continue
        try:
            ask(client)
        except (BadAnswer, OSError) as error:
            raise LoadFailure(f"its first answer is wrong: {error}") from error
        finally:
            client.close()
        return
    raise LoadFailure(f"did not come up ({reason}): {last_words(log)}")
