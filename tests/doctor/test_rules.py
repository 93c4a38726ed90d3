"""What good values are: the words and the test come from one place, so the tests show both."""

from __future__ import annotations

import shlex

import pytest

from ocaserve.doctor import Check, CheckState, HostSource, HostValue, judge_all
from ocaserve.doctor import rules as r
from ocaserve.doctor.checks import CheckResult, Rule

ROWS = [
    pytest.param(r.at_least(4), "at least 4", "4", "3", id="at_least"),
    pytest.param(r.at_least(4), "at least 4", "unlimited", "3", id="unlimited"),
    pytest.param(r.at_least(4, "KiB"), "at least 4 KiB", "5 KiB", "-1", id="with_unit"),
    pytest.param(
        r.at_least(9, "bytes", field=2), "third number at least 9 bytes",
        "1 2 9", "9 9 8", id="field",
    ),
    pytest.param(r.at_most(80, "percent"), "at most 80 percent", "80 percent", "81", id="at_most"),
    pytest.param(r.between(2, 4), "2 to 4", "4", "5", id="between"),
    pytest.param(r.between(2, 4), "2 to 4", "2", "1", id="between_low"),
    pytest.param(r.one_of("bbr", "cubic"), "bbr or cubic", "cubic", "reno", id="one_of"),
    pytest.param(
        r.chosen("none", "mq-deadline"), "none or mq-deadline",
        "[none] mq-deadline bfq", "none mq-deadline [bfq]", id="chosen",
    ),
    pytest.param(r.chosen("none"), "none", "none", "bfq", id="chosen_alone"),
    pytest.param(r.has_word("tls"), "tls", "espintcp mptcp tls", "mptcp", id="has_word"),
    pytest.param(
        r.has_no_word("strictatime"), "no strictatime",
        "rw,relatime", "rw,strictatime", id="no_word",
    ),
    pytest.param(r.version_at_least(5, 0, 13), "5.0.13 or later", "5.0.15", "5.0.9", id="version"),
    pytest.param(r.version_at_least(5, 6), "5.6 or later", "6.1.0-37-amd64", "5.4.0", id="kernel"),
    pytest.param(
        r.version_at_least(5, 0), "5.0 or later", "5.0", "not installed", id="not_installed"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "words", "good", "wrong"), ROWS)
def test_rule(rule: Rule, words: str, good: str, wrong: str) -> None:
    """In words, a value that is good, and one that is not."""
    assert rule.good == words
    assert rule.holds(good)
    assert not rule.holds(wrong)


CHECK = Check("queue", HostSource("sysctl", "a.b"), r.at_least(4), "dear", "raise {subject} to 4")


@pytest.mark.parametrize(
    ("value", "state"),
    [
        pytest.param("4", CheckState.GOOD, id="good"),
        pytest.param("3", CheckState.WRONG, id="wrong"),
        pytest.param(None, CheckState.UNKNOWN, id="not_there"),
        pytest.param("many", CheckState.UNKNOWN, id="of_another_form"),
        pytest.param("", CheckState.UNKNOWN, id="empty"),
    ],
)
def test_judgement(value: str | None, state: CheckState) -> None:
    """What cannot be read is not held against the host."""
    (finding,) = judge_all([CHECK], lambda source: [HostValue(value, "sda")])
    assert finding.state is state
    assert finding.change == "raise sda to 4"


def test_each_reading_is_judged() -> None:
    """A host has several disks, or none."""
    two = judge_all([CHECK], lambda source: [HostValue("4", "sda"), HostValue("1", "sdb")])
    assert [f.state for f in two] == [CheckState.GOOD, CheckState.WRONG]
    assert [f.state for f in judge_all([CHECK], lambda source: [])] == [CheckState.UNKNOWN]


def test_json() -> None:
    """All that the text says, by name."""
    (finding,) = judge_all([CHECK], lambda source: [HostValue("3", "sda")])
    assert finding.as_json() == {
        "name": "queue", "subject": "sda", "state": "wrong", "reads": "sysctl a.b", "value": "3",
        "good": "at least 4", "cost": "dear", "change": "raise sda to 4",
    }  # fmt: skip


def test_commands_are_for_a_shell() -> None:
    """A store may lie in a folder with any name."""
    check = Check("name", HostSource("kind"), r.one_of("a"), "cost", "chown -R me: {subject}")
    finding = CheckResult(check, HostValue("b", "/srv/it's here"), CheckState.WRONG)
    assert shlex.split(finding.change) == ["chown", "-R", "me:", "/srv/it's here"]
