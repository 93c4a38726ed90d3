"""What can go wrong in a run.

BenchmarkError
├── Refusal      the run cannot start, or cannot go on: the machine lacks something
└── LoadFailure  one sample could not be taken: a server or a client failed
"""

from __future__ import annotations

from collections.abc import Iterable


class BenchmarkError(Exception):
    """Shown to the user as it is."""


class Refusal(BenchmarkError):  # noqa: N818 - named for what it is to the user
    """`problems`: one sentence each, naming what is missing and what to do."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class LoadFailure(BenchmarkError):  # noqa: N818 - as above
    """The sample is marked as failed; the run goes on."""
