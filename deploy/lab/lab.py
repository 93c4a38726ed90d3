"""A provider's router on this machine, and an appliance that hears of its routes.

Run by `./dev lab`. BIRD 2 announces networks, changes them and takes them back, one step after the
other, for as long as you look. Nothing leaves this machine, no root is needed, and what is made
lies in a temporary folder that is removed at the end (Ctrl-C).
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROUTER, APPLIANCE = "127.0.0.2", "127.0.0.1"
ROUTER_AS, APPLIANCE_AS = 64501, 64500
START_S = 20.0

BIRD = """\
log "{folder}/bird.log" all;
router id 192.0.2.1;
protocol device {{ }}
protocol static ipv4_routes {{ ipv4; {ipv4} }}
protocol static ipv6_routes {{ ipv6; {ipv6} }}
protocol bgp appliance {{
  local {router} port 1790 as {router_as};
  neighbor {appliance} as {appliance_as};
  multihop; passive yes; strict bind yes; graceful restart on;
  ipv4 {{ export all; import none; next hop self; }};
  ipv6 {{ export all; import none; next hop address 2001:db8::1; }};
}}
"""
OCASERVE = """\
[appliance]
id = "lab"
[serve]
listen = ["{listen}"]
workers = 1
access_log = "off"
[control]
listen = ["{control}"]
[bgp]
router_id = "192.0.2.10"
local_as = {appliance_as}
# The lab's networks are those that documentation uses, which no real provider announces.
allow_bogons = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]
[[bgp.neighbor]]
address = "{router}"
peer_as = {router_as}
local_address = "{appliance}"
port = 1790
[[store]]
path = "store"
"""
CONTROL = "127.0.0.1:8081"  # where commands look when they are not told
NAMES = {
    "router": ROUTER,
    "appliance": APPLIANCE,
    "router_as": ROUTER_AS,
    "appliance_as": APPLIANCE_AS,
}

STEPS: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "two networks are announced",
        {"198.51.100.0/24": "", "2001:db8:100::/40": ""},
    ),
    (
        "one of them has a more specific part, and a metric",
        {
            "198.51.100.0/24": "",
            "198.51.100.128/25": "{ bgp_med = 50; }",
            "2001:db8:100::/40": "",
        },
    ),
    (
        "another comes through a customer; a default route is announced too, which is filtered",
        {
            "198.51.100.0/24": "",
            "203.0.113.0/24": "{ bgp_path.prepend(64510); }",
            "0.0.0.0/0": "",
            "2001:db8:100::/40": "",
        },
    ),
    ("all but one are withdrawn", {"198.51.100.0/24": ""}),
)

WHAT_TO_TRY = """
In another terminal:

  .venv/bin/ocaserve routes{where}                        what the router told
  .venv/bin/ocaserve routes{where} --lookup 198.51.100.7  whose client that is
  .venv/bin/ocaserve routes{where} --filtered             what is not used, and why
  .venv/bin/ocaserve routes{where} --peers                the session
  curl -N http://{control}/v1/report/events    changes, as the control plane hears them
  birdc -s {folder}/bird.ctl show route         the router's own view
  birdc -s {folder}/bird.ctl disable appliance  end the session ("enable" brings it back)
"""


def main() -> int:
    """Run until Ctrl-C, or for so many steps; returns the exit status."""
    parser = argparse.ArgumentParser(prog="./dev lab", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pause", type=float, default=10.0, help="seconds between two steps")
    parser.add_argument("--steps", type=int, default=0, help="end after so many; 0 for never")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="where clients are served")
    parser.add_argument("--control", default=CONTROL, help="where to ask for the report")
    arguments = parser.parse_args()
    if shutil.which("bird") is None:
        print("lab: BIRD 2 is not installed (Debian and FreeBSD: bird2)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            play(stack, arguments)
    except KeyboardInterrupt:
        print("\nlab: ending")
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


class LabError(Exception):
    """What keeps the lab from running; the text says it in one line."""


def play(stack: ExitStack, arguments: argparse.Namespace) -> None:
    """Start both, then step after step."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocaserve-lab-")))
    (folder / "store").mkdir()
    (folder / "store" / "hello.txt").write_text("hello\n")
    (folder / "ocaserve.toml").write_text(
        OCASERVE.format(listen=arguments.listen, control=arguments.control, **NAMES)
    )
    write_routes(folder, {})
    stack.enter_context(running(bird_command(folder), folder / "bird.out"))
    serve = [sys.executable, "-m", "ocaserve", "serve", "-c", str(folder / "ocaserve.toml")]
    stack.enter_context(running(serve, folder / "ocaserve.log"))
    await_session(folder, arguments.control)
    print(f"lab: the appliance hears of the router; logs and settings are in {folder}")
    where = "" if arguments.control == CONTROL else f" --control {arguments.control}"
    print(WHAT_TO_TRY.format(folder=folder, control=arguments.control, where=where))
    endless = itertools.count(1)
    for number, (text, routes) in zip(endless, itertools.cycle(STEPS), strict=False):
        before = time.monotonic()
        write_routes(folder, routes)
        tell_bird(folder, "configure")
        show(text, routes, before, arguments.control)
        if number == arguments.steps:
            return
        time.sleep(arguments.pause)


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A program, until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def bird_command(folder: Path) -> list[str]:
    files = {"-c": "bird.conf", "-s": "bird.ctl", "-P": "bird.pid"}
    return [
        "bird",
        "-f",
        *(word for key, name in files.items() for word in (key, f"{folder}/{name}")),
    ]


def write_routes(folder: Path, routes: Mapping[str, str]) -> None:
    """The router's configuration, with these networks as its own."""
    rows = {4: "", 6: ""}
    for prefix, attributes in routes.items():
        rows[6 if ":" in prefix else 4] += f"route {prefix} blackhole {attributes}; "
    text = BIRD.format(folder=folder, ipv4=rows[4], ipv6=rows[6], **NAMES)
    (folder / "bird.conf").write_text(text)


def tell_bird(folder: Path, *words: str) -> str:
    command = ["birdc", "-s", str(folder / "bird.ctl"), *words]
    return subprocess.run(  # noqa: S603 - likewise
        command, capture_output=True, text=True, check=False
    ).stdout


def await_session(folder: Path, control: str) -> None:
    """Wait until the appliance says that the session is up. Raises LabError."""
    deadline = time.monotonic() + START_S
    while not any(peer["state"] == "up" for peer in report(control).get("peers", ())):
        if time.monotonic() > deadline:
            said = (folder / "ocaserve.log").read_text() + (folder / "bird.out").read_text()
            raise LabError(f"no session after {START_S:g} s:\n{said}")
        time.sleep(0.1)


def report(control: str) -> dict[str, Any]:
    """The report as it is now; nothing before the appliance answers."""
    try:
        with urllib.request.urlopen(f"http://{control}/v1/report", timeout=10) as answer:
            document: dict[str, Any] = json.load(answer)
    except OSError:
        return {}
    return document


def show(text: str, routes: Mapping[str, str], since: float, control: str) -> None:
    """Print the networks that the report has, as soon as it has those that are announced."""
    wanted = {prefix for prefix in routes if not prefix.endswith("/0")}
    while (found := set(report(control).get("routes", ()))) != wanted:
        if time.monotonic() > since + START_S:
            print(f"{time.strftime('%X')}  {text}: not reported; is the session down?")
            return
        time.sleep(0.02)
    print(f"{time.strftime('%X')}  {text}: reported after {time.monotonic() - since:.2f} s")
    for prefix in sorted(found):
        print(f"          {prefix}")


if __name__ == "__main__":
    sys.exit(main())
