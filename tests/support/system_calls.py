"""Which system calls a running process makes, as strace sees them."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?).*")
_UNFINISHED = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")


@dataclass(frozen=True, slots=True)
class SystemCall:
    """One call. Descriptors stand in `arguments` with their paths: `9</srv/a.mp4>`."""

    name: str
    arguments: str
    result: int  # -1: it failed
    thread: int  # by the kernel's number; that of a process's first thread is its pid


@contextmanager
def traced(pids: Iterable[int], names: Iterable[str], folder: Path) -> Iterator[list[SystemCall]]:
    """Record calls of these names by all threads of the processes; the list fills at the end.

    Raises OSError when strace cannot attach: the message says why.
    """
    output = folder / "strace.out"
    wanted = list(pids)
    attach = [word for pid in wanted for word in ("-p", str(pid))]
    selection = "trace=" + ",".join(names)
    command = ["strace", "-f", "-y", "-s", "0", "-e", selection, "-o", str(output), *attach]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    calls: list[SystemCall] = []
    try:
        _await_attached(process, len(wanted))
        yield calls
    finally:
        process.send_signal(signal.SIGINT)  # strace detaches, and the processes go on
        process.communicate()
    calls.extend(_parse(output.read_text().splitlines()))


def _await_attached(process: subprocess.Popen[str], count: int) -> None:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if said.count(" attached") >= count:
            return
    raise OSError(f"strace cannot attach: {said}")


def _parse(lines: Iterable[str]) -> Iterator[SystemCall]:
    begun: dict[str, str] = {}  # by thread: a call that another thread's line has interrupted
    for line in lines:
        if unfinished := _UNFINISHED.fullmatch(line):
            begun[unfinished[1]] = f"{unfinished[1]} {unfinished[2]}({unfinished[3]}"
            continue
        if resumed := _RESUMED.fullmatch(line):
            line = begun.pop(resumed[1], f"{resumed[1]} {resumed[2]}(") + resumed[3]
        if whole := _WHOLE.fullmatch(line):
            thread, name, arguments, result = whole.groups()
            number = -1 if result == "?" else int(result, 0)
            yield SystemCall(name, arguments, number, int(thread))
