"""`python -m benchmarks`: run everything side by side and rewrite RESULTS.md."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.host import NotReadyError, check_needs, cubic, describe, locked_in_memory
from benchmarks.peers import ALL, OCASERVE
from benchmarks.plot import render_plot
from benchmarks.report import Result, render
from benchmarks.scenarios import SCENARIOS, Scenario, Setting, content

_HERE = Path(__file__).parent


@click.command()
@click.option("--quick", is_flag=True, help="One short round of everything, in under two minutes.")
@click.option("--only", multiple=True, metavar="NAME", help="Run these scenarios (see --list).")
@click.option("--rounds", type=click.IntRange(1, 50), help="Rounds of each scenario.")
@click.option("--list", "list_them", is_flag=True, help="Name the scenarios.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=_HERE, help="Folder."
)
def main(
    *, quick: bool, only: tuple[str, ...], rounds: int | None, list_them: bool, output: Path
) -> None:
    """Measure ocaserve beside nginx, aiohttp and a bare loop of sendfile."""
    if list_them:
        click.echo("\n".join(scenario.name for scenario in SCENARIOS))
        return
    unknown = set(only) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        raise click.UsageError(f"no such scenario: {', '.join(sorted(unknown))}; see --list")
    chosen = [scenario for scenario in SCENARIOS if not only or scenario.name in only]
    folder = Path(tempfile.mkdtemp(prefix="ocaserve-bench-"))
    try:
        check_needs(folder, [peer.port for peer in ALL])
        results, facts = _run(chosen, folder, rounds or (1 if quick else 5), 1.0 if quick else 2.0)
    except NotReadyError as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(2)
    finally:
        shutil.rmtree(folder)
    text = render(results, facts, OCASERVE.name)
    (output / "RESULTS.md").write_text(text)
    (output / "cost.svg").write_text(render_plot(results))
    click.echo(text.partition("## The bars")[2].partition("![")[0].strip())


def _run(
    chosen: list[Scenario], folder: Path, rounds: int, seconds: float
) -> tuple[list[Result], dict[str, str]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with (
        content(folder / "content") as paths,
        locked_in_memory(paths) as locked,
        cubic() as congestion,
        Progress(*columns, disable=not sys.stdout.isatty()) as bar,
    ):
        task = bar.add_task("benchmarks", total=None)
        setting = Setting(folder / "content", folder, rounds, seconds)
        results = [
            scenario.run(setting, lambda what: bar.update(task, description=what))
            for scenario in chosen
        ]
        facts = describe() | {
            "congestion control": congestion,
            "content": f"{len(paths)} files, {'locked in memory' if locked else 'not locked'}",
            "rounds": f"{rounds} of {seconds:g} s",
            "command": f"`python -m benchmarks {' '.join(sys.argv[1:])}`",
        }
    return results, facts


if __name__ == "__main__":
    main()
