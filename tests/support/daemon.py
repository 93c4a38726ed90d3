"""The real program, started as a user would start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import children_named, workers_of
from tests.support.waiting import eventually
from tests.support.wire import Address

START_S = 20.0
STOP_S = 20.0
_COUNTED_S = 0.05  # behind what a client has seen, at most, unless the machine is busy


class Daemon:
    """A running appliance. `address` is where its first listener is; `log` holds what it said."""

    def __init__(
        self, process: subprocess.Popen[bytes], facts: dict[str, object], log: Path
    ) -> None:
        self.process = process
        self.pid = process.pid
        self.log = log
        listen = facts["listen"]
        assert isinstance(listen, list)
        self.addresses: list[str] = listen
        services = facts["services"]
        assert isinstance(services, dict)
        self.control_addresses: list[str] = services.get("control", [])
        self.address = _as_address(listen[0])
        counters = facts["counters"]
        assert isinstance(counters, dict)
        self._names: list[str] = counters["names"]
        # The shared memory has no name: it is reached through the supervisor that holds it open.
        self._memory = os.open(f"/proc/{self.pid}/fd/{counters['fd']}", os.O_RDONLY)

    @classmethod
    @contextmanager
    def serving(
        cls,
        *folders: Path,
        toml: str = "",
        workers: int = 2,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        module: str = "ocaserve",
    ) -> Iterator[Daemon]:
        """Serve the folders on a free port until the block ends.

        toml: settings beside the stores; tables of [[store]] are made from `folders`.
        module: what is run in place of the program itself.
        """
        with tempfile.TemporaryDirectory(prefix="ocaserve-test-") as scratch:
            config = Path(scratch, "ocaserve.toml")
            stores = "".join(f"\n[[store]]\npath = {json.dumps(str(f))}\n" for f in folders)
            config.write_text(toml + stores)
            command = ["serve", "-c", str(config), "--workers", str(workers), *arguments]
            tables = tomllib.loads(toml)
            if "listen" not in tables.get("serve", {}) and "--listen" not in arguments:
                command += ["--listen", "127.0.0.1:0"]
            if "control" not in tables and "--control" not in arguments:
                command += ["--control", f"unix:{scratch}/control"]
            daemon = cls.start(command, Path(scratch, "log"), environment, module)
            try:
                yield daemon
            finally:
                daemon.stop()

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        log: Path,
        environment: dict[str, str] | None = None,
        module: str = "ocaserve",
    ) -> Daemon:
        """Start with these words behind `ocaserve` and wait until all workers serve."""
        pipe_in, pipe_out = os.pipe()
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *command, "--ready-fd", str(pipe_out)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=(pipe_out,),
                env={**os.environ, **(environment or {})},
            )
        os.close(pipe_out)
        with os.fdopen(pipe_in) as ready:
            line = ready.readline()
        if not line:
            process.wait(STOP_S)
            raise AssertionError(f"did not start: {log.read_text()}")
        return cls(process, json.loads(line), log)

    def signal(self, number: signal.Signals) -> None:
        """Say something to the supervisor."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """Ask it to end; make it, if it does not."""
        os.close(self._memory)
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                for pid in self.workers():
                    os.kill(pid, signal.SIGKILL)
                self.process.kill()
                self.process.wait()

    def workers(self) -> list[int]:
        """The worker processes, oldest first."""
        return workers_of(self.pid)

    def control(self) -> int:
        """The control process, which takes its name a moment after the program is ready."""

        def find() -> int:
            pids = children_named(self.pid, "oca-control")
            return pids[0] if len(pids) == 1 else 0

        return eventually(find, "there is one control process")

    def service(self, name: str) -> int | None:
        """The process of another service, None while there is none."""
        pids = children_named(self.pid, f"oca-{name}")
        return pids[0] if len(pids) == 1 else None

    def counters(self) -> dict[str, int]:
        """Each counter and gauge, added up over all workers there have been."""
        time.sleep(_COUNTED_S)
        words, width = self._words(), len(self._names)
        return {name: sum(words[place::width]) for place, name in enumerate(self._names)}

    def counts_of_workers(self, name: str) -> list[int]:
        """One counter or gauge, for each slot that a worker has or may have."""
        return self._words()[self._names.index(name) :: len(self._names)]

    def _words(self) -> list[int]:
        data = os.pread(self._memory, os.fstat(self._memory).st_size, 0)
        return memoryview(data).cast("Q").tolist()


def _as_address(text: str) -> Address:
    if text.startswith("unix:"):
        return text.removeprefix("unix:")
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
