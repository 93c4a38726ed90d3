"""What has changed lately: each change once, also over a new control process."""

from __future__ import annotations

from typing import Any

from ocaserve.control.history import Aspect, History


def serving(word: str = "serving") -> Aspect:
    return Aspect("lifecycle", "", word, "ok" if word == "serving" else "warning", word)


def store(level: str, reason: str = "slow") -> Aspect:
    return Aspect("health", "stores", level, level, f"stores is {level}: {reason}")


def texts(history: History) -> list[str]:
    return [event.text for event in history.events]


def play(notes: dict[str, Any], *looks: tuple[Aspect, ...]) -> History:
    """A history that has seen these, one after the other; `notes` are what it leaves."""
    history = History(notes, notes.__setitem__, lambda: 1000.0)
    for aspects in looks:
        history.look(iter(aspects))
    return history


def test_changes() -> None:
    """What is well at first is no news; other reasons of the same level are none either."""
    history = play(
        {},
        (serving(), store("ok")),
        (serving(), store("warning")),
        (serving(), store("warning", "slower")),
        (serving("draining: fan"), store("ok")),
    )
    assert texts(history) == ["stores is warning: slow", "draining: fan", "stores is ok: slow"]
    assert {event.at for event in history.events} == {1000.0}


def test_trouble_at_first() -> None:
    """Is news."""
    assert texts(play({}, (store("error"),))) == ["stores is error: slow"]


def test_successor() -> None:
    """It knows what was, so nothing is told twice; and that it is another is told."""
    notes: dict[str, Any] = {}
    play(notes, (store("warning"),))
    history = play(notes, (store("warning"),), (store("ok"),))
    replaced = "the control process was replaced"
    assert texts(history) == ["stores is warning: slow", replaced, "stores is ok: slow"]
    assert texts(play(notes, (store("ok"),)))[-2:] == ["stores is ok: slow", replaced]


def test_bounded() -> None:
    """The last ones are kept, and a text is cut."""
    looks = [(store(("warning", "error")[n % 2], "x" * 1000),) for n in range(100)]
    history = play({}, *looks)
    assert len(history.events) == 24
    assert max(map(len, texts(history))) == 160


def test_note_of_another_version() -> None:
    """It begins anew."""
    assert texts(play({"history": {"events": 1}}, (store("error"),))) == ["stores is error: slow"]


def session(value: str | None) -> Aspect:
    """A session with a router; None: ExaBGP has not told of it yet."""
    level = "ok" if value in (None, "up") else "warning"
    return Aspect("session", "192.0.2.1", value, level, f"192.0.2.1 is {value}")


def test_what_is_not_known_yet() -> None:
    """It is no change, whatever it was before; what it is then is compared with what was."""
    notes: dict[str, Any] = {}
    assert texts(play(notes, (session(None),), (session("up"),))) == []
    replaced = "the control process was replaced"
    assert texts(play(notes, (session(None),), (session("up"),))) == [replaced]
    history = play(notes, (session(None),), (session("down"),), (session("down"),))
    assert texts(history) == [replaced, replaced, "192.0.2.1 is down"]
