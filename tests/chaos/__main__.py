"""`python -m tests.chaos`: hold a trial and report. Status 1 if something is not as it must be."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import click

from tests.chaos.faults import FAULTS
from tests.chaos.trial import Outcome, hold_trial


@click.command()
@click.option("--seconds", default=600.0, show_default=True, help="How long, at least.")
@click.option("--clients", default=64, show_default=True)
@click.option("--seed", type=int, help="Of a run that is to be repeated.")
@click.option(
    "--fault", "names", multiple=True, type=click.Choice([each.name for each in FAULTS]),
    metavar="NAME", help="Only these; again for more. An unknown one lists all.",
)  # fmt: skip
def main(seconds: float, clients: int, seed: int | None, names: tuple[str, ...]) -> None:
    """Let everything go wrong under many clients, and see that all comes back."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    begun = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)

    tell(f"seed {seed}, {clients} clients")
    with tempfile.TemporaryDirectory(prefix="ocaserve-chaos-") as folder:
        outcome = hold_trial(
            Path(folder), seconds=seconds, clients=clients, seed=seed, names=names, tell=tell
        )
    report(outcome)
    raise SystemExit(bool(outcome.findings))


def report(outcome: Outcome) -> None:
    """Print what was seen."""
    failed = sum(outcome.failed.values())
    print(
        f"\n{outcome.answered:,} answers, every byte as it should be; {failed:,} failed, explained:"
    )
    for (name, kind), count in sorted(outcome.failed.items()):
        print(f"  {count:6,}  {kind:12}  {name}")
    slowest = max(outcome.episodes, key=lambda each: each.back_s)
    print(f"slowest to be back: {' + '.join(slowest.names)}, {slowest.back_s:.1f} s")
    for sort, (first, last) in outcome.sizes.items():
        print(
            f"{sort}: descriptors {first.descriptors} -> {last.descriptors}, "
            f"memory {first.memory >> 20} -> {last.memory >> 20} MiB"
        )
    print(f"{len(outcome.findings)} findings (seed {outcome.seed})")
    for finding in outcome.findings:
        print(f"  {finding}")


if __name__ == "__main__":
    main()
