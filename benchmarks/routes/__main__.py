"""The command: `python -m benchmarks.routes` plays a million routes and rewrites ROUTES.md."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from benchmarks.errors import LoadFailure
from benchmarks.host import describe_machine
from benchmarks.processes import INTERRUPTED, signals_interrupt
from benchmarks.results import OURS, Results, Sample
from benchmarks.routes import page
from benchmarks.routes.inside import play_inside
from benchmarks.routes.live import describe_versions, play_alone, play_appliance
from benchmarks.routes.table import Group, count, make_groups, read_groups, render

_HERE = Path(__file__).parents[1]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--routes", default=1_000_000, show_default=True, type=click.IntRange(2_000))
@click.option("--mrt", type=click.Path(exists=True, dir_okay=False), help="A recorded table.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--output", default=_HERE, type=click.Path(file_okay=False, path_type=Path),
    help="Folder for ROUTES.md (default: benchmarks/).",
)  # fmt: skip
def main(*, routes: int, mrt: str | None, rounds: int, output: Path) -> None:
    """Measure how the appliance takes a full table, beside ExaBGP alone."""
    begun = time.monotonic()
    machine = {**describe_machine(), **describe_versions()}
    groups = read_groups(mrt) if mrt else make_groups(routes)
    try:
        with signals_interrupt():
            results = _play(groups, rounds)
    except KeyboardInterrupt:
        click.echo("benchmarks: interrupted; nothing was written", err=True)
        sys.exit(INTERRUPTED)
    minutes = (time.monotonic() - begun) / 60
    source = "a recorded table" if mrt else "made ones, with 5.7 prefixes an UPDATE"
    run = page.Run(
        command=f"python -m benchmarks.routes {' '.join(sys.argv[1:])}".strip(),
        length=f"{rounds} round{'s' * (rounds > 1)} in {minutes:.1f} minutes",
        routes=f"{count(groups):,} routes in {len(groups):,} UPDATEs: {source}",
        machine=machine,
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "ROUTES.md").write_text(page.render(run, results))
    click.echo(f"{output / 'ROUTES.md'}: {page.summary(results)}")
    for error in results.errors():
        click.echo(f"failed: {error}", err=True)
    sys.exit(1 if results.errors() else 0)


def _play(groups: Sequence[Group], rounds: int) -> Results:
    """All rounds; every second one goes backwards."""
    results, played = Results(), render(groups)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        scratch = Path(name)
        parts: list[tuple[str, str, Callable[[], dict[str, float]]]] = [
            (page.LIVE, page.ALONE, lambda: play_alone(played, scratch)),
            (page.LIVE, OURS, lambda: play_appliance(played, scratch)),
            (page.INSIDE, OURS, lambda: asyncio.run(play_inside(groups, scratch))),
        ]
        for turn in range(rounds):
            for part, peer, play in parts if turn % 2 == 0 else reversed(parts):
                click.echo(f"round {turn + 1}: {part}, {peer}", err=True)
                results.samples.append(_take(part, peer, turn, play))
    return results


def _take(part: str, peer: str, turn: int, play: Callable[[], dict[str, float]]) -> Sample:
    try:
        return Sample(part, peer, turn, play())
    except LoadFailure as error:
        return Sample(part, peer, turn, {}, (str(error),))


if __name__ == "__main__":
    main()
