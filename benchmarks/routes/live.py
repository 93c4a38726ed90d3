"""One round, seen from outside: ExaBGP with a child that does nothing, and the whole appliance.

Both have a session with the same router, which sends the same bytes; what ExaBGP itself takes is
not ours, and nothing that we do may hold it up.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import platform
import pwd
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.parse import urlencode

from benchmarks.errors import LoadFailure
from benchmarks.measure import own_cpu_seconds, process_tree
from benchmarks.processes import ClientProgram, last_words, running
from benchmarks.results import percentile, with_those_not_asked
from benchmarks.routes import consumer, probe, speaker
from benchmarks.routes.table import CHANGED, LOCAL_AS, PEER_AS, Played
from bgp.configuration import NeighborConfiguration, render_configuration, render_environment

Seen = TypeVar("Seen")

_ROUTER, _APPLIANCE = "127.0.0.1", "127.0.0.2"
_LONGEST_S = 300.0
_POLL_S = 0.1
_ASK_EVERY_S = 0.005
_SETTINGS = """\
[serve]
listen = ["127.0.0.1:0"]
workers = 1
access_log = "off"
[control]
listen = ["127.0.0.1:{control}"]
[bgp]
router_id = "192.0.2.10"
local_as = {local_as}
[[bgp.neighbor]]
address = "{router}"
local_address = "{appliance}"
peer_as = {peer_as}
port = {port}
[[store]]
path = "store"
"""


# -- ExaBGP alone --------------------------------------------------------------------------------


def play_alone(played: Played, scratch: Path) -> dict[str, float]:
    """What ExaBGP takes to tell a child that does nothing with it."""
    with TemporaryDirectory(dir=scratch) as name, ExitStack() as stack:
        folder = Path(name)
        router = _Router(stack)
        times = folder / "times"
        times.touch()
        log, exabgp = folder / "said.log", _start_exabgp(stack, folder, router.port, times)
        router.meet(log)
        ends = _Ends(times, log)
        figures = {"load_s": ends.await_next(router, played.load, 2)}
        figures["exabgp_cpu_s"] = own_cpu_seconds(exabgp)
        changed = [ends.await_next(router, each + speaker.end_of_rib(4)) for each in played.changes]
        figures["changes_ms"] = 1e3 * changed[-1]
        figures["withdrawal_s"] = ends.await_next(router, played.withdrawal + speaker.end_of_rib(4))
        return figures


def _start_exabgp(stack: ExitStack, folder: Path, port: int, times: Path) -> int:
    neighbor = NeighborConfiguration(
        address=_ROUTER,
        peer_as=PEER_AS,
        local_as=LOCAL_AS,
        router_id="192.0.2.10",
        local_address=_APPLIANCE,
        port=port,
    )
    child = (sys.executable, str(Path(consumer.__file__).resolve()), str(times))
    (folder / "exabgp.conf").write_text(render_configuration([neighbor], child))
    user = pwd.getpwuid(os.geteuid()).pw_name
    (folder / "exabgp.env").write_text(render_environment(user))
    environment = ["env", f"EXABGP_ENVFILE={folder / 'exabgp.env'}"]
    command = [sys.executable, "-P", "-m", "exabgp", "server", str(folder / "exabgp.conf")]
    return stack.enter_context(running([*environment, *command], folder / "said.log")).pid


class _Ends:
    """The times that the consumer writes down."""

    def __init__(self, times: Path, log: Path) -> None:
        self._times = times
        self._log = log
        self._seen = 0

    def await_next(self, router: _Router, data: bytes, count: int = 1) -> float:
        """Seconds from the first of these bytes to the last of so many ends of a table."""
        self._seen += count
        begun = router.send(data)
        _await(lambda: len(self._read()) >= self._seen, "ExaBGP has told all", self._log)
        return self._read()[self._seen - 1] - begun

    def _read(self) -> list[float]:
        return [
            float(line)
            for line in self._times.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]


class _Router:
    """The speaker, which sends from a thread."""

    def __init__(self, stack: ExitStack) -> None:
        self._speaker = speaker.Speaker(_ROUTER, PEER_AS)
        stack.callback(self._speaker.close)
        self.port = self._speaker.port

    def meet(self, log: Path) -> None:
        try:
            self._speaker.meet()
        except OSError as error:
            raise LoadFailure(f"no session: {error}: {last_words(log)}") from error

    def send(self, data: bytes) -> float:
        """Begin to send; returns when that was."""
        begun = time.monotonic()
        threading.Thread(target=self._send, args=[data], daemon=True).start()
        return begun

    def _send(self, data: bytes) -> None:
        with suppress(OSError):  # who waits for the routes will miss them
            self._speaker.send(data)


# -- the appliance -------------------------------------------------------------------------------


def play_appliance(played: Played, scratch: Path) -> dict[str, float]:
    """The same, until the report tells it."""
    with TemporaryDirectory(dir=scratch) as name, ExitStack() as stack:
        router = _Router(stack)
        appliance = _start_appliance(stack, Path(name), router.port)
        router.meet(appliance.log)
        with appliance.probed() as probed:
            figures = {"load_s": appliance.await_routes(router.send(played.load), played.routes)}
        figures |= {f"status_{name}": value for name, value in probed.items()}
        figures["control_cpu_s"] = own_cpu_seconds(appliance.control)
        figures["exabgp_cpu_s"] = own_cpu_seconds(appliance.exabgp)
        figures["memory_mb"] = appliance.memory_mb("VmRSS")
        for encoding in ("identity", "gzip"):
            figures |= appliance.fetch_report(encoding)
        changed = [appliance.await_changes(router, each) for each in played.changes]
        figures["changes_ms"] = 1e3 * changed[-1]
        with appliance.probed() as probed:
            figures["withdrawal_s"] = appliance.await_routes(router.send(played.withdrawal), 0)
        figures["withdrawal_max_ms"] = probed["max_ms"]
        figures["peak_mb"] = appliance.memory_mb("VmHWM")
        return figures


def _start_appliance(stack: ExitStack, folder: Path, port: int) -> _Appliance:
    with socket.create_server(("127.0.0.1", 0)) as free:
        control = free.getsockname()[1]
    (folder / "store").mkdir()
    (folder / "ocaserve.toml").write_text(
        _SETTINGS.format(
            control=control, local_as=LOCAL_AS, router=_ROUTER, appliance=_APPLIANCE,
            peer_as=PEER_AS, port=port,
        )
    )  # fmt: skip
    command = [sys.executable, "-m", "ocaserve", "serve", "-c", str(folder / "ocaserve.toml")]
    process = stack.enter_context(running(command, folder / "said.log"))
    return _Appliance(process.pid, control, folder / "said.log")


class _Appliance:
    """The appliance through its API. Raises LoadFailure."""

    def __init__(self, pid: int, port: int, log: Path) -> None:
        self.log = log
        self._port = port
        self.control = _await(lambda: _find(pid, b"oca-control"), "a control process", log)
        self.exabgp = _await(lambda: _find(pid, b"exabgp"), "ExaBGP", log)

    def get(self, path: str, encoding: str = "identity") -> Iterator[bytes]:
        """An answer, in pieces."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_LONGEST_S)
        try:
            connection.request("GET", path, headers={"Accept-Encoding": encoding})
            response = connection.getresponse()
            if response.status != 200:
                raise LoadFailure(f"{path}: {response.status}")
            while piece := response.read(65_536):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise LoadFailure(f"{path}: {error}: {last_words(self.log)}") from error
        finally:
            connection.close()

    def ask(self, path: str) -> Any:
        return json.loads(b"".join(self.get(path)))

    def memory_mb(self, name: str) -> float:
        """Of the control process: VmRSS is what it has, VmHWM the most that it ever had."""
        status = Path(f"/proc/{self.control}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        assert found, status
        return int(found[1]) * 1_024 / 1e6

    def await_routes(self, begun: float, routes: int) -> float:
        """Seconds until it has exactly so many, and all that the router has."""

        def is_there() -> bool:
            told = self.ask("/v1/routes/peers")
            families = [each for peer in told["peers"] for each in peer["families"].values()]
            is_whole = bool(families) and all(family["complete"] for family in families)
            return is_whole and told["totals"]["routes"] == routes

        _await(is_there, f"{routes} routes", self.log)
        return time.monotonic() - begun

    def await_changes(self, router: _Router, data: bytes) -> float:
        """Seconds from the sending of changes to their being told to one who waits for them."""
        told = self.ask("/v1/report/session")
        session, serial = told["session"], told["serial"]
        seen: set[str] = set()
        begun = router.send(data)
        while len(seen) < CHANGED:
            query = urlencode({"session": session, "after": serial, "wait": 30})
            changes = self.ask(f"/v1/report/changes?{query}")
            if changes["serial"] == serial:
                raise LoadFailure("changes are not told")
            serial = changes["serial"]
            seen |= set(changes["routes"])
        return time.monotonic() - begun

    def fetch_report(self, encoding: str) -> dict[str, float]:
        with self.probed() as probed:
            begun = time.monotonic()
            size = sum(map(len, self.get("/v1/report", encoding)))
            spent = time.monotonic() - begun
        name = "report" if encoding == "identity" else encoding
        return {
            f"{name}_s": spent,
            f"{name}_mb": size / 1e6,
            f"{name}_max_ms": probed["max_ms"],
        }

    @contextmanager
    def probed(self) -> Iterator[dict[str, float]]:
        """How long others waited for an answer meanwhile, in milliseconds."""
        command = [sys.executable, "-m", probe.__name__, str(self._port), str(_ASK_EVERY_S)]
        pipe = subprocess.PIPE
        found: dict[str, float] = {}
        with running(command, self.log, stdin=pipe, stdout=pipe) as process:
            program = ClientProgram("probe", process, self.log)
            program.wait_for_begin()
            yield found
            told = program.findings()
        seen = with_those_not_asked(told["latencies_s"], _ASK_EVERY_S)
        found["p50_ms"] = 1e3 * percentile(seen, 0.5)
        found["p99_ms"] = 1e3 * percentile(seen, 0.99)
        found["max_ms"] = 1e3 * seen[-1]


def _find(supervisor: int, name: bytes) -> int:
    """The process that is called so, or runs a module of that name; 0 while it is not there."""
    for pid in process_tree(supervisor):
        folder = Path(f"/proc/{pid}")
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if (folder / "comm").read_bytes().strip() == name or name in words:
                return pid
        except FileNotFoundError:
            continue
    return 0


def _await(look: Callable[[], Seen], what: str, log: Path) -> Seen:
    """The first true answer. Raises LoadFailure."""
    deadline = time.monotonic() + _LONGEST_S
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise LoadFailure(f"{what}: not in {_LONGEST_S:.0f} s: {last_words(log)}")
        time.sleep(_POLL_S)
    return seen


def describe_versions() -> dict[str, str]:
    """The programs that take part."""
    packages = ("ocaserve", "exabgp", "aiohttp")
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"Python": platform.python_version(), **versions}
