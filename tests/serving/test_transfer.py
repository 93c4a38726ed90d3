"""The steps of one response: in which order, up to where, and what is counted when."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.protocol.messages import ByteRange, ResponsePlan
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import COUNTERS, Count
from ocaserve.serving.object_tally import ObjectTally
from ocaserve.serving.outlet import FileOutlet
from ocaserve.serving.readiness import READ, WRITE
from ocaserve.serving.sending import Sender
from ocaserve.serving.socket_watch import SocketWatch
from ocaserve.serving.source import Source
from ocaserve.serving.transfer import Transfer, TransferTerms
from ocaserve.settings import Limits

MIB = 1 << 20
HEAD = b"HTTP/1.1 206 Partial Content\r\n\r\n"
STORE_PLACE = len(COUNTERS) - 1


class Taking:
    """A sender whose socket takes what it is told to; what it was asked to send is in `asked`."""

    asks_residency = True

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, int, int]] = []
        self.takes: list[int] = []
        self.is_file_ended = False

    def send(self, _: socket.socket, head: bytes, file: int, offset: int, count: int) -> int:
        assert count > 0, "to FreeBSD, that is the whole file"
        self.asked.append((head, offset, count))
        if self.is_file_ended:
            return 0
        taken = self.takes.pop(0) if self.takes else len(head) + count
        if not taken:
            raise BlockingIOError
        return taken

    def send_bytes(self, sock: int, file: int, offset: int, count: int, /) -> int:
        return self.send(cast(socket.socket, None), b"", file, offset, count)

    def cork(self, sock: socket.socket, *, corked: bool) -> None:
        pass


class Stage:
    """A transfer, its owner, and everything round them."""

    def __init__(self, sock: socket.socket) -> None:
        self.sender = Taking()
        self.counts = [0] * len(COUNTERS)
        self.library = SimpleNamespace(tick=100)
        self.asked_ranges: list[tuple[int, int]] = []
        self.is_overwritten = False
        self.ended: list[CloseReason | None] = []
        self.passed_on: list[int] = []
        self.left = 0
        self.jobs: list[Callable[[object], None]] = []  # what hears a thread's outcome
        self.is_in_memory = True
        self.soon: list[Callable[[], None]] = []
        self.file = SimpleNamespace(
            descriptor=9, changed=False, content=None, key=b"k", sent=0,
            residency=SimpleNamespace(is_resident=self._is_resident, confirm=lambda *_: None),
            store=SimpleNamespace(
                library=self.library, bytes_place=STORE_PLACE, is_local=True, reads_ahead=True,
                reads=SimpleNamespace(submit=lambda _, done: self.jobs.append(done)),
            ),
            is_overwritten=lambda: self.is_overwritten, hold=lambda: None, release=lambda: None,
            read_from_disk=lambda *_: None,
        )  # fmt: skip
        self.terms = TransferTerms(
            cast(Any, SimpleNamespace(call_soon=self.soon.append)), Limits(),
            cast(memoryview, self.counts), ObjectTally(), cast(Any, None), 2 * MIB, 0,
        )  # fmt: skip
        self.open(sock)

    def open(self, sock: socket.socket) -> None:
        """Have the transfer send to this socket."""
        outlet = FileOutlet(cast(Sender, self.sender), sock)
        readiness: Any = SimpleNamespace(change=lambda *_: None)
        watch = SocketWatch(readiness, sock.fileno(), self)
        self.transfer = Transfer(self.terms, outlet, watch, self)

    def _is_resident(self, start: int, stop: int, tick: int) -> bool:
        self.asked_ranges.append((start, stop))
        return self.is_in_memory

    def response_waits(self) -> None:
        pass

    def response_over(self, reason: CloseReason | None) -> None:
        self.ended.append(reason)

    def response_left(self) -> None:
        self.left += 1

    def close(self, reason: CloseReason) -> None:
        raise AssertionError(reason)

    def contain(self, defect: Exception, /) -> None:
        raise defect

    def on_ready(self, events: int) -> None:
        self.passed_on.append(events)

    def take_over(self, stop: int, taken: int) -> None:
        """The short way has begun to answer with bytes 0 up to `stop`."""
        plan = ResponsePlan(206, HEAD, (ByteRange(0, stop),), stop, True)
        self.transfer.take_over(plan, cast(Source, self.file), taken)

    def begin(self, *segments: bytes | ByteRange) -> None:
        """Begin an answer of these ranges, and delimiters before them."""
        length = sum(len(s) if isinstance(s, bytes) else s.stop - s.start for s in segments)
        plan = ResponsePlan(206, HEAD, segments, length, True)
        self.transfer.begin(plan, cast(Source, self.file))

    def write(self, *takes: int) -> None:
        """The socket takes so much in each of the next steps."""
        for taken in takes:
            self.sender.takes = [taken] if taken else [0, 0]  # a full socket is tried twice
            self.transfer.on_ready(WRITE)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with socket.socket() as sock:
        yield Stage(sock)


def test_steps_go_on_where_the_last_ended(stage: Stage) -> None:
    stage.take_over(16 * MIB, len(HEAD) + MIB)
    stage.write(0, MIB, 2 * MIB, 3)
    positions = [offset for _, offset, _ in stage.sender.asked]
    assert positions == [MIB, MIB, MIB, 2 * MIB, 4 * MIB]
    assert all(head == b"" for head, _, _ in stage.sender.asked)


def test_steps_are_counted_whenever_somebody_asks(stage: Stage) -> None:
    stage.take_over(16 * MIB, len(HEAD) + MIB)
    stage.write(MIB, MIB)
    assert stage.transfer.count_sent() == 3 * MIB
    assert stage.transfer.count_sent() == 3 * MIB
    assert stage.counts[Count.BYTES_SENDFILE_HOT] == stage.counts[STORE_PLACE] == 3 * MIB
    stage.write(MIB)
    stage.transfer.judge(0.0)
    assert stage.counts[Count.BYTES_SENDFILE_HOT] == stage.transfer.progress.from_file == 4 * MIB


def test_memory_is_asked_about_once_for_several_steps(stage: Stage) -> None:
    stage.take_over(32 * MIB, len(HEAD) + MIB)
    stage.write(MIB, MIB, MIB, MIB)
    assert stage.asked_ranges == [(MIB, 9 * MIB)]
    stage.write(MIB, MIB, MIB, MIB)
    assert stage.asked_ranges == [(MIB, 9 * MIB), (8 * MIB, 16 * MIB)]


def test_answer_about_memory_expires(stage: Stage) -> None:
    stage.take_over(32 * MIB, len(HEAD) + MIB)
    stage.library.tick += 7
    stage.write(MIB)
    assert len(stage.asked_ranges) == 1
    stage.library.tick += 1
    stage.write(MIB)
    assert len(stage.asked_ranges) == 2


@pytest.mark.parametrize("taken", [1, len(HEAD) - 1, len(HEAD)])
def test_rest_of_the_head_goes_first(stage: Stage, taken: int) -> None:
    stage.take_over(8 * MIB, taken)
    stage.write(len(HEAD) - taken + 5)
    stage.write(7)
    assert [(head, offset) for head, offset, _ in stage.sender.asked] == [
        (HEAD[taken:], 0),
        (b"", 5),
    ]


def test_delimiter_goes_before_its_range(stage: Stage) -> None:
    stage.sender.takes = [len(HEAD) + 3 + MIB]
    stage.begin(b"--a", ByteRange(8 * MIB, 12 * MIB), b"--b", ByteRange(0, 4 * MIB))
    stage.write(0, MIB, 2 * MIB, MIB, MIB)
    heads = [(head, offset) for head, offset, _ in stage.sender.asked]
    assert (b"--b", 0) in heads
    assert [head for head, _ in heads if head] == [HEAD + b"--a", b"--b"]


def test_whole_response_ends(stage: Stage) -> None:
    stage.take_over(4 * MIB, len(HEAD) + MIB)
    stage.write(2 * MIB, MIB)
    assert stage.ended == [None]
    assert stage.transfer.progress.from_file == 4 * MIB


@pytest.mark.parametrize(
    ("is_overwritten", "ended"), [(True, CloseReason.SHORT_BODY), (False, None)]
)
@pytest.mark.parametrize("ticks", [0, 20])
def test_file_is_compared_before_the_last_step(
    stage: Stage, ticks: int, is_overwritten: bool, ended: CloseReason | None
) -> None:
    stage.take_over(5 * MIB, len(HEAD) + MIB)
    stage.write(2 * MIB)
    stage.library.tick += ticks
    stage.is_overwritten = is_overwritten
    stage.write(2 * MIB)
    assert stage.ended == [ended]
    assert stage.counts[STORE_PLACE] == (3 if is_overwritten else 5) * MIB


def test_file_is_compared_again_when_the_last_step_has_waited(stage: Stage) -> None:
    """The client may take its time between two parts of it."""
    stage.take_over(3 * MIB, len(HEAD) + MIB)
    stage.write(MIB)
    stage.is_overwritten = True
    stage.write(MIB)
    assert stage.ended == [CloseReason.SHORT_BODY]
    assert stage.counts[STORE_PLACE] == 2 * MIB


@pytest.mark.parametrize(
    ("outcome", "sent"),
    [
        pytest.param(len(HEAD) + 5000, 5000, id="a_part"),
        pytest.param(len(HEAD) - 1, 0, id="not_even_the_head"),
        pytest.param(BrokenPipeError(), 0, id="nothing"),
    ],
)
def test_thread_comes_back_to_an_abandoned_response(
    stage: Stage, outcome: object, sent: int
) -> None:
    """What it has sent is counted, and then the owner hears of it."""
    stage.is_in_memory = False
    stage.begin(ByteRange(0, 4 * MIB))
    assert stage.transfer.is_busy
    stage.transfer.abandon()
    assert stage.left == 0
    (done,) = stage.jobs
    done(outcome)
    assert (stage.left, stage.ended) == (1, [])
    assert stage.transfer.count_sent() == stage.transfer.progress.from_file == sent
    assert stage.counts[Count.BYTES_SENDFILE_COLD] == stage.counts[STORE_PLACE] == sent


def test_changed_file_ends_the_response(stage: Stage) -> None:
    stage.take_over(16 * MIB, len(HEAD) + MIB)
    stage.file.changed = True
    stage.write(MIB)
    assert stage.ended == [CloseReason.SHORT_BODY]
    assert stage.sender.asked == []


def test_shrunk_file_ends_the_response(stage: Stage) -> None:
    stage.take_over(16 * MIB, len(HEAD) + MIB)
    stage.sender.is_file_ended = True
    stage.transfer.on_ready(WRITE)
    assert stage.ended == [CloseReason.SHORT_BODY]


@pytest.mark.parametrize("events", [READ, READ | WRITE, 0x18])
def test_other_events_are_the_connections(stage: Stage, events: int) -> None:
    stage.take_over(16 * MIB, len(HEAD) + MIB)
    stage.transfer.on_ready(events)
    assert stage.passed_on == [events]
    assert stage.sender.asked == []


@pytest.mark.parametrize("taken", [1, len(HEAD), len(HEAD) + 3])
def test_rest_of_a_small_object_is_copied(stage: Stage, taken: int) -> None:
    """The short way began with it; its bytes are counted with those that were copied."""
    near, far = socket.socketpair()
    with near, far:
        stage.file.content = b"0123456789"
        stage.open(far)
        stage.take_over(10, taken)
        stage.transfer.on_ready(WRITE)
        assert near.recv(1000) == (HEAD + b"0123456789")[taken:]
    assert stage.ended == [None]
    assert stage.counts[Count.BYTES_COPIED] == stage.counts[STORE_PLACE] == 10
    assert stage.counts[Count.BYTES_SENDFILE_HOT] == 0
    assert stage.sender.asked == []
