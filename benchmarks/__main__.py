"""The command: `python -m benchmarks` plays everything and rewrites RESULTS.md and cost.svg."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import needs, runner, wrk
from benchmarks.errors import BenchmarkError, Refusal
from benchmarks.host import (
    congestion_control,
    describe_machine,
    describe_versions,
    raise_descriptor_limit,
)
from benchmarks.peers import commands_of
from benchmarks.plot import render_plot
from benchmarks.processes import INTERRUPTED, Cores, on_core, signals_interrupt
from benchmarks.report import Run, lines_of_plot, render, summary
from benchmarks.results import Bar, Results
from benchmarks.scenarios import BARS, SCENARIOS, Scenario
from benchmarks.stage import FULL, QUICK, Plan, Stage
from benchmarks.store import create_store

_HERE = Path(__file__).parent
_BASE_PORT = 18_480
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Fewer and shorter rounds: under two minutes.")
@click.option("--only", multiple=True, metavar="NAME", help="Play this scenario; may be repeated.")
@click.option("--list", "list_only", is_flag=True, help="Name the scenarios, and play none.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Samples of each server that matters.")
@click.option(
    "--output", default=_HERE, type=click.Path(file_okay=False, path_type=Path),
    help="Folder for RESULTS.md and cost.svg (default: benchmarks/).",
)  # fmt: skip
@click.option(
    "--scratch", default=Path("/var/tmp"), show_default=True,  # noqa: S108 - a folder of its own is made in it
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder, on a disk, for objects and logs; what is put there goes at the end.",
)  # fmt: skip
@click.option(
    "--port", default=_BASE_PORT, show_default=True, type=click.IntRange(1024, 65_535),
    help="The first of ten ports for the servers.",
)  # fmt: skip
def main(
    *, quick: bool, only: tuple[str, ...], list_only: bool, rounds: int | None,
    output: Path, scratch: Path, port: int,
) -> None:  # fmt: skip
    """Measure ocaserve beside nginx, aiohttp and a bare loop of sendfile, on this machine."""
    if list_only:
        for scenario in SCENARIOS.values():
            click.echo(f"{scenario.name:11} {scenario.title}")
        return
    plan = QUICK if quick else FULL
    scenarios = choose(only, quick=quick)
    if rounds is not None:
        plan = replace(plan, rounds=rounds, rounds_of_long=min(rounds, plan.rounds_of_long))
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # nginx is there
    try:
        with signals_interrupt():
            _run(scenarios, plan, output, scratch, port)
    except BenchmarkError as error:
        for line in str(error).splitlines():
            click.echo(f"benchmarks: {line}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("benchmarks: interrupted; nothing was written", err=True)
        sys.exit(INTERRUPTED)


def choose(names: Sequence[str], *, quick: bool) -> list[Scenario]:
    """Those that are named; without names, all that belong to such a run."""
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        known = ", ".join(SCENARIOS)
        raise click.BadParameter(f"{unknown[0]!r} is none of {known}", param_hint="--only")
    if names:
        return [scenario for name, scenario in SCENARIOS.items() if name in names]
    return [scenario for scenario in SCENARIOS.values() if scenario.is_quick or not quick]


def _run(scenarios: list[Scenario], plan: Plan, output: Path, scratch: Path, port: int) -> None:
    needs.check(scenarios, plan, scratch, port)
    machine = describe_machine()
    cores = Cores.of_this_machine()
    raise_descriptor_limit()
    start = time.monotonic()
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory("", "benchmarks-", scratch)))
        problem = undo.enter_context(congestion_control("cubic"))
        undo.enter_context(on_core(cores.clients))
        try:
            store = create_store(folder / "store", plan.objects, plan.object_bytes)
            stage = Stage(plan, store, folder, cores, port)
            stage.note(problem)
            results = _play(scenarios, stage)
        except OSError as error:
            if error.errno not in _DISK_TROUBLE:
                raise
            raise Refusal([f"{scratch}: {error.strerror}"]) from error
        machine["congestion control"] = "cubic" if problem is None else problem
    stage.note(_process_note(stage.processes))
    minutes = (time.monotonic() - start) / 60
    run = Run(
        command=f"python -m benchmarks {' '.join(sys.argv[1:])}".strip(),
        length=f"{plan.rounds} rounds of {plan.seconds} s in {minutes:.1f} minutes",
        machine=machine,
        versions=describe_versions(),
        commands={
            **commands_of(needs.peers_of(scenarios)),
            "wrk": " ".join(wrk.command("$port", 16, plan.seconds, "$trace")),
        },
        notes=stage.notes,
    )
    _write(output, run, results, _bars_of(scenarios))


def _play(scenarios: list[Scenario], stage: Stage) -> Results:
    total = sum(runner.seconds_of(scenario, stage.plan, BARS) for scenario in scenarios)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        begun = 0.0

        def show(what: str, seconds: float) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=what)
            begun += seconds

        return runner.play(scenarios, BARS, stage, show)


def _process_note(processes: dict[str, int]) -> str | None:
    """Who is counted: a supervisor or a control process costs, whatever it does meanwhile."""
    if not processes:
        return None
    counts = ", ".join(f"{name} {count}" for name, count in processes.items())
    return f"CPU is that of all processes of a server, helpers included; they have: {counts}"


def _bars_of(scenarios: Sequence[Scenario]) -> list[Bar]:
    """The bars that this run can judge."""
    names = {scenario.name for scenario in scenarios}
    return [bar for bar in BARS if bar.scenario in names]


def _write(output: Path, run: Run, results: Results, bars: Sequence[Bar]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "RESULTS.md").write_text(render(run, results, bars))
    (output / "cost.svg").write_text(render_plot(lines_of_plot(results)))
    click.echo(f"{output / 'RESULTS.md'}: {summary(results, bars)}")
    for error in results.errors():
        click.echo(f"failed: {error}", err=True)


if __name__ == "__main__":
    main()
