"""A store on a slow or failing disk: a file system in user space over an ordinary directory.

Every operation can be delayed, held until the test lets go, or made to fail, for the paths and the
bytes a rule names. A held read is what proves that nothing waits for the disk: no time has to be
measured when the disk does not answer at all.

The kernel caches pages here as on a disk (no direct_io; auto_cache keeps them from one open to the
next), so mincore answers truly and bytes read once come from memory. Its read-ahead is left at the
default, 128 KiB a request. Inode numbers are those of the files below, or a reopened file would
look replaced. It is mounted without allow_other and default_permissions: the daemon under test runs
as the user who mounts it, and root needs neither.

The file system is a process of its own, since a process that waits for its own file system can wait
for ever. It ends, and unmounts, when its standard input does: a killed test leaves no mount behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any, Literal

# The binding takes libfuse 2 first where both are installed; only 3 comes with the fuse3 package.
os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")

Operation = Literal["getattr", "open", "opendir", "read"]
READ_DELAY_S = 0.2
_END_S = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to one operation on the paths (below the store) that match a shell pattern."""

    operation: Operation
    path: str
    delay_s: float = 0
    is_held: bool = False  # until the rules change
    error: int = 0  # an errno
    start: int = 0  # of reads: those that touch this byte or a later one
    ends_at: int | None = None  # of reads: there are no bytes from here on, whatever stat says

    def applies_to(self, operation: str, path: str, stop: int) -> bool:
        return operation == self.operation and stop > self.start and fnmatch(path, self.path)


class SlowStore:
    """The test's end: sets rules, and waits for operations to begin."""

    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        self.path = path
        self._process = process

    def set_rules(self, *rules: Rule) -> None:
        """Replace all rules; what is held and no longer ruled so goes on."""
        self._ask({"rules": [asdict(rule) for rule in rules]})

    def await_begun(self, operation: Operation, path: str, count: int = 1) -> None:
        """Return when `count` such operations have begun since the store was mounted."""
        self._ask({"await": [operation, path, count]})

    def count_begun(self, operation: Operation, path: str) -> int:
        """How many such operations have begun since the store was mounted."""
        return int(self._ask({"count": [operation, path]}))

    def _ask(self, question: dict[str, object]) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())


@contextmanager
def slow_store(source: Path, mount: Path) -> Iterator[SlowStore]:
    """Mount `source` on the empty directory `mount`; unmount it and end its process in any case."""
    command = [sys.executable, "-m", "tests.support.slow_store", str(source), str(mount)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_project()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != '"mounted"\n':
            raise OSError(f"{mount} was not mounted: the output above says why")
        yield SlowStore(mount, process)
    finally:
        process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            _unmount(mount)
        process.stdout.close()


def _project() -> Path:
    return Path(__file__).resolve().parents[2]


def _unmount(mount: Path) -> None:
    # Lazily: a reader that is held would keep the file system busy.
    subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False, stderr=subprocess.DEVNULL)


class _Rules:
    """The rules in force and the operations begun, shared by the threads of the file system."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rules: list[Rule] = []
        self._begun: Counter[tuple[str, str]] = Counter()

    def replace(self, rules: list[Rule]) -> None:
        with self._changed:
            self._rules = rules
            self._changed.notify_all()

    def await_begun(self, operation: str, pattern: str, count: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.count_begun(operation, pattern) >= count)

    def count_begun(self, operation: str, pattern: str) -> int:
        return sum(
            count
            for (known, path), count in self._begun.items()
            if known == operation and fnmatch(path, pattern)
        )

    def obey(self, operation: str, path: str, stop: int = 1) -> Rule | None:
        """Wait as the first rule that applies says, and return it; raises the OSError it asks."""
        with self._changed:
            self._begun[operation, path] += 1
            self._changed.notify_all()
            rule = self._find(operation, path, stop)
            while rule is not None and rule.is_held:
                self._changed.wait()
                rule = self._find(operation, path, stop)
        if rule is not None:
            time.sleep(rule.delay_s)
            if rule.error:
                raise OSError(rule.error, os.strerror(rule.error))
        return rule

    def _find(self, operation: str, path: str, stop: int) -> Rule | None:
        return next((rule for rule in self._rules if rule.applies_to(operation, path, stop)), None)


class _PassThrough:
    """The operations of the file system, in the form that mfusepy calls."""

    use_ns = True

    def __init__(self, source: str, rules: _Rules) -> None:
        self._source = source
        self._rules = rules

    def init_with_config(self, connection: Any, _config: Any) -> None:
        # Held reads are background requests; the kernel's default of 12 would hold all others too.
        connection.max_background = 1024
        _say("mounted")

    def getattr(self, path: str, file: int | None = None) -> dict[str, int]:
        self._rules.obey("getattr", path[1:])
        status = os.lstat(self._source + path) if file is None else os.fstat(file)
        names = (name for name in dir(status) if name.startswith("st_"))
        found = {name: getattr(status, name) for name in names}
        times = {name: found[name + "_ns"] for name in ("st_atime", "st_mtime", "st_ctime")}
        return found | times

    def opendir(self, path: str) -> int:
        self._rules.obey("opendir", path[1:])
        return 0

    def readdir(self, path: str, _file: int) -> list[tuple[str, dict[str, int], int]]:
        # With their inodes: names that have none are left out by readdir(3).
        folder = self._source + path
        names = [".", "..", *os.listdir(folder)]
        found = [(name, os.lstat(os.path.join(folder, name))) for name in names]
        return [(name, {"st_mode": st.st_mode, "st_ino": st.st_ino}, 0) for name, st in found]

    def readlink(self, path: str) -> str:
        return os.readlink(self._source + path)

    def open(self, path: str, flags: int) -> int:
        self._rules.obey("open", path[1:])
        # Direct reads come here, past the page cache; below, their buffers need no alignment.
        return os.open(self._source + path, flags & ~os.O_DIRECT)

    def read(self, path: str, size: int, offset: int, file: int) -> bytes:
        rule = self._rules.obey("read", path[1:], offset + size)
        if rule is not None and rule.ends_at is not None:
            size = max(0, min(size, rule.ends_at - offset))
        return os.pread(file, size, offset)

    def release(self, _path: str, file: int) -> int:
        os.close(file)
        return 0


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


def _answer(rules: _Rules, question: dict[str, Any]) -> int:
    match question:
        case {"rules": list() as given}:
            rules.replace([Rule(**rule) for rule in given])
            return len(given)
        case {"await": [operation, path, count]}:
            rules.await_begun(operation, path, count)
            return int(count)
        case {"count": [operation, path]}:
            return rules.count_begun(operation, path)
    raise ValueError(f"question {question!r}; allowed: rules, await, count")


def _answer_test(rules: _Rules, questions: IO[str], mount: Path) -> None:
    try:
        for question in questions:
            _say(_answer(rules, json.loads(question)))
    finally:
        _unmount(mount)
        os._exit(0)  # threads that are held would keep an ordinary exit waiting


def main(source: str, mount: str) -> None:
    """Serve the file system until the input ends."""
    import mfusepy  # here, because only this process needs libfuse

    rules = _Rules()
    threading.Thread(target=_answer_test, args=(rules, sys.stdin, Path(mount)), daemon=True).start()
    version = (mfusepy.fuse_version_major, mfusepy.fuse_version_minor)
    # libfuse 3.12 brought a limit of 10 threads, which held reads would use up; none before it.
    limits = ("max_threads", "max_idle_threads") if version >= (3, 12) else ()
    threads = dict.fromkeys(limits, 256)
    options = {"foreground": True, "use_ino": True, "auto_cache": True, "ro": True, **threads}
    mfusepy.FUSE(_PassThrough(source, rules), mount, **options)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
