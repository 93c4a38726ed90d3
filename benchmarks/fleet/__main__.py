"""The command: `python -m benchmarks.fleet` plays a fleet and writes what came of it."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.errors import LoadFailure
from benchmarks.fleet.page import render_page
from benchmarks.fleet.playing import Played, play
from benchmarks.fleet.scenarios import SCENARIOS
from benchmarks.fleet.stage import Size
from benchmarks.host import describe_machine
from benchmarks.processes import INTERRUPTED, signals_interrupt

_NAMES = [each.name for each in SCENARIOS]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--appliances", default=500, show_default=True, type=click.IntRange(40, 40_000))
@click.option("--sites", type=click.IntRange(20, 12_000), help="Default: 3 of 10 appliances.")
@click.option(
    "--scenario", "names", multiple=True, type=click.Choice(_NAMES),
    help="Which to play, several times for several; all of them by default.",
)  # fmt: skip
@click.option("--interval", default=5.0, show_default=True, type=click.FloatRange(1, 300),
              help="Seconds between two reports of an appliance.")  # fmt: skip
@click.option("--questions", default=100.0, show_default=True, type=click.FloatRange(2, 5_000),
              help="Of clients, a second at the peak; half of them of those watched.")  # fmt: skip
@click.option("--real", default=3, show_default=True, type=click.IntRange(2, 20),
              help="Processes of `ocaserve serve` among them, in scenario `real`.")  # fmt: skip
@click.option("--objects", type=click.IntRange(100, 50_000),
              help="Of the catalogue. Default: 40 for each appliance, at most 50,000.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option(
    "--output", default=Path("fleet.html"), show_default=True,
    type=click.Path(dir_okay=False, path_type=Path), help="The page that is written.",
)  # fmt: skip
def main(
    *, appliances: int, sites: int | None, names: tuple[str, ...], interval: float,
    questions: float, real: int, objects: int | None, seed: int, output: Path,
) -> None:  # fmt: skip
    """Play a fleet of appliances against a real control plane."""
    size = Size(
        appliances=appliances,
        sites=sites or max(20, appliances * 3 // 10),
        interval_s=interval,
        seed=seed,
        rates=(questions / 2, questions / 2),
        real=real,
        objects=objects or min(50_000, 40 * appliances),
    )
    kinds = {each.kind for each in SCENARIOS if not names or each.name in names}
    begins = {next(each.name for each in SCENARIOS if each.kind is kind) for kind in kinds}
    chosen = [each for each in SCENARIOS if not names or each.name in {*names, *begins}]
    begun = time.monotonic()
    columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    console = Console(stderr=True)
    try:
        with (
            signals_interrupt(),
            tempfile.TemporaryDirectory(prefix="benchmarks-fleet-") as scratch,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            task = progress.add_task("", total=len(chosen))

            def tell(what: str, done: int) -> None:
                progress.update(task, description=what, completed=done)
                if not console.is_terminal:
                    click.echo(f"{time.monotonic() - begun:5.0f} s: {what}", err=True)

            played = uvloop.run(play(size, chosen, Path(scratch), tell, _say))
    except KeyboardInterrupt:
        click.echo("benchmarks: interrupted; nothing was written", err=True)
        sys.exit(INTERRUPTED)
    except LoadFailure as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(1)
    minutes = (time.monotonic() - begun) / 60
    machine = describe_machine()
    output.write_text(render_page(size, played, machine, minutes, sys.argv[1:]))
    click.echo(f"{output}: {minutes:.1f} minutes")
    sys.exit(0 if all(each.is_kept for each in played) else 1)


def _say(each: Played) -> None:
    click.echo(f"{'ok  ' if each.is_kept else 'FAIL'} {each.scenario.name}: {each.scenario.what}")
    for line in each.lines:
        mark, sign = " " if line.is_kept else "!", "≥" if line.is_least else "≤"
        limit = "" if line.limit is None else f" ({sign} {line.limit:g})"
        click.echo(f"   {mark} {line.what}: {line.measured:,.1f} {line.unit}{limit}")
    for example in each.examples:
        click.echo(f"   ! {example}")


if __name__ == "__main__":
    main()
