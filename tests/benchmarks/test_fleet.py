"""A fleet that is played: that answers stay right, whatever happens to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fleet.checker import Bounds, Checker, Question
from benchmarks.fleet.documents import ModelAppliance, Routes
from benchmarks.fleet.world import Networks, World, make_world
from benchmarks.processes import ROOT
from ocaserve.fleet.pushed_documents import Copy, DocumentOutcome, advance, read_document
from ocaserve.fleet.tables import Tables
from ocaserve.routing.forms import Form


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(40, seed=1)


def test_one_seed_has_one_world(world: World) -> None:
    """And another one another."""

    def starts(networks: Networks) -> list[int]:
        return [int(each) for each in networks.start]

    assert starts(make_world(40, seed=1).networks) == starts(world.networks)
    assert starts(make_world(40, seed=2).networks) != starts(world.networks)
    assert len({networks_code(world, number) for number in range(len(world.networks))}) == len(
        world.networks
    )


def networks_code(world: World, number: int) -> tuple[int, int, int]:
    return world.networks.code(number)


def test_what_is_said_is_understood(world: World) -> None:
    """A report, changes that take a network away, bring it back, and leak one: digests agree."""
    site = world.sites[-1]
    appliance = ModelAppliance(1, site, Routes(world, site), "s1", 1e9)
    appliance.form = Form.WHOLE
    tables = Tables()
    copy = Copy(appliance.id)
    number = world.networks.blocks[site.providers[1]].first

    def push() -> int:
        nonlocal copy
        changed, leaked = set(appliance.changed), set(appliance.leaked)
        document = read_document(appliance.say(1.0))
        copy, outcome = advance(copy, document, tables)
        assert outcome is DocumentOutcome.TAKEN
        appliance.was_taken(appliance.serial, changed, leaked, None)
        return len(copy.table)

    whole = push()
    assert whole == len(appliance.routes)
    appliance.routes.withdraw(number)
    appliance.route_changed([number])
    assert push() == whole - 1
    appliance.form = Form.BRIEF
    assert push() == whole - 1
    appliance.routes.announce(number)
    appliance.routes.leak("203.0.113.0/25", (1, 0))
    appliance.route_changed([number], ["203.0.113.0/25"])
    assert push() == whole + 1


def test_the_checker_sees_what_is_wrong(world: World) -> None:
    """Each kind of wrong answer, and none where the answer is right or it has just changed."""
    chance = np.random.default_rng(1)
    number = world.networks.blocks[0].first
    sites = [world.sites[each] for each in world.hearers[0]]
    near = [ModelAppliance(each.number, each, Routes(world, each), "s", 1e9) for each in sites]
    far_site = next(each for each in world.sites if 0 not in each.providers)
    far = ModelAppliance(999, far_site, Routes(world, far_site), "s", 1e9)
    checker = Checker(world, [*near, far], Bounds(10.0, 1.0))

    def wrong(answered: list[ModelAppliance], at: float) -> set[str]:
        checker.wrong.clear()
        address = world.networks.address_in(number, chance)
        checker.judge(Question(0, *address, "film", at), answered)
        return set(checker.wrong)

    region = int(world.networks.group[number]) % world.regions[0]
    best = next(each for each in near if each.site.region == region)
    assert wrong([best], 0.0) == set()
    assert wrong([far], 0.0) == {"uncovered", "not the best"}
    assert wrong([near[-1]], 0.0) == {"not the best"}
    assert wrong([], 0.0) == {"nobody"}
    checker.holds = lambda number, asked, *, is_generous: number != best.number
    assert wrong([best], 0.0) == {"without the object"}
    checker.holds = None
    checker.die([best])
    died_at = checker.dead_at[best.number]
    assert wrong([best], died_at + 9) == set()
    assert wrong([best], died_at + 11) == {"dead"}
    checker.live([best])
    checker.drain([best])
    assert wrong([best], checker.drained_at[best.number] + 2) == {"drained"}


@pytest.mark.scenario
@pytest.mark.timeout(240)
def test_five_hundred_appliances(tmp_path: Path) -> None:
    """Over HTTP to a real control plane: no answer is wrong. How fast is for `make bench-fleet`."""
    page = tmp_path / "fleet.html"
    command = [sys.executable, "-m", "benchmarks.fleet", "--appliances", "500", "--interval", "2"]
    chosen = [word for name in ("drain", "leak", "site") for word in ("--scenario", name)]
    done = subprocess.run(
        [*command, *chosen, "--questions", "40", "--output", str(page)],
        cwd=ROOT, capture_output=True, text=True, timeout=220, check=False,
    )  # fmt: skip
    assert done.stdout.count("  wrong answers: 0.0 ") == 4, done.stdout + done.stderr
    assert page.read_text().count("<svg") == 6
