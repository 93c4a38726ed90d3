"""What is a policy, and what it may be asked."""

from __future__ import annotations

import pytest

from ocaserve.policies.bundles import BundleError, make_bundle
from ocaserve.policies.policy_limits import LIMITS
from ocaserve.policies.questions import (
    ClientFacts,
    ObjectFacts,
    classify_key,
    find_reads,
    pick,
)
from ocaserve.policies.rulings import Ruling, merge_rulings

ADMIT = "def admit(client, server):\n    return True\n"


def test_a_version_is_the_digest_of_all_files() -> None:
    alone = make_bundle("a", {"a.star": ADMIT})
    assert alone.version == make_bundle("a", {"a.star": ADMIT}).version
    others = [
        make_bundle("a", {"a.star": ADMIT + "\n"}),
        make_bundle("b", {"b.star": ADMIT}),
        make_bundle("a", {"a.star": ADMIT, "lib/x.star": ""}),
        make_bundle("a", {"a.star": ADMIT, "lib/x.star": "\n"}),
    ]
    assert len({each.version for each in (alone, *others)}) == 5


@pytest.mark.parametrize(
    ("name", "files", "why"),
    [
        ("A", {"A.star": ADMIT}, "is no name"),
        ("../a", {"../a.star": ADMIT}, "is no name"),
        ("a", {"b.star": ADMIT}, "'a.star' is missing"),
        ("a", {"a.star": ADMIT, "/etc/passwd": ""}, "is no file of a policy"),
        ("a", {"a.star": ADMIT, "lib/../x.star": ""}, "is no file of a policy"),
        ("a", {"a.star": "x = 1\n"}, "defines none of admit, weight, order"),
        ("a", {"a.star": ADMIT + "#" * LIMITS.bundle_bytes}, "at most 262,144 are allowed"),
        ("a", {"a.star": ADMIT, **{f"lib/x{n}.star": "" for n in range(32)}}, "33 files: at most"),
    ],
    ids=range(8),
)
def test_what_is_no_policy(name: str, files: dict[str, str], why: str) -> None:
    with pytest.raises(BundleError, match=why):
        make_bundle(name, files)


def test_hooks_and_tests_are_found() -> None:
    bundle = make_bundle(
        "a",
        {
            "a.star": "def order(client, servers):\n    return servers\n\n\n"
            "def _test_not():\n    pass\n\n\ndef test_it():\n    pass\n"
        },
    )
    assert bundle.hooks == ("order",)
    assert bundle.tests == ("test_it",)


def test_a_program_is_given_what_it_names() -> None:
    reads = find_reads(
        make_bundle("a", {"a.star": "def admit(client, server):\n    return client.hour > 3\n"})
    )
    assert (reads.client, reads.server, reads.object) == (("hour",), ("id",), ())
    facts = ClientFacts(4, "11.0.0.0/8", 20)
    assert pick(facts, reads.client) == {"hour": 20}


@pytest.mark.parametrize(
    ("key", "folder", "suffix"),
    [
        ("live/one/a.TS", "live", ".ts"),
        ("film.mp4", "", ".mp4"),
        ("/live/a", "live", ""),
        ("live/.hidden", "live", ""),
        ("", "", ""),
    ],
)
def test_sorts_of_objects(key: str, folder: str, suffix: str) -> None:
    assert classify_key(key) == ObjectFacts(folder, suffix)


def test_policies_together() -> None:
    one = Ruling({"a": "one"}, {"b": 2.0}, ("one@1",))
    two = Ruling({"a": "two", "c": "two"}, {"b": 0.25, "d": 3.0}, ("two@1",))
    both = merge_rulings([one, two])
    assert both == Ruling({"a": "one", "c": "two"}, {"b": 0.5, "d": 3.0}, ("one@1", "two@1"))
