"""One directory of content as a worker holds it, with its open files, and threads of its own: a
slow disk delays no other.

Three kinds of threads, so that none waits behind another kind: for objects that are looked for
(`lookups`), for files that are open (`known`: compared, verified, closed), for reading (`reads`).
Others look at the store itself.
"""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ocaserve.lifecycle import advance
from ocaserve.protocol.messages import Representation
from ocaserve.serving.counters import FIRST_STORE_PLACE, STORE_COLUMNS
from ocaserve.serving.openers import Opener, choose_opener, open_without_links
from ocaserve.serving.pool import IoPool
from ocaserve.serving.residency import Residency
from ocaserve.serving.source import ENOUGH_AHEAD_BYTES
from ocaserve.stores.folder import Folder
from ocaserve.stores.judging import STORE_STATES, StoreEvent, StoreState

_LOOKUP_THREADS = 4  # apart from the threads that read, which may all be waiting for the disk
_KNOWN_THREADS = 2
LOOKUPS_AT_ONCE = 2 * _LOOKUP_THREADS
"""Look-ups that a store's threads have at a time: enough that no thread waits for the event loop,
and so few that their outcomes hold nobody up."""

_LOCAL_FILE_SYSTEMS = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
)


@dataclass(frozen=True, slots=True)
class Ground:
    """A store's folder, and what the system says of the file system that it is on."""

    folder: Folder
    open_below: Opener
    is_local: bool
    reads_ahead: bool

    @classmethod
    def of(cls, folder: Folder) -> Ground:
        """Asks the kernel, and so perhaps a server: for a thread. Raises OSError."""
        descriptor = folder.descriptor
        return cls(folder, choose_opener(descriptor), is_local(descriptor), reads_ahead(descriptor))


class Identity(NamedTuple):
    """What tells one version of a file from another."""

    device: int
    inode: int
    mtime_ns: int
    size: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        return cls(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


class Library(Protocol):
    """Whoever keeps files open. tick: its time, in quarters of a second."""

    tick: int

    def hold(self, file: OpenFile) -> None:
        """A response spans turns of the event loop, and sends this file."""

    def release(self, file: OpenFile) -> None:
        """That response is over."""

    def read_from_disk(self, file: OpenFile, start: int, stop: int) -> None:
        """A response had to read this part from disk."""

    def doubt(self, store: Store, error: OSError) -> None:
        """An object of the store could not be opened or read."""


class OpenFile:
    """One object, open: a `Source`. Shared by all responses that send it; closed after the last."""

    __slots__ = (
        "changed", "checked", "content", "descriptor", "dropped", "identity", "key", "refs",
        "representation", "residency", "seen", "sent", "store", "targets", "used",
    )  # fmt: skip

    def __init__(
        self, store: Store, key: bytes, descriptor: int, identity: Identity,
        representation: Representation, residency: Residency | None, content: bytes | None,
    ) -> None:  # fmt: skip
        self.store = store
        self.key = key
        self.descriptor = descriptor
        self.identity = identity
        self.representation = representation
        self.residency = residency  # None: not to be known, every range goes through a thread
        self.content = content  # the whole object, when it is small
        self.refs = 0  # responses that span turns, and jobs, which need the descriptor
        self.checked = 0  # tick of the last comparison with the file system
        self.used = 0  # tick of the last use
        self.dropped = False  # no longer in the catalogue
        self.changed = False  # overwritten in place: responses must be cut
        self.seen: set[int] = set()  # windows read from disk once (see `pages`)
        self.targets: list[bytes] = []  # that the catalogue knows it by
        self.sent = 0  # bytes of it that `demand` has not told

    def is_overwritten(self) -> bool:
        """Whether the open file is no longer what it was; `changed` from then on.

        On the event loop only if the store is local: otherwise it may wait for a server.
        """
        try:
            self.changed = self.changed or Identity.of(os.fstat(self.descriptor)) != self.identity
        except OSError:
            self.changed = True
        return self.changed

    def hold(self) -> None:
        self.store.library.hold(self)

    def release(self) -> None:
        self.store.library.release(self)

    def read_from_disk(self, start: int, stop: int) -> None:
        self.store.library.read_from_disk(self, start, stop)

    def fail(self, error: OSError) -> None:
        self.store.library.doubt(self.store, error)

    def close(self) -> None:
        """Close; no response may hold it."""
        if self.residency is not None:
            self.residency.close()
            self.residency = None
        os.close(self.descriptor)


class Store:
    """`state`, and `why` it is failed, follow from looks at it (see `failing`).

    folder: None until one could be opened. files: those that are open, the one used longest ago
    first. used: those used since they were last compared. sending: those that responses hold.
    """

    def __init__(
        self,
        path: str,
        loop: AbstractEventLoop,
        io_threads: int,
        column: int = STORE_COLUMNS - 1,
        most_waiting: int = 4096,
    ) -> None:
        """Opens nothing, and so waits for no disk. column: of the families of numbers by store."""
        self.path = path
        self.folder: Folder | None = None
        self.open_below: Opener = open_without_links
        self.lookups = IoPool(loop, f"lookup {path}", _LOOKUP_THREADS)
        self.known = IoPool(loop, f"known {path}", _KNOWN_THREADS)
        self.reads = IoPool(loop, f"read {path}", io_threads)
        self.looks = IoPool(loop, f"look {path}", 1)
        self.trials = IoPool(loop, f"try {path}", 1)
        self.most_waiting = most_waiting  # look-ups
        self.looking_up = 0  # look-ups that threads have
        self.library: Library  # whoever keeps its files; set before the first is open
        self.is_local = False
        self.reads_ahead = False
        self.state = StoreState.UNSEEN
        self.why = ""
        self.failures = 0  # looks in a row that found it bad
        self.looked = 0  # tick of the last look
        self.tried = 0  # tick of the last one that tried objects
        self.column = column
        self.bytes_place = FIRST_STORE_PLACE + column
        self.files: OrderedDict[OpenFile, None] = OrderedDict()
        self.used: set[OpenFile] = set()
        self.sending: dict[OpenFile, int] = {}
        self.is_comparing = False  # a batch of comparisons is under way

    @property
    def can_be_asked(self) -> bool:
        """Whether look-ups may go there, or wait for the first look."""
        return self.state is not StoreState.FAILED

    def take(self, ground: Ground) -> None:
        """Serve from this folder from now on."""
        self.folder = ground.folder
        self.open_below = ground.open_below
        self.is_local = ground.is_local
        self.reads_ahead = ground.reads_ahead

    def happen(self, event: StoreEvent, why: str = "") -> bool:
        """Whether the store failed or came back by it."""
        could_be_asked = self.can_be_asked
        self.state = advance(STORE_STATES, self.state, event)
        self.why = why if self.state is StoreState.FAILED else ""
        if event is not StoreEvent.DOUBT:
            self.failures = self.failures + 1 if event is StoreEvent.BAD else 0
        return self.can_be_asked is not could_be_asked


def is_local(folder: int) -> bool:
    """Whether the file system is one whose fstat(2) is answered from memory.

    Not known to be so: network and user-space file systems, where a server is asked.
    """
    device = os.fstat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                if before.split()[2] == wanted:
                    return after.split()[0] in _LOCAL_FILE_SYSTEMS
    except FileNotFoundError:  # FreeBSD: content lies on UFS or ZFS
        return True
    except OSError:
        return False
    return False


def reads_ahead(folder: int) -> bool:
    """Whether the kernel reads enough ahead from this disk by itself.

    Then it need not be advised, which costs a thread's turns of the interpreter, and a client whose
    bytes are in memory twice its latency (measured: 1.1 against 0.5 ms at the 99th percentile).
    """
    device = os.fstat(folder).st_dev
    setting = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    try:
        with open(setting) as file:
            return int(file.read()) * 1024 >= ENOUGH_AHEAD_BYTES
    except OSError:  # FreeBSD, or a file system of several disks
        return False
