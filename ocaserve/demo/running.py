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
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from ocaserve.errors import StartError
from ocaserve.supervisor.upgrade import READY_OPTION

_SECONDS = 60
_PORTS_APART = 2  # of the second appliance's addresses from those of the first
_FILL_BITS_PER_S = 8_000_000  # so that one can look on
_MANIFEST = "manifest.json"
_SECOND = ".ocaserve-demo-second"  # a name of ours, for it is removed
_FILM = "film.mp4"
_PAGES = ("watch.html", "follow.html", "follow.js")
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
        _serve(configuration, log, (listen, control))


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
        for name in _PAGES:
            page = resources.files("ocaserve.demo") / name
            (folder / name).write_bytes(page.read_bytes())
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


def _serve(configuration: Path, log: Path, wanted: tuple[str, str]) -> None:
    """Run `ocaserve serve` until it ends, and a second one that fills itself from it; tell what to
    try. wanted: the addresses of the first one.
    """
    # The terminal sends its interrupt to all; the appliances obey, and we wait for them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    appliance, facts = _start(configuration)
    running = [appliance]
    try:
        signal.signal(signal.SIGTERM, lambda *_: appliance.terminate())
        if facts:
            second, filled = _start_second(configuration.parent, wanted, facts)
            running.append(second)
            print(describe(facts, filled, log), flush=True)
        status = appliance.wait()
    finally:
        for each in running:
            each.terminate()
        for each in running:
            each.wait()
    if status:
        raise StartError(f"the appliance ended with status {status}")


def _start(configuration: Path) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """The process, and what it says of itself when it serves; nothing if it does not."""
    told, ready = os.pipe()
    command = [sys.executable, "-m", "ocaserve", "serve", "--quiet", "-c", str(configuration)]
    appliance = subprocess.Popen(  # noqa: S603 - our own program
        [*command, READY_OPTION, str(ready)], pass_fds=(ready,), preexec_fn=_heed_interrupts
    )
    os.close(ready)
    with os.fdopen(told) as facts:
        line = facts.readline()
    return appliance, json.loads(line) if line else {}


def _start_second(
    folder: Path, wanted: tuple[str, str], facts: dict[str, Any]
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """One that has nothing, and a manifest of what the first one has. Raises StartError."""
    first = f"http://{facts['listen'][0]}"
    manifest = [
        sys.executable, "-m", "ocaserve", "fill", "manifest", str(folder / "content"),
        "--source", first, "--piece-bytes", "65536",
    ]  # fmt: skip
    listed = folder / "content" / _MANIFEST
    second = folder / _SECOND
    store, state = second / "store", second / "state"
    try:
        listed.unlink(missing_ok=True)  # of an earlier demo: it would list itself as it was
        made = subprocess.run(manifest, capture_output=True, check=False)  # noqa: S603 - ours
        if made.returncode:
            raise StartError(made.stderr.decode(errors="replace").strip())
        listed.write_bytes(made.stdout)
        if second.exists():
            shutil.rmtree(second)  # it begins with nothing
        store.mkdir(parents=True)
        state.mkdir()
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}") from error
    listen, control = map(_beside, wanted)
    configuration = second / "ocaserve.toml"
    configuration.write_text(
        f'[appliance]\nid = "second"\nstate_directory = {json.dumps(str(state))}\n\n'
        f'[serve]\nlisten = [{json.dumps(listen)}]\nworkers = 1\naccess_log = "off"\n\n'
        f"[control]\nlisten = [{json.dumps(control)}]\n\n"
        f'[fill]\nmanifest_url = "{first}/{_MANIFEST}"\nwindow = ""\n'
        f"rate_bits_per_s = {_FILL_BITS_PER_S}\n\n"
        f"[[store]]\npath = {json.dumps(str(store))}\n"
    )
    return _start(configuration)


def _beside(address: str) -> str:
    """The address of the second appliance; a port that is chosen is chosen for it too."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + _PORTS_APART if int(port) else 0}"


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class DemoClient(NamedTuple):
    """A program that fetches, and how it is told to: a range, the rest of a file, a page."""

    program: str
    range: str
    rest: str
    page: str


CLIENTS = (
    DemoClient(
        "curl", "curl -r 0-99 -D - -o /dev/null {0}", "curl -C - -O {0}", "curl {0}"
    ),
    DemoClient(
        "wget", "wget -S -O /dev/null --header='Range: bytes=0-99' {0}", "wget -c {0}",
        "wget -q -O - {0}",
    ),
    DemoClient(
        "fetch", "fetch -o - {0} | head -c 100 | wc -c", "fetch -r {0}", "fetch -q -o - {0}"
    ),
    DemoClient(
        "python3",
        "python3 -c 'import urllib.request as u; print(u.urlopen(u.Request(\"{0}\", "
        "headers={{\"Range\": \"bytes=0-99\"}})).headers)'",
        "python3 -c 'import urllib.request as u; u.urlretrieve(\"{0}\", \"film.mp4\")'",
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"{0}\").read().decode())'",
    ),
)  # fmt: skip


def find_client() -> DemoClient:
    """The first that this machine has; the last one is what runs us, or near enough."""
    return next((each for each in CLIENTS if shutil.which(each.program)), CLIENTS[-1])


def describe(facts: dict[str, Any], second: dict[str, Any], log: Path) -> str:
    """What to try, as text. facts: what the appliance says of itself when it serves. second: what
    the one says that is filled; nothing if it does not serve.
    """
    at = f"http://{facts['listen'][0]}"
    control = facts["services"]["control"][0]
    program = "ocaserve" if shutil.which("ocaserve") else f"{sys.executable} -m ocaserve"
    client = find_client()
    film = f"{at}/{_FILM}"
    told = f"""
The appliance serves. Try:

  watch and seek     open {at}/{_PAGES[0]} in a browser
  a byte range       {client.range.format(film)}
  resume a download  {client.rest.format(film)}
  what was asked     tail -f {log}
  the appliance      open http://{control}/ in a browser
  at a terminal      {program} status --watch --control {control}
  its routes         {program} routes --control {control}
  who is sent here   {program} explain 198.51.100.7 {_FILM} --control {control}
  what it reports    {client.page.format(f"http://{control}/v1/report")}
"""
    if second:
        its_control = second["services"]["control"][0]
        its_film = f"http://{second['listen'][0]}/{_FILM}"
        told += f"""
A second one is filling itself from it:

  see it come        open http://{its_control}/ in a browser, and look at Content
  at a terminal      {program} fill status --watch --control {its_control}
  follow both        {program} follow {film} {its_film} -o film.mp4
  watch from both    open {at}/follow.html?from={_FILM}&from={its_film} and stop one of them
"""
    return f"{told}\nCtrl-C ends it.\n"
