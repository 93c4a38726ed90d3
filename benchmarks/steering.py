"""What a decision costs: signed URLs of three appliances for one object, over HTTP.

`python -m benchmarks.steering` runs everything side by side and writes STEERING.md. A control plane
with one worker knows 60 appliances at 20 sites, whose networks it heard over its own API; wrk asks
for random clients and objects, while reports come in. Beside it the same engine with an answerer
that decides nothing, and aiohttp with the same functions that decide. A question may be for many
objects, as players and their back ends ask for the first segments of a title: of each it is decided
by itself, and signed, so a row tells what that costs. The bar is of questions for one.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

HERE = Path(__file__).parent
SITES, OF_A_SITE, NETWORKS = 20, 3, 256
ROUNDS, SECONDS = 5, 3
CONNECTIONS = 16
REPORTS_PER_S = 30
_SERIAL = "987654321"  # to be replaced
BAR_PER_CPU_S, BAR_P99_MS = 15_000, 2.0
_STEER = """
math.randomseed({seed})
function delay() return math.random(0, {most_pause}) end
request = function()
  local ip = string.format("%d.%d.%d.%d", math.random(20, 39), math.random(0, 255),
    math.random(0, 255), math.random(1, 254))
  local title, first = math.random(1, 2000), math.random(1, 600)
  local keys = {{}}
  for number = first, first + {objects} - 1 do
    keys[#keys + 1] = string.format("film/%d/seg-%d.m4s", title, number)
  end
  if {is_post} then
    return wrk.format("POST", "/v1/steer", {{["Content-Type"] = "application/json"}},
      string.format('{{"client":{{"ip":"%s"}},"objects":["%s"]}}', ip, table.concat(keys, '","')))
  end
  return wrk.format("GET", "/r/" .. keys[1] .. "?ip=" .. ip)
end
"""


class Run(NamedTuple):
    """Of wrk: answers a second, the 99th percentile in ms, and the server's CPU µs for each."""

    per_s: float
    p99_ms: float
    cpu_us: float


class Asked(NamedTuple):
    """A kind of question. objects: that each is for."""

    what: str
    is_post: bool
    objects: int


ONE = Asked("POST /v1/steer", True, 1)
TEN = Asked("POST /v1/steer, ten objects", True, 10)
REDIRECT = Asked("GET /r/KEY", False, 1)


class Server(NamedTuple):
    """name: in the table. port: where it answers. pid: of the one process that does."""

    name: str
    port: int
    pid: int


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing answers at port {port}")
        time.sleep(0.1)


# -- what is measured ----------------------------------------------------------------------------


def write_settings(folder: Path, operators: int, clients: int) -> Path:
    keys = folder / "keys.toml"
    keys.write_text(f'"7" = "{"ab" * 32}"\n')
    keys.chmod(0o600)
    toml = (
        f'[fleet]\nlisten = ["127.0.0.1:{operators}"]\nclients = ["127.0.0.1:{clients}"]\n'
        'state = "memory"\nworkers = 1\nreport_ttl_s = 3600\n'
    )
    for number in range(SITES * OF_A_SITE):
        toml += (
            f'[[fleet.appliance]]\nid = "oca-{number}"\nsite = "site-{number // OF_A_SITE}"\n'
            f'urls = ["https://oca-{number}.example.net"]\nsigning_keys_file = "keys.toml"\n'
        )
    file = folder / "fleet.toml"
    file.write_text(toml)
    return file


def report_of(number: int, serial: int) -> dict[str, Any]:
    """All that an appliance tells; three sites hear each client, the nearer by a shorter path."""
    site = number // OF_A_SITE
    return {
        "schema": "ocaserve.report/1",
        "kind": "report",
        "appliance": f"oca-{number}",
        "site": "",
        "session": "s1",
        "serial": serial,
        "as_of": 1.0,
        "digest": "",
        "complete": True,
        "health": {"state": "serving", "takes_traffic": True, "level": "ok"},
        "capacity": {"total_bits_per_s": 10**11, "free_bits_per_s": 10**15},
        "attributes": {str(far + 1): {"as_path": [*range(far + 1)]} for far in range(3)},
        "routes": {
            f"{20 + (site + far) % SITES}.{second}.0.0/16": [{"peer": 1, "attributes": far + 1}]
            for far in range(3)
            for second in range(NETWORKS)
        },
    }


def tell(connection: http.client.HTTPConnection, body: str) -> None:
    connection.request("POST", "/v1/reports", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 204:
        raise RuntimeError(f"a report was answered with {answer.status}")


@contextmanager
def reporting(port: int) -> Iterator[None]:
    """Reports go on coming, one after the other."""
    is_over = threading.Event()
    # Written before: what reports cost their senders is nothing that clients wait for.
    bodies = [json.dumps(report_of(number, int(_SERIAL))) for number in range(SITES * OF_A_SITE)]

    def go_on() -> None:
        connection, serial = http.client.HTTPConnection("127.0.0.1", port), 1
        while not is_over.wait(1 / REPORTS_PER_S):
            serial += 1
            tell(connection, bodies[serial % len(bodies)].replace(_SERIAL, f"{serial}"))
        connection.close()

    thread = threading.Thread(target=go_on)
    thread.start()
    yield
    is_over.set()
    thread.join()


@contextmanager
def control_plane(folder: Path) -> Iterator[tuple[Server, int, Path]]:
    """It knows all appliances. Gives its port for reports, and its settings, as well."""
    operators, clients = free_port(), free_port()
    file = write_settings(folder, operators, clients)
    run = folder / "run"
    run.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ocaserve", "fleet", "serve", "-c", str(file)],
            stdout=log, stderr=log, env={**os.environ, "RUNTIME_DIRECTORY": str(run)},
        )  # fmt: skip
    try:
        wait_for(clients)
        wait_for(operators)
        connection = http.client.HTTPConnection("127.0.0.1", operators)
        for number in range(SITES * OF_A_SITE):
            tell(connection, json.dumps(report_of(number, 1)))
        connection.close()
        time.sleep(2)  # for the worker to see them
        children = psutil.Process(process.pid).children()
        (worker,) = [each for each in children if each.name().startswith("oca-worker")]
        yield Server("ocaserve", clients, worker.pid), operators, file
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def peer(kind: str, folder: Path) -> Iterator[Server]:
    """A peer of this module, in a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.steering", kind, str(port), str(folder)]
    )
    try:
        wait_for(port)
        children = psutil.Process(process.pid).children()
        workers = [each.pid for each in children if each.name().startswith("oca-worker")]
        yield Server(kind, port, workers[0] if workers else process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def run_bare(port: int, folder: Path) -> None:
    """The engine, with an answerer that gives each the same 700 bytes."""
    from functools import partial

    from ocaserve.serving.counters import COUNTERS, GAUGES
    from ocaserve.serving.replies import Replies, Reply
    from ocaserve.serving.worker import run_worker
    from ocaserve.settings.control_plane import control_plane_of
    from ocaserve.settings.fleet import Fleet
    from ocaserve.supervisor import Supervisor

    del folder
    settings = control_plane_of(Fleet(clients=[f"127.0.0.1:{port}"], workers=1))
    reply = Reply(200, b"Content-Type: application/json\r\n", b"x" * 700)
    Supervisor(
        settings,
        partial(run_worker, make_answerer=lambda _, __, e: Replies(lambda _: reply, e.clock)),
        names=(COUNTERS, GAUGES),
        load=lambda: (settings, ()),
    ).run()


def run_aiohttp(port: int, folder: Path) -> None:
    """aiohttp on uvloop, where it is; it decides by the same functions, of the same picture."""
    from aiohttp import web

    from ocaserve.control.process import choose_loop
    from ocaserve.fleet.client_worker import make_desk
    from ocaserve.fleet.deciding import Decider
    from ocaserve.fleet.decision_notes import NoteTaker
    from ocaserve.fleet.grant_sheet import GrantSheet
    from ocaserve.fleet.picture_files import Gallery
    from ocaserve.fleet.pictures import PICTURE
    from ocaserve.protocol.messages import Fields
    from ocaserve.serving.replies import Inquiry
    from ocaserve.settings.fleet import FleetTokens, load_fleet

    settings = load_fleet(str(folder / "fleet.toml"))
    decider = Decider(settings, GrantSheet(1).row(0), NoteTaker(settings, None))
    (picture,) = folder.glob(f"run/*/{PICTURE}")
    decider.show(*Gallery(picture.parent).look())
    asyncio.run(decider.follow_policies())  # there are none; sessions are signed from here on
    desk = make_desk(decider, FleetTokens())
    fields = Fields(host=b"127.0.0.1", content_type=b"application/json")

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        inquiry = Inquiry(
            request.method.encode(), request.raw_path.encode(), fields, body, b"127.0.0.1"
        )
        reply = desk.answer(inquiry)
        assert reply is not None, "nothing takes time here"
        lines = reply.fields.decode().split("\r\n")[:-1]
        headers = [(name, value) for name, _, value in (each.partition(": ") for each in lines)]
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def forget() -> None:
        while True:
            await asyncio.sleep(1)
            decider.take_notes()

    async def main() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await forget()

    with asyncio.Runner(loop_factory=choose_loop("auto")) as runner, suppress(KeyboardInterrupt):
        runner.run(main())


PEERS: dict[str, Callable[[int, Path], None]] = {"bare": run_bare, "aiohttp": run_aiohttp}


# -- measuring -----------------------------------------------------------------------------------


def measure(server: Server, folder: Path, asked: Asked, *, most_pause_ms: int, seed: int) -> Run:
    """One run of wrk. most_pause_ms: of each connection before each request; half of it on average.
    Were all pauses alike, all would ask in one moment, again and again.
    """
    script = folder / "steer.lua"
    lua = _STEER.format(
        seed=seed,
        most_pause=most_pause_ms,
        is_post=str(asked.is_post).lower(),
        objects=asked.objects,
    )
    if not most_pause_ms:
        lua = lua.replace("function delay() return math.random(0, 0) end\n", "")
    script.write_text(lua)
    process = psutil.Process(server.pid)
    before = process.cpu_times()
    told = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", str(script),
         f"http://127.0.0.1:{server.port}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    after = process.cpu_times()
    if "Non-2xx" in told:
        raise RuntimeError(f"{server.name}: {told}")
    count = int(_find(r"(\d+) requests in", told))
    cpu_s = after.user + after.system - before.user - before.system
    return Run(float(_find(r"Requests/sec:\s+([\d.]+)", told)), _p99_of(told), cpu_s / count * 1e6)


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk said: {text}")
    return found[1]


def _p99_of(told: str) -> float:
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", told).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def median(runs: Sequence[Run]) -> Run:
    return Run(*(statistics.median(each[place] for each in runs) for place in range(3)))


def main() -> None:
    rows: dict[tuple[str, Asked], list[Run]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, operators, _ = stack.enter_context(control_plane(folder))
        servers = [ours, *(stack.enter_context(peer(kind, folder)) for kind in PEERS)]
        stack.enter_context(reporting(operators))
        load = os.getloadavg()
        for number in range(ROUNDS):
            for server in servers:
                for asked in (ONE, TEN, REDIRECT):
                    if asked is not TEN or server.name != "bare":  # whose reply is that of one
                        run = measure(server, folder, asked, most_pause_ms=0, seed=number + 1)
                        rows.setdefault((server.name, asked), []).append(run)
        full = median(rows["ocaserve", ONE]).per_s
        most_pause = max(1, round(2 * CONNECTIONS / (full / 2) * 1000))
        half: dict[str, list[Run]] = {}
        for number in range(ROUNDS):
            for server in servers[:2]:
                run = measure(server, folder, ONE, most_pause_ms=most_pause, seed=number + 1)
                half.setdefault(server.name, []).append(run)
    write(rows, {name: median(runs) for name, runs in half.items()}, load)


def write(
    rows: dict[tuple[str, Asked], list[Run]], halves: dict[str, Run], load: tuple[float, ...]
) -> None:
    """halves: at half of the rate, by server."""
    half = halves["ocaserve"]
    per_cpu_s, of_ten = (
        asked.objects * 1e6 / median(rows["ocaserve", asked]).cpu_us for asked in (ONE, TEN)
    )
    model = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    lines = [
        "# Decisions", "",
        f"Written by `python -m benchmarks.steering` (`make bench-steer`): medians of {ROUNDS} "
        f"interleaved rounds of {SECONDS} s; wrk with {CONNECTIONS} connections and the load's "
        f"clients on the same machine; {SITES * OF_A_SITE} appliances at {SITES} sites, nine of "
        f"which hear each client, URLs signed, random clients and objects, up to {REPORTS_PER_S} "
        "reports a second.", "",
        f"Machine: {model}, {os.cpu_count()} CPUs; load before it {load[0]:.1f}.", "",
        "| what | bar | measured |", "|---|---|---|",
        f"| decisions per CPU second of the worker | ≥ {BAR_PER_CPU_S:,} | {per_cpu_s:,.0f} "
        f"({'reached' if per_cpu_s >= BAR_PER_CPU_S else '**missed**'}) |",
        f"| 99th percentile at {half.per_s:,.0f} a second | ≤ {BAR_P99_MS:g} ms | "
        f"{half.p99_ms:.2f} ms "
        f"({'reached' if half.p99_ms <= BAR_P99_MS else '**missed**'}) |",
        "| the same of `bare`, which waits for the same cores | none | "
        f"{halves['bare'].p99_ms:.2f} ms |",
        "| decisions per CPU second, where each question is for ten objects | none | "
        f"{of_ten:,.0f} |", "",
        "| server | asked | answers/s | CPU µs each | CPU µs a decision | p99 ms |",
        "|---|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for (name, asked), runs in rows.items():
        run = median(runs)
        lines.append(
            f"| {name} | {asked.what} | {run.per_s:,.0f} | {run.cpu_us:.1f} | "
            f"{run.cpu_us / asked.objects:.1f} | {run.p99_ms:.2f} |"
        )
    lines += [
        "",
        "`bare` is the engine with a constant reply; `aiohttp` has the same functions. A decision "
        "is of one object: three appliances and their signed URLs. The bar is of questions for one "
        "object.",
    ]
    (HERE / "STEERING.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        PEERS[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
