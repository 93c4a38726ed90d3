"""Mutates what is in a corpus folder and asks for each result whether the invariant holds.

The same count gives the same inputs, so what fails can be run again. An input that fails belongs
into the corpus, where each run begins.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

Check = Callable[[bytes], None]


def fuzz(name: str, check: Check, tokens: list[bytes], count: int) -> None:
    """Check the corpus `name`, then `count` mutations of it. Raises what `check` raises."""
    for data in inputs(name, tokens, count):
        try:
            check(data)
        except Exception as error:
            error.add_note(f"input: {data!r}")
            raise


def inputs(name: str, tokens: list[bytes], count: int) -> Iterator[bytes]:
    """The corpus as it is, then mutations; `tokens` are what the grammar is made of."""
    corpus = [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
    yield from corpus
    chance = random.Random(count)
    for _ in range(count):
        data = chance.choice(corpus)
        for _ in range(chance.randint(1, 3)):
            data = mutate(data, chance, tokens, corpus)
        yield data


def mutate(data: bytes, chance: random.Random, tokens: list[bytes], corpus: list[bytes]) -> bytes:
    """One change: put in, take out, double, splice with another, or change a bit."""
    start = chance.randint(0, len(data))
    stop = min(len(data), start + chance.randint(1, 16))
    part = data[start:stop]
    other = chance.choice(corpus)
    between = chance.choice(
        [
            chance.choice(tokens) + part,
            chance.choice(tokens),
            b"",
            part * 2,
            other[chance.randint(0, len(other)) :][:64] + part,
            bytes(byte ^ (1 << chance.randint(0, 7)) for byte in part),
            chance.randbytes(1) + part,
        ]
    )
    return data[:start] + between + data[stop:]


def run(name: str, check: Check, tokens: list[bytes]) -> None:
    """`python -m tests.fuzz.fuzz_NAME [count]`."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    fuzz(name, check, tokens, count)
    print(f"{name}: {count} inputs, and the invariant holds")
