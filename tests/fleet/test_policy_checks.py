"""What a check finds: faults with their place, and what recorded decisions would become."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from ocaserve.cli import main
from ocaserve.fleet.decisions import Server
from ocaserve.fleet.policy_checks import check_policies
from ocaserve.fleet.recorded_decisions import DecisionRow
from ocaserve.policies.bundle_files import read_bundle
from ocaserve.policies.bundles import make_bundle
from tests.fleet.test_recorded_decisions import record

WIDE = {"11.0.0.0/8": (1, 0)}
KEYS = [f"film-{number}" for number in range(20)]


def recorded(client: str = "11.1.1.1") -> DecisionRow:
    servers = (Server("a", "one", labels=(("machine", "old"),)), Server("b", "two"))
    return record({"a": WIDE, "b": WIDE}, servers, client, *KEYS)


async def test_what_would_change() -> None:
    row = recorded()
    firsts = [ids[0] for ids in row.objects.values()]
    bundle = make_bundle(
        "old",
        {"old.star": "def admit(client, server):\n"
         "    return server.labels.get('machine') != 'old'\n"},
    )  # fmt: skip
    found = await check_policies([bundle], [row])
    assert found.faults == []
    assert (found.decisions, found.moved, found.unserved) == (20, firsts.count("a"), 0)
    assert all(each.without[0] == "a" and each.having == ["b"] for each in found.differences)


async def test_who_would_have_nobody() -> None:
    bundle = make_bundle("none", {"none.star": "def admit(client, server):\n    return False\n"})
    found = await check_policies([bundle], [recorded()])
    assert (found.moved, found.unserved) == (20, 20)


async def test_what_fails_for_a_recorded_decision() -> None:
    text = "def weight(client, server, object):\n    return 1 // (client.hour - client.hour)\n"
    found = await check_policies([make_bundle("w", {"w.star": text})], [recorded()])
    assert len(found.faults) == 1
    assert found.faults[0].startswith("w.star:2: ")
    assert '"hour"' in found.faults[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("def admit(client, server)\n    return True\n", "check.star:1: Parse error"),
        (
            "def admit(client, server):\n    return ture\n",
            "check.star:2: Variable `ture` not found",
        ),
        (
            "def admit(client, server):\n    return True\n\ndef test_it():\n    fail('so')\n",
            "test_it fails: check.star:5: so",
        ),
    ],
    ids=range(3),
)
def test_check_by_command(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "check.star"
    file.write_text(text)
    done = CliRunner().invoke(main, ["fleet", "policy", "check", str(file)])
    assert done.exit_code == 1
    assert fault in done.output


def test_a_new_one_is_good(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    log.write_bytes(msgspec.json.encode(recorded()) + b"\n")
    commands = CliRunner()
    assert commands.invoke(main, ["fleet", "policy", "new", "day", str(tmp_path)]).exit_code == 0
    done = commands.invoke(
        main, ["fleet", "policy", "check", str(tmp_path), "--decisions", str(log)]
    )
    assert done.exit_code == 0, done.output
    assert "1 tests passed" in done.output
    assert "20 decisions made again: 0 would have another first, 0 nobody" in done.output
    again = commands.invoke(main, ["fleet", "policy", "new", "day", str(tmp_path)])
    assert again.exit_code == 1


EXAMPLES = sorted((Path(__file__).parents[2] / "deploy/examples/policies").iterdir())


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda each: each.name)
async def test_examples_are_good(folder: Path) -> None:
    bundle = read_bundle(folder)
    found = await check_policies([bundle], [recorded()])
    assert found.faults == []
    assert found.tests == len(bundle.tests) >= 2
    assert found.decisions == 20
