"""What good values are, each in words and as a test, so that the two cannot differ."""

from __future__ import annotations

import math
import re

from ocaserve.doctor.checks import Rule


def at_least(low: int, unit: str = "", field: int = 0) -> Rule:
    """A number, `low` or more. field: which of several numbers in a line."""
    which = ("", "second number ", "third number ")[field]
    return Rule(f"{which}at least {low}{_of(unit)}", lambda text: _number(text, field) >= low)


def at_most(high: int, unit: str = "") -> Rule:
    """A number, `high` or less."""
    return Rule(f"at most {high}{_of(unit)}", lambda text: _number(text) <= high)


def between(low: int, high: int, unit: str = "") -> Rule:
    """A number, both ends included."""
    return Rule(f"{low} to {high}{_of(unit)}", lambda text: low <= _number(text) <= high)


def one_of(*words: str) -> Rule:
    """One of these words."""
    return Rule(" or ".join(words), lambda text: text in words)


def chosen(*words: str) -> Rule:
    """One of these is chosen, in a line such as "none [mq-deadline] bfq"; or stands alone."""

    def holds(text: str) -> bool:
        marked = re.search(r"\[([^]]+)\]", text)
        return (marked.group(1) if marked else text) in words

    return Rule(" or ".join(words), holds)


def has_word(*words: str) -> Rule:
    """At least one of these is among the words of a line or a list."""
    return Rule(" or ".join(words), lambda text: not set(words).isdisjoint(_words(text)))


def has_no_word(word: str) -> Rule:
    """A word is not among those of a line or a list."""
    return Rule(f"no {word}", lambda text: word not in _words(text))


def version_at_least(*least: int) -> Rule:
    """A version, compared number by number; what follows, such as "-amd64", does not count."""

    def holds(text: str) -> bool:
        found = re.match(r"\d+(?:\.\d+)*", text)
        return found is not None and tuple(map(int, found.group().split("."))) >= least

    return Rule(f"{'.'.join(map(str, least))} or later", holds)


def numbers(text: str) -> list[int]:
    """All whole numbers of a line, in order."""
    return [int(found) for found in re.findall(r"\d+", text)]


def _number(text: str, field: int = 0) -> float:
    word = text.split()[field]
    return math.inf if word == "unlimited" else int(word)


def _words(text: str) -> set[str]:
    return set(re.split(r"[\s,]+", text))


def _of(unit: str) -> str:
    return f" {unit}" if unit else ""
