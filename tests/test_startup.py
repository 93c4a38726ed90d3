"""What is put in order first, in interpreters of their own."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def run(
    folder: Path,
    expression: str,
    *,
    word: str = "",
    before: Callable[[], object] | None = None,
    environment: dict[str, str] | None = None,
) -> Any:
    """What the expression is after `prepare`, in a process that has printed something."""
    told = folder / "told"
    code = (
        "from ocaserve.startup import prepare; prepare(); import json, os, sys\n"
        "print('out'); print('err', file=sys.stderr)\n"
        f"found = {expression}\n"
        f"open({str(told)!r}, 'w').write(json.dumps(found))"
    )
    subprocess.run(
        [sys.executable, "-c", code, *word.split()],
        cwd=ROOT,
        preexec_fn=before,
        env={**os.environ, **(environment or {})},
        check=True,
    )
    return json.loads(told.read_text())


@pytest.mark.parametrize(
    "closed", [s for n in (1, 2, 3) for s in itertools.combinations(range(3), n)], ids=str
)
def test_closed_descriptors(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """Each is nothing by now, and what Python prints goes there."""

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    links = "[os.readlink(f'/proc/self/fd/{n}') for n in range(3)]"
    found = run(tmp_path, links, before=close)
    assert [found[n] for n in closed] == [os.devnull] * len(closed)


def test_path_is_of_absolute_places_only(tmp_path: Path) -> None:
    """Here and in what is started from here; those that somebody chose stay."""
    path, told, safe = run(
        tmp_path,
        "[sys.path, os.environ['PYTHONPATH'], os.environ['PYTHONSAFEPATH']]",
        environment={"PYTHONPATH": f":{tmp_path}:relative"},
    )
    assert str(tmp_path) in path
    assert "" not in path
    assert told.split(":")[0] == str(tmp_path)
    assert "relative" not in told
    assert safe == "1"


@pytest.mark.parametrize(
    ("word", "mask", "expected"),
    [
        ("serve", 0o022, 0o022),
        ("serve", 0o777, 0o077),
        ("fleet serve", 0o777, 0o077),
        ("fleet status", 0o777, 0o777),
        ("status", 0o777, 0o777),
    ],
)
def test_umask(tmp_path: Path, word: str, mask: int, expected: int) -> None:
    """What a service writes it can read; other commands do as they are told."""
    found = run(tmp_path, "os.umask(0)", word=word, before=partial(os.umask, mask))
    assert found == expected


@pytest.mark.parametrize("word", ["serve", "fleet serve", "status"])
def test_signals(tmp_path: Path, word: str) -> None:
    """None is blocked, but those that a service will hear are held back until it does."""

    def be_odd() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    blocked, ignored = run(
        tmp_path,
        "(lambda s: [sorted(map(int, s.pthread_sigmask(s.SIG_BLOCK, ()))),"
        " [n for n in (15, int(s.SIGCHLD), 1) if s.getsignal(n) is s.SIG_IGN]])"
        "(__import__('signal'))",
        word=word,
        before=be_odd,
    )
    held_back = sorted((signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2))
    assert blocked == (held_back if "serve" in word else [])
    assert ignored == ([] if "serve" in word else [signal.SIGTERM, signal.SIGHUP])
