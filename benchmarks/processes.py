"""Starting and ending programs, each on its core, and never leaving one behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple

from benchmarks.errors import LoadFailure
from benchmarks.measure import is_same, process_tree

ROOT = Path(__file__).parents[1]
INTERRUPTED = 130  # as shells report a program that ctrl-C ended
_GRACE_S = 5.0


class Cores(NamedTuple):
    """Where the server runs, and where the clients and this program do."""

    server: int
    clients: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """The first two that this process may use."""
        first, second, *_ = sorted(os.sched_getaffinity(0))
        return cls(first, second)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Programs started inside inherit the core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """TERM, HUP and ctrl-C end the run the same way: once, and with all cleaning up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        for one in watched:  # a second one must not disturb the cleaning up
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, interrupt) for one in watched}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def running(
    command: Sequence[str], log: Path, core: int | None = None, **streams: Any
) -> Iterator[subprocess.Popen[str]]:
    """A program in a session of its own; it and its descendants are ended at the end.

    What it says goes to `log`, except for streams given as to subprocess.Popen. It runs on `core`,
    or where this process runs.
    """
    with log.open("a") as said, on_core(core) if core is not None else nullcontext():
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(),
            text=True,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said, **streams},
        )
    try:
        yield process
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    """Ours, but Python may keep its byte code, as installed programs do: else starts compile."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _end(process: subprocess.Popen[str]) -> None:
    tree = process_tree(process.pid)
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    for pid, times in tree.items():
        if is_same(pid, times):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def last_words(log: Path) -> str:
    """The end of what a program said, for an error message."""
    return " | ".join(log.read_text(errors="replace").split("\n")[-4:]).strip(" |")


class ClientProgram:
    """A program of `clients/` while it runs. Raises LoadFailure when it says nothing."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    def wait_for_begin(self) -> None:
        """Return when its measured time begins."""
        if self._next() != "begin":
            raise LoadFailure(f"{self._name}: no beginning")

    def findings(self) -> dict[str, Any]:
        """What it found, at its end; tells it to end if it waits for that."""
        _stream(self._process.stdin).close()
        found: dict[str, Any] = self._next()
        return found

    def _next(self) -> Any:
        line = _stream(self._process.stdout).readline()
        if not line:
            raise LoadFailure(f"{self._name} ended early: {last_words(self._log)}")
        return json.loads(line)


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@contextmanager
def client(name: str, log: Path, **options: object) -> Iterator[ClientProgram]:
    """A program of `clients/`, started with options."""
    command = [sys.executable, "-m", f"benchmarks.clients.{name}", json.dumps(options)]
    pipe = subprocess.PIPE
    with running(command, log, stdin=pipe, stdout=pipe) as process:
        yield ClientProgram(name, process, log)
