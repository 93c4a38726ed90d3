"""A fleet that is played: that answers stay right, whatever happens to it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fleet.checker import Bounds, Checker, Question
from benchmarks.fleet.documents import ModelAppliance, Routes
from benchmarks.fleet.growth import Grown, find_least, plot, sizes_between, weigh
from benchmarks.fleet.stocks import Shelf, Stocks, film
from benchmarks.fleet.world import Networks, World, make_world
from benchmarks.processes import ROOT
from ocaserve.fill.manifest import Entry, Manifest
from ocaserve.fleet.allotment import Catalogue, allot
from ocaserve.fleet.presence import Presence, sight
from ocaserve.fleet.pushed_documents import (
    Copy,
    DocumentOutcome,
    HeldObjects,
    advance,
    read_document,
)
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


def test_what_is_on_shelves(world: World) -> None:
    """A manifest, half of it filled, all of it; then other objects: told as the control plane
    understands it, and known as it is.
    """
    objects = [Entry(key=film(number), size=1, sha256=f"{number:064x}") for number in range(50)]
    catalogue = Catalogue.of(Manifest(version="1", objects=objects), b"1")
    plan = allot(catalogue, [1] * 50, {"oca-00000": 1.0, "other": 1.0})
    numbers, manifest = plan.numbers["oca-00000"], plan.versions["oca-00000"]
    shelf = Shelf(100)

    def seen() -> set[int]:
        told = shelf.tell()
        held = HeldObjects(told.manifest, told.count, told.here)
        sighting = sight("oca-00000", held, plan, catalogue)
        presence = Presence(catalogue, {"oca-00000": sighting}, {"oca-00000": "site"})
        return {number for number in range(50) if presence.has("oca-00000", number)}

    shelf.take(manifest, numbers, [1] * len(numbers))
    assert seen() == set()
    shelf.fill(3)
    assert seen() == set(numbers[:3])
    assert not shelf.is_full
    shelf.fill(50)
    assert seen() == set(numbers)
    assert shelf.is_full
    shelf.take("next", [numbers[0], 60], [1, 1])
    assert not shelf.is_full
    assert np.flatnonzero(shelf.has).tolist() == [numbers[0]]
    assert set(np.flatnonzero(shelf.lost)) == set(numbers)


def test_objects_that_came_and_went(world: World, tmp_path: Path) -> None:
    """What has just gone may be answered with for a while; what came must be, once it is told."""
    site = world.sites[0]
    appliance = ModelAppliance(0, site, Routes(world, site), "s1", 1e9)
    stocks = Stocks(tmp_path / "catalogue.json", 10, [appliance], lambda _: None, 1.0, seed=1)
    stocks.write([film(number) for number in range(10)], version=1)
    shelf, now = stocks.shelves[0], time.monotonic()

    def has(number: int, at: float, *, is_generous: bool) -> bool:
        return stocks.has(0, film(number), at, 5.0, is_generous=is_generous)

    shelf.take("one", [1], [1])
    shelf.fill(1)
    appliance.held = shelf.tell()
    assert has(1, now, is_generous=True)
    assert not has(1, now + 60, is_generous=False)
    appliance.was_taken(1, set(), set(), appliance.held)
    assert not has(1, now + 4, is_generous=False)
    assert has(1, now + 60, is_generous=False)
    shelf.take("two", [2], [1])
    assert has(1, now + 4, is_generous=True)
    assert not has(1, now + 60, is_generous=True)


def test_the_least_of_all_rounds_counts() -> None:
    first = [Grown(100, 30, 9, 2.0, 0.1, 50.0), Grown(200, 60, 9, 9.0, 0.1, 90.0)]
    second = [Grown(100, 30, 9, 3.0, 0.05, 60.0), Grown(200, 60, 9, 4.0, 0.2, 80.0)]
    assert find_least([*first, *second]) == [
        Grown(100, 30, 9, 2.0, 0.05, 50.0), Grown(200, 60, 9, 4.0, 0.1, 80.0),
    ]  # fmt: skip


def test_what_growth_may_cost() -> None:
    """Of sizes that are not twice each other too: a cost that grows faster is found."""
    assert sizes_between(100, 400) == [100, 200, 400]
    assert sizes_between(1_000, 5_000) == [1_000, 2_000, 4_000, 5_000]
    assert sizes_between(100, 100) == [100]

    def grown(power: float) -> list[Grown]:
        return [
            Grown(count, count, count, count**power, count ** (power - 1), count**power)
            for count in sizes_between(1_000, 5_000)
        ]

    assert {round(line.measured, 6) for line in weigh(grown(1.0))} == {2.0}
    assert all(line.is_kept for line in weigh(grown(1.05)))
    assert not any(line.is_kept for line in weigh(grown(1.2)))
    assert sum(each.count("<svg") for each in plot(grown(1.0))) == 6


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
def test_content_policies_and_real_appliances(tmp_path: Path) -> None:
    """Each of these plays to its end, and no answer is wrong."""
    command = [sys.executable, "-m", "benchmarks.fleet", "--appliances", "40", "--interval", "1"]
    chosen = [word for name in ("real", "canary", "manifest") for word in ("--scenario", name)]
    done = subprocess.run(
        [*command, *chosen, "--questions", "60", "--output", str(tmp_path / "fleet.html")],
        cwd=ROOT, capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.stdout.count("  wrong answers: 0.0 ") == 5, said
    for line in (
        "films that were not what they should be: 0.0 ",
        "answers later that named it: 0.0 ",
        "the slow canary was rolled back by measure: 1.0 ",
        "questions that failed: 0.0 ",
        "asked for what nobody had, once all were full: 0.0 ",
    ):
        assert line in done.stdout, said


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
