"""Starting the appliance on the film, and saying what to try."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from ocaserve.errors import StartError
from ocaserve.supervisor.upgrade import READY_OPTION

_SECONDS = 60
_FILM = "film.mp4"
_PAGE = "watch.html"
_ROUTES = "routes.jsonl"  # what two routers with BIRD told an ExaBGP, line by line
_LOCAL_AS = 64511  # of the appliance that heard them
# Theirs are the networks of documentation, which no real provider announces (RFC 5737, RFC 3849).
_NETWORKS = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]


def run_demo(listen: str, control: str, directory: str | None) -> None:
    """Make the film, serve it until interrupted.

    listen, control: addresses of the data plane and of the control process. directory: where the
    film is made, and kept; None for a temporary place. Raises StartError when the appliance does
    not start.
    """
    missing = [name for name in ("av", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise StartError(f"the demo needs {' and '.join(missing)}: pip install 'ocaserve[demo]'")
    with _place(directory) as folder:
        content = folder / "content"
        _make_content(content)
        routes = folder / _ROUTES
        routes.write_bytes((resources.files("ocaserve.demo") / _ROUTES).read_bytes())
        configuration = folder / "demo.toml"
        log = folder / "access.log"
        configuration.write_text(
            f'[appliance]\nid = "demo"\n\n[serve]\nlisten = [{json.dumps(listen)}]\n'
            f"access_log = {json.dumps(str(log))}\n\n"
            f"[control]\nlisten = [{json.dumps(control)}]\n\n"
            f"[bgp]\nlocal_as = {_LOCAL_AS}\nrecording = {json.dumps(str(routes))}\n"
            f"allow_bogons = {json.dumps(_NETWORKS)}\n\n"
            f"[[store]]\npath = {json.dumps(str(content))}\n"
        )
        _serve(configuration, log)


@contextmanager
def _place(directory: str | None) -> Iterator[Path]:
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="ocaserve-demo-") as folder:
            yield Path(folder)
        return
    place = Path(directory).absolute()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{place}: {error.strerror}") from error
    yield place


def _make_content(folder: Path) -> None:
    """The film and its page; a film that is there is kept."""
    from ocaserve.demo.film import make_film

    try:
        folder.mkdir(exist_ok=True)
        page = resources.files("ocaserve.demo") / _PAGE
        (folder / _PAGE).write_bytes(page.read_bytes())
        film = folder / _FILM
        if film.exists():
            return
        unfinished = folder / ".film.mp4"  # hidden files are not served
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("making a film", total=_SECONDS)
            make_film(unfinished, _SECONDS, lambda done: bar.update(task, completed=done))
        unfinished.rename(film)
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}") from error


def _serve(configuration: Path, log: Path) -> None:
    """Run `ocaserve serve` until it ends, telling what to try when it serves."""
    told, ready = os.pipe()
    command = [sys.executable, "-m", "ocaserve", "serve", "-c", str(configuration)]
    # The terminal sends its interrupt to both; the appliance obeys, and we wait for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    appliance = subprocess.Popen(  # noqa: S603 - our own program
        [*command, READY_OPTION, str(ready)], pass_fds=(ready,), preexec_fn=_heed_interrupts
    )
    signal.signal(signal.SIGTERM, lambda *_: appliance.terminate())
    os.close(ready)
    with os.fdopen(told) as facts:
        line = facts.readline()
    if line:
        print(describe(json.loads(line), log), flush=True)
    status = appliance.wait()
    if status:
        raise StartError(f"the appliance ended with status {status}")


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def describe(facts: dict[str, Any], log: Path) -> str:
    """What to try, as text. `facts`: what the appliance says of itself when it serves."""
    at = f"http://{facts['listen'][0]}"
    control = facts["services"]["control"][0]
    program = "ocaserve" if shutil.which("ocaserve") else f"{sys.executable} -m ocaserve"
    return f"""
The appliance serves. Try:

  watch and seek     open {at}/{_PAGE} in a browser
  a byte range       curl -r 0-99 -D - -o /dev/null {at}/{_FILM}
  resume a download  curl -C - -O {at}/{_FILM}
  what was asked     tail -f {log}
  the appliance      open http://{control}/ in a browser
  its routes         {program} routes --control {control}
  who is sent here   {program} explain 198.51.100.7 {_FILM} --control {control}
  what it reports    curl http://{control}/v1/report

Ctrl-C ends it.
"""
