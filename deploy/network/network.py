"""A whole network on this machine: an origin, two sites, a provider's router, the control plane.

Run by `./dev network`. Every part is the real program. A page plays a film from where the control
plane says, and has buttons to kill, drain and withdraw. Nothing leaves this machine, no root is
needed, and what is made lies in a temporary folder that is removed at the end (Ctrl-C).
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import (
    APPLIANCES,
    FILM,
    ORIGIN,
    TOKEN,
    NetworkError,
    Ports,
    Router,
    make_parts,
)
from stage import Stage, serve_stage

from ocaserve.demo.film import make_film

WHAT_TO_TRY = """
The network runs. Open http://127.0.0.1:{page} in a browser: a film, and buttons to break things.

  the control plane   http://127.0.0.1:{fleet}/  (token of role operate: {token})
  an appliance        http://{address}:{control}/
  who serves whom     {program} fleet explain 198.51.100.7 film.mp4 --fleet 127.0.0.1:{fleet}
  follow              {program} follow film.mp4 --fleet http://127.0.0.1:{clients} --as 198.51.100.7
  foresee             {program} fleet what-if --site east --fleet 127.0.0.1:{fleet}
  decide again        {program} fleet replay {folder}/decisions.jsonl
{router}
Logs and settings are in {folder}. Ctrl-C ends it all.
"""
WITH_ROUTER = "  the router          birdc -s {folder}/bird.ctl show route all\n"
WITHOUT_ROUTER = """\
  BIRD 2 is not installed (Debian and FreeBSD: bird2): routes are recorded ones, which cannot be
  withdrawn.
"""


def main() -> int:
    """Run until Ctrl-C; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="./dev network", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--port", type=int, default=8100, help="of the page; five more behind it are used"
    )
    parser.add_argument("--seconds", type=int, default=120, help="that the film has")
    arguments = parser.parse_args()
    ports = Ports(*range(arguments.port, arguments.port + len(Ports._fields)))
    try:
        with tempfile.TemporaryDirectory(prefix="ocaserve-network-") as folder:
            run(Path(folder), ports, arguments.seconds)
    except KeyboardInterrupt:
        print("\nnetwork: ending")
    except NetworkError as error:
        print(f"network: {error}", file=sys.stderr)
        return 1
    return 0


def run(folder: Path, ports: Ports, seconds: int) -> None:
    """Make the film, start all, and show it until it is ended. Raises NetworkError."""
    print("network: making the film", flush=True)
    make_content(folder / "origin", f"http://{ORIGIN}:{ports.data}", seconds)
    router = Router(folder, ports.router)
    parts = make_parts(folder, ports, router)
    told = WHAT_TO_TRY.format(
        page=ports.page, fleet=ports.fleet, clients=ports.clients, control=ports.control,
        address=next(iter(APPLIANCES.values())), token=TOKEN, folder=folder,
        program="ocaserve" if shutil.which("ocaserve") else f"{sys.executable} -m ocaserve",
        router=(WITH_ROUTER if router.is_real else WITHOUT_ROUTER).format(folder=folder),
    )  # fmt: skip
    try:
        for part in parts.values():
            part.start()
        asyncio.run(serve_stage(Stage(parts, router, ports), told))
    finally:
        for part in parts.values():
            part.ask_to_end()
        for part in parts.values():
            part.await_end()


def make_content(folder: Path, origin: str, seconds: int) -> None:
    """The film, and the manifest that has appliances fetch it from the origin."""
    folder.mkdir()
    make_film(folder / FILM, seconds, lambda _: None)
    command = [sys.executable, "-m", "ocaserve", "fill", "manifest", str(folder)]
    command += ["--source", origin, "-o", str(folder.parent / "manifest")]
    subprocess.run(command, check=True)  # noqa: S603 - our own program
    (folder.parent / "manifest").rename(folder / "manifest.json")


if __name__ == "__main__":
    sys.exit(main())
