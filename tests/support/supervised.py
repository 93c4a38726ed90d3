"""A supervisor whose workers do as a test says: real processes, forked and watched for real.

Run as a program, it is the supervisor; its workers take their mood from a file when they start:

serve   answers each connection with its place, its pid and the site of its settings
fail    ends at once with status 3
mute    serves, but gives no sign of life
linger  serves, but does not end when it is told to
"""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ocaserve.errors import OcaserveError
from ocaserve.metrics import CounterSlot
from ocaserve.settings import Settings, load_settings
from ocaserve.supervisor import RestartTiming, Supervisor
from tests.support.clerk import clerk
from tests.support.waiting import eventually

TcpAddress = tuple[str, int]

_SETTINGS = '[appliance]\nsite = "{site}"\n[serve]\nlisten = {listen}\nworkers = {workers}\n'
_BEAT_S = 0.05
_STOP_S = 10.0


class Supervised:
    """A running supervisor, as a test sees it."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, ready: int) -> None:
        self.process = process
        self.pid = process.pid
        self.folder = folder
        self._ready = ready

    def await_ready(self) -> TcpAddress:
        """Wait until all workers serve; returns the address of the first listener."""
        with os.fdopen(self._ready) as ready:
            line = ready.readline()
        assert line, f"did not start: {self.log()}"
        host, _, port = json.loads(line)["listen"][0].rpartition(":")
        return host, int(port)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def await_logged(self, *texts: str, times: int = 1) -> None:
        """Wait until the log has each of these so many times."""
        eventually(
            lambda: all(self.log().count(text) >= times for text in texts),
            f"the log has {texts}, but has:\n{self.log()}",
        )

    def events(self) -> list[str]:
        """What the workers did, in order: "0 serves", "1 drains"."""
        return (self.folder / "events").read_text().splitlines()

    def await_event(self, text: str, times: int = 1) -> None:
        eventually(lambda: self.events().count(text) >= times, f"{text} in {self.events()}")

    def set_mood(self, *moods: str) -> None:
        """Of the workers that start from now on, by place; the last one is that of all others."""
        _write_whole(self.folder / "moods", json.dumps(moods))

    def set_clerk(self, name: str, mood: str) -> None:
        """Of a service's processes that start from now on."""
        moods = json.loads((self.folder / "clerks").read_text())
        _write_whole(self.folder / "clerks", json.dumps({**moods, name: mood}))

    def configure(self, toml: str) -> None:
        """Other settings, for the next reload."""
        write_settings(self.folder, toml)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(_STOP_S)


def ask(address: TcpAddress) -> tuple[int, int, str]:
    """Which worker answers: its place, its pid, the site of its settings."""
    with socket.create_connection(address, timeout=_STOP_S) as sock:
        place, pid, site = sock.makefile().readline().split(" ")
    return int(place), int(pid), site.rstrip()


def settings(
    site: str = "old", workers: int = 2, listen: str = '["127.0.0.1:0"]', more: str = ""
) -> str:
    """A configuration in TOML, all but its store; `more` goes into [serve]."""
    return _SETTINGS.format(site=site, workers=workers, listen=listen) + more


def write_settings(folder: Path, toml: str) -> None:
    (folder / "store").mkdir(exist_ok=True)
    _write_whole(folder / "settings.toml", f'{toml}\n[[store]]\npath = "store"\n')


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.rename(path)


@contextmanager
def supervised(
    folder: Path,
    *,
    toml: str | None = None,
    moods: Sequence[str] = ("serve",),
    timing: Mapping[str, float] | None = None,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    listening: socket.socket | None = None,
    clerks: Mapping[str, str] | None = None,
) -> Iterator[Supervised]:
    """Start one for as long as the block lasts.

    clerks: the moods of services beside the workers (see `clerk`), by name; `exec` is a command.
    listening: a socket that is passed as the service manager passes it (sd_listen_fds(3)).
    """
    write_settings(folder, toml or settings())
    (folder / "events").touch()
    ready_in, ready_out = os.pipe()
    facts = {
        "timing": timing or {},
        "arguments": list(arguments),
        "ready_fd": ready_out,
        "clerks": list(clerks or ()),
    }
    _write_whole(folder / "clerks", json.dumps(dict(clerks or {})))
    descriptors = [ready_out]
    if listening is not None:
        facts["listening"] = listening.fileno()
        descriptors.append(listening.fileno())
    _write_whole(folder / "moods", json.dumps(moods))
    repository = Path(__file__).parent.parent.parent
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.supervised", json.dumps(facts)],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            env={**os.environ, "PYTHONPATH": str(repository), **(environment or {})},
        )
    os.close(ready_out)
    running = Supervised(process, folder, ready_in)
    try:
        yield running
    finally:
        _end(running)


def _end(running: Supervised) -> None:
    """Twice, for workers that linger; its end ends theirs."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if running.process.poll() is None:
            running.signal(number)
            try:
                running.process.wait(1.0)
            except subprocess.TimeoutExpired:
                continue


# -- the program ---------------------------------------------------------------------------------


def main(facts: dict[str, Any]) -> None:
    """Be the supervisor."""
    _let_system_refuse()
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    if "listening" in facts:
        _pretend_to_be_socket_activated(facts["listening"])
    try:
        Supervisor(
            load_settings("settings.toml"),
            run_worker,
            names=(["asked"], ["now"]),
            services=[clerk(name, is_command=name == "exec") for name in facts["clerks"]],
            load=lambda: (load_settings("settings.toml"), []),
            arguments=facts["arguments"],
            ready_fd=facts["ready_fd"],
            timing=RestartTiming(**facts["timing"]),
        ).run()
    except OcaserveError as error:
        sys.exit(str(error))


def _let_system_refuse() -> None:
    """Have fork(2) fail while the file `refuse` is there, with the error that it names."""
    fork = os.fork

    def fork_or_fail() -> int:
        path = Path("refuse")
        if path.exists():
            number = getattr(errno, path.read_text())
            raise OSError(number, os.strerror(number))
        return fork()

    os.fork = fork_or_fail


def _pretend_to_be_socket_activated(descriptor: int) -> None:
    if descriptor != 3:
        os.dup2(descriptor, 3)
        os.close(descriptor)
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "http"}


def run_worker(
    settings: Settings,
    listeners: Sequence[socket.socket],
    slot: CounterSlot,
    channel: socket.socket,
    name: str,
) -> int:
    """A worker in its mood."""
    place = name.removeprefix("worker ")
    moods = json.loads(Path("moods").read_text())
    mood = moods[min(int(place), len(moods) - 1)]
    return _Worker(place, mood, settings.appliance.site, listeners, slot, channel).live()


class _Worker:
    def __init__(
        self,
        place: str,
        mood: str,
        site: str,
        listeners: Sequence[socket.socket],
        slot: CounterSlot,
        channel: socket.socket,
    ) -> None:
        self._place, self._mood, self._site = place, mood, site
        self._listeners = listeners
        self._slot = slot
        self._channel = channel
        self._accepting: list[socket.socket] = []
        self._is_over = False

    def live(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._note("starts")
        if self._mood == "fail":
            return 3
        self._note("serves")  # before it is said, so that what follows from it is noted after it
        self._say("ready")
        for listener in self._listeners:
            listener.setblocking(False)
        while not self._is_over:
            self._turn()
        return 0

    def _turn(self) -> None:
        readable, _, _ = select.select([self._channel, *self._accepting], [], [], _BEAT_S)
        if self._mood != "mute":
            self._say("beat")
        for sock in readable:
            if sock is self._channel:
                self._obey(json.loads(self._channel.recv(65_536) or '{"do": "end"}'))
            else:
                self._answer(sock)

    def _obey(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "accept":
                self._accepting = [self._listeners[place] for place in order["listeners"]]
            case "drain":
                self._accepting = []
                for listener in self._listeners:
                    listener.close()
                self._note(f"drains {order['deadline_s']:g}")
                self._is_over = self._mood != "linger"
            case "reopen_logs":
                self._note("reopens")
            case "duty":
                self._note(f"is {order['word']}")
            case "end":
                self._note("is alone")
                self._is_over = True

    def _answer(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except BlockingIOError:  # a sibling that shares the listener was faster
            return
        with client:
            client.sendall(f"{self._place} {os.getpid()} {self._site}\n".encode())
        self._slot.values[0] += 1

    def _say(self, fact: str) -> None:
        try:
            self._channel.send(json.dumps({"is": fact}).encode())
        except OSError:  # the supervisor is gone, which the next read tells
            return

    def _note(self, what: str) -> None:
        with Path("events").open("a") as events:
            events.write(f"{self._place} {what}\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
