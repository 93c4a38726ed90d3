"""Running commands in the machine, and saying on its console what came of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

PATIENCE_S = 180.0  # in emulation


def show(what: str, good: object) -> None:
    """A line on the console; the first that is bad ends the test."""
    print(f"systemd: {'good' if good else 'BAD '}  {what}", flush=True)
    if not good:
        print(run("journalctl", "--no-pager", "-n", "60", "-o", "short-monotonic"), flush=True)
        sys.exit(1)


def attempt(*words: str) -> tuple[int, str]:
    """Status and all that a command prints."""
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def run(*words: str) -> str:
    """What a command prints; it must not fail."""
    status, text = attempt(*words)
    if status:
        show(f"{' '.join(words)}: status {status}\n{text}", good=False)
    return text


def eventually(what: str, holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            show(what, good=False)
        time.sleep(1)
