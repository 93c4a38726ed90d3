"""Who is billed for which bytes, and what settings may say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocaserve.bills.from_settings import read_grouping
from ocaserve.bills.parties import Grouping, Party
from ocaserve.errors import SettingsError
from ocaserve.settings.fleet import load_fleet

DAY = 86_400


def split(parties: list[Party], network: str, site: str = "", at: int = 0) -> str:
    """To whom a network belongs."""
    [owner] = Grouping(parties).at(at).split({network: 1}, site)
    return owner


PARTIES = [
    Party(id="wide", prefixes=("198.51.0.0/16", "2001:db8::/32")),
    Party(id="narrow", prefixes=("198.51.100.0/24",), since=5 * DAY, until=9 * DAY),
    Party(id="place", sites=("exchange",)),
]


@pytest.mark.parametrize(
    ("network", "site", "day", "owner"),
    [
        ("198.51.7.0/24", "", 0, "wide"),
        ("198.51.100.0/24", "", 4, "wide"),
        ("198.51.100.0/24", "", 5, "narrow"),
        ("198.51.100.128/25", "", 8, "narrow"),
        ("198.51.100.0/24", "", 9, "wide"),
        ("198.51.100.0/23", "", 6, "wide"),
        ("198.0.0.0/8", "", 0, "unassigned"),
        ("203.0.113.0/24", "exchange", 0, "place"),
        ("198.51.7.0/24", "exchange", 0, "wide"),
        ("2001:db8:1::/48", "", 0, "wide"),
        ("local", "exchange", 0, "place"),
        ("other", "lab", 0, "unassigned"),
    ],
)
def test_the_longest_prefix_then_the_site(network: str, site: str, day: int, owner: str) -> None:
    assert split(PARTIES, network, site, day * DAY) == owner


def test_what_is_split_is_whole() -> None:
    sent = {"198.51.7.0/24": 5, "198.51.8.0/24": 6, "203.0.113.0/24": 7, "other": 8}
    assert Grouping(PARTIES).at(0).split(sent, "") == {"wide": 11, "unassigned": 15}


def test_a_grouping_is_what_its_text_says() -> None:
    grouping = Grouping(PARTIES)
    assert Grouping.read(grouping.text).digest == Grouping(PARTIES[::-1]).digest == grouping.digest


@pytest.mark.parametrize(
    ("changed", "day"),
    [
        ([*PARTIES, Party(id="new", sites=("lab",), since=20 * DAY)], 20),
        (PARTIES[1:], 0),
        ([PARTIES[0], PARTIES[2]], 5),
    ],
)
def test_groupings_differ_from_a_day_on(changed: list[Party], day: int) -> None:
    assert Grouping(PARTIES).differs_from(Grouping(changed)) == day * DAY
    assert Grouping(changed).differs_from(Grouping(PARTIES)) == day * DAY


def test_an_end_that_moves_counts_from_the_earlier_one() -> None:
    moved = [PARTIES[0], Party(id="narrow", prefixes=("198.51.100.0/24",), since=5 * DAY)]
    assert Grouping(PARTIES[:2]).differs_from(Grouping(moved)) == 9 * DAY


# -- settings ------------------------------------------------------------------------------------


def read(folder: Path, toml: str) -> Grouping:
    config = folder / "fleet.toml"
    config.write_text(toml)
    return read_grouping(load_fleet(str(config)))


def test_as_numbers_stand_for_their_prefixes(tmp_path: Path) -> None:
    roas = [
        {"prefix": "192.0.2.0/24", "maxLength": 24, "asn": 64500},
        {"prefix": "2001:db8::/32", "maxLength": 48, "asn": "AS64501"},
        {"prefix": "198.51.100.0/24", "maxLength": 24, "asn": 64502},
    ]
    (tmp_path / "roas.json").write_text(json.dumps({"roas": roas}))
    grouping = read(
        tmp_path,
        '[fleet]\nas_prefixes_file = "roas.json"\n[[fleet.party]]\nid = "a"\n'
        'as_numbers = [64500, 64501]\nprefixes = ["203.0.113.0/24"]\nuntil = "2026-12-01"\n',
    )
    [party] = grouping.parties
    assert party.prefixes == ("192.0.2.0/24", "2001:db8::/32", "203.0.113.0/24")
    assert party.until == 1_796_083_200


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[[fleet.party]]\nid = "a"', "has nothing"),
        ('[[fleet.party]]\nid = "unassigned"\nsites = ["x"]', "another name"),
        ('[[fleet.party]]\nid = "a"\nprefixes = ["x"]', "'x' is neither an address nor a prefix"),
        ('[[fleet.party]]\nid = "a"\nas_numbers = [1]', "beside fleet.as_prefixes_file"),
        ('[[fleet.party]]\nid = "a"\nsites = ["x"]\nsince = "2026-02-30"', "such as"),
        (
            '[[fleet.party]]\nid = "a"\nsites = ["x"]\nsince = "2026-02-03"\nuntil = "2026-02-03"',
            "after since",
        ),
        ('[[fleet.party]]\nid = "a"\nsites = ["x"]\n' * 2, "stands there 2 times"),
        ('[fleet]\nledger = "mysql://x/y"', "sqlite:///FOLDER"),
        (
            '[[fleet.party]]\nid = "a"\nprefixes = ["192.0.2.0/24"]\n'
            '[[fleet.party]]\nid = "b"\nprefixes = ["192.0.2.7/24"]',
            "the prefix 192.0.2.0/24 is of 'a' and of 'b' at the same time",
        ),
    ],
)
def test_what_parties_may_not_be_is_refused(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(tmp_path, toml)


def test_parties_may_follow_each_other(tmp_path: Path) -> None:
    grouping = read(
        tmp_path,
        '[[fleet.party]]\nid = "a"\nsites = ["x"]\nuntil = "2026-02-03"\n'
        '[[fleet.party]]\nid = "b"\nsites = ["x"]\nsince = "2026-02-03"\n',
    )
    assert grouping.at(1_770_000_000 - 300).split({"other": 1}, "x") == {"a": 1}
    assert grouping.at(1_771_000_000).split({"other": 1}, "x") == {"b": 1}
