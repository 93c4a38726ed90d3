"""What documents make of what is known: in order, twice, late, from before, or wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import pytest

from ocaserve.fleet.pushed_documents import (
    Copy,
    DocumentError,
    DocumentOutcome,
    PushedDocument,
    advance,
    read_document,
)
from ocaserve.fleet.tables import Rank, Tables
from tests.support.fleet import by_text, report

NONE: dict[str, tuple[int, int]] = {}


def read(document: Mapping[str, Any]) -> PushedDocument:
    return read_document(json.dumps(document).encode())


class Receiver:
    """What is known of one appliance."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.copy = Copy("oca-1")

    def take(self, networks: dict[str, tuple[int, int]], **about: Any) -> DocumentOutcome:
        return self.take_document(report("oca-1", networks, **about))

    def take_document(self, document: Mapping[str, Any]) -> DocumentOutcome:
        self.copy, outcome = advance(self.copy, read(document), self.tables)
        return outcome

    @property
    def networks(self) -> dict[str, tuple[int, int]]:
        return {text: rank[:2] for text, rank in by_text(self.copy.table).items()}


def refuse(receiver: Receiver, outcome: DocumentOutcome, document: Mapping[str, Any]) -> str:
    """It is refused so, and nothing has changed."""
    before = receiver.copy
    with pytest.raises(DocumentError) as caught:
        receiver.take_document(document)
    assert caught.value.outcome is outcome
    assert receiver.copy is before
    return str(caught.value)


def test_changes_after_a_report() -> None:
    receiver = Receiver()
    receiver.take({"11.0.0.0/8": (1, 0), "12.0.0.0/8": (2, 5)})
    changes = {"13.0.0.0/8": (3, 0)}
    assert receiver.take(changes, serial=2, after=1, gone=("12.0.0.0/8",)) is DocumentOutcome.TAKEN
    assert receiver.networks == {"11.0.0.0/8": (1, 0), "13.0.0.0/8": (3, 0)}


def test_another_report_takes_the_place_of_the_one_before() -> None:
    receiver = Receiver()
    receiver.take({"11.0.0.0/8": (1, 0)})
    receiver.take({"12.0.0.0/8": (1, 0)}, serial=5)
    assert receiver.networks == {"12.0.0.0/8": (1, 0)}


def test_twice_and_late() -> None:
    """The second time changes nothing; what is older than what is known, neither."""
    receiver = Receiver()
    receiver.take({"11.0.0.0/8": (1, 0)})
    receiver.take(NONE, serial=2, after=1, gone=("11.0.0.0/8",))
    for _ in range(2):
        outcome = receiver.take({"12.0.0.0/8": (1, 0)}, serial=3, after=2)
        assert outcome is DocumentOutcome.TAKEN
    assert receiver.take({"11.0.0.0/8": (1, 0)}) is DocumentOutcome.REPEATED
    assert receiver.take(NONE, serial=2, after=1) is DocumentOutcome.REPEATED
    assert receiver.networks == {"12.0.0.0/8": (1, 0)}


def test_what_cannot_be_gone_on_from_asks_for_all() -> None:
    receiver = Receiver()
    asked = DocumentOutcome.ASKED_FOR_ALL
    refuse(receiver, asked, report("oca-1", NONE, serial=2, after=1))
    receiver.take({"11.0.0.0/8": (1, 0)})
    assert "not 7" in refuse(receiver, asked, report("oca-1", NONE, serial=8, after=7))
    refuse(receiver, asked, report("oca-1", NONE, session="s2", serial=2, after=1))
    untold = report("oca-1", {"12.0.0.0/8": (1, 0)}, serial=2, after=1) | {"attributes": {}}
    assert "'12.0.0.0/8'" in refuse(receiver, asked, untold)


def test_a_session_that_has_ended_stays_so() -> None:
    """A report of it that comes late, or is replayed, takes no place of the later one."""
    receiver = Receiver()
    receiver.take({"11.0.0.0/8": (1, 0)}, serial=9)
    receiver.take({"12.0.0.0/8": (1, 0)}, session="s2")
    refuse(
        receiver, DocumentOutcome.OF_ENDED_SESSION,
        report("oca-1", {"0.0.0.0/0": (1, 0)}, serial=10),
    )  # fmt: skip


def digest_of(*networks: str) -> str:
    shares = (blake2b(text.encode(), digest_size=16).digest() for text in networks)
    return f"{sum(int.from_bytes(share, 'big') for share in shares) % (1 << 128):032x}"


def test_the_digest_is_held_against_the_routes() -> None:
    receiver = Receiver()
    whole = report("oca-1", {"11.0.0.0/8": (1, 0), "2001:db8::/32": (1, 0)})
    receiver.take_document(whole | {"prefix_digest": digest_of("11.0.0.0/8", "2001:db8::/32")})
    changes = report("oca-1", NONE, serial=2, after=1, gone=("11.0.0.0/8",))
    wrong = changes | {"prefix_digest": digest_of("11.0.0.0/8")}
    refuse(receiver, DocumentOutcome.ASKED_FOR_ALL, wrong)
    receiver.take_document(changes | {"prefix_digest": digest_of("2001:db8::/32")})
    refuse(receiver, DocumentOutcome.MALFORMED, whole | {"serial": 3, "prefix_digest": "00"})


def test_the_digest_of_a_table_is_that_of_the_contract() -> None:
    """The texts are those of docs/report.md."""
    receiver = Receiver()
    document = report("oca-1", {"11.0.0.0/8": (2, 0), "2001:db8::/32": (1, 5)})
    receiver.take_document(document)
    texts = ["4 b00000008 2 0", f"6 20010db8{'0' * 24}20 1 5"]
    assert f"{receiver.copy.table.digest:032x}" == digest_of(*texts)
    receiver.take_document(report("oca-1", NONE, serial=2, after=1, gone=("2001:db8::/32",)))
    assert f"{receiver.copy.table.digest:032x}" == digest_of(texts[0])
    about = {"as_path": [1, 2], "weight": 0.5}
    changes = report("oca-1", {"11.0.0.0/8": (2, 0)}, serial=3, after=2)
    receiver.take_document(changes | {"attributes": {"301": about}})
    assert f"{receiver.copy.table.digest:032x}" == digest_of("4 b00000008 2 0 0 0.5")


def test_a_network_that_is_written_twice_counts_once() -> None:
    """The last of them counts; in the digest, too."""
    twice, once = Receiver(), Receiver()
    twice.take({"11.0.0.0/8": (1, 0), "11.0.0.1/8": (2, 0)})
    once.take({"11.0.0.0/8": (2, 0)})
    assert twice.copy.table.routes == once.copy.table.routes
    assert twice.copy.table.digest == once.copy.table.digest


@pytest.mark.parametrize(
    ("about", "rank"),
    [
        pytest.param({"as_path": [1, 2, 3]}, (3, 0), id="plain"),
        pytest.param({"as_path": [1, [2, 3]], "med": 7}, (2, 7), id="set"),
        pytest.param(
            {"as_path": [9, 9, 1], "as_path_confederation": 2}, (1, 0), id="confederation"
        ),
        pytest.param({"as_path": [1, 2], "as_path_length": 300}, (300, 0), id="cut"),
        pytest.param({}, (0, 0), id="none"),
    ],
)
def test_length_of_a_path(about: dict[str, Any], rank: tuple[int, int]) -> None:
    document = report("oca-1", {"11.0.0.0/8": (1, 0)})
    receiver = Receiver()
    receiver.take_document(document | {"attributes": {"101": about}})
    assert receiver.networks == {"11.0.0.0/8": rank}


def test_marks_of_a_route() -> None:
    """A network goes by its best route, which stands first; marks that change are another table."""
    receiver = Receiver()
    document = report("oca-1", {"11.0.0.0/8": (1, 0)})
    receiver.take_document(document)
    before = receiver.copy.table
    about = {"as_path": [1], "backup": True, "weight": 2}
    changes = report("oca-1", {"11.0.0.0/8": (1, 0)}, serial=2, after=1)
    receiver.take_document(changes | {"attributes": {"201": about}})
    assert by_text(receiver.copy.table) == {"11.0.0.0/8": Rank(1, 0, True, 2.0)}
    assert receiver.copy.table.digest != before.digest
    receiver.take({"11.0.0.0/8": (1, 0)}, serial=3, after=2)
    assert receiver.copy.table is before


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param({"attributes": {"101": {"weight": 0}}}, "weight", id="weight"),
        pytest.param({"attributes": {"101": {"backup": 1}}}, "backup", id="backup"),
        pytest.param({"schema": "ocaserve.report/2"}, "schema", id="schema"),
        pytest.param({"kind": "rumour"}, "kind", id="kind"),
        pytest.param({"serial": -1}, "serial", id="serial"),
        pytest.param({"appliance": ""}, "appliance", id="appliance"),
        pytest.param({"routes": []}, "routes", id="routes"),
        pytest.param({"routes": {"11.0.0.0/40": []}}, "11.0.0.0/40", id="network"),
        pytest.param({"capacity": {"free_bits_per_s": -1}}, "free_bits_per_s", id="capacity"),
        pytest.param({"attributes": {"101": {"med": -1}}}, "med", id="med"),
        pytest.param({"attributes": {"1": {"med": 1 << 32}}}, "med", id="large med"),
        pytest.param({"attributes": {"1": {"as_path_length": 1 << 64}}}, "_length", id="path"),
        pytest.param(
            {"attributes": {"1": {"as_path_confederation": 1 << 64}}}, "_confed", id="confederation"
        ),
        pytest.param({"place": {"urls": ["javascript:x"]}}, "place.urls", id="url"),
        pytest.param({"place": {"urls": ["http://a\r\nX: y"]}}, "place.urls", id="header"),
        pytest.param({"place": {"urls": ["http://user@a"]}}, "place.urls", id="user"),
        pytest.param({"place": {"urls": ["http://b", "http://[a"]}}, "place.urls[1]", id="bracket"),
        pytest.param({"place": {"urls": ["http://a:99999"]}}, "place.urls[0]", id="port"),
        pytest.param({"place": {"location": [1, 2, 3]}}, "place.location", id="location"),
        pytest.param({"place": {"location": [91, 0]}}, "place.location", id="latitude"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], names: str) -> None:
    document = report("oca-1", {"11.0.0.0/8": (1, 0)}) | change
    assert names in refuse(Receiver(), DocumentOutcome.MALFORMED, document)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"schema": 1}'])
def test_what_is_no_document(data: bytes) -> None:
    with pytest.raises(DocumentError) as caught:
        read_document(data)
    assert caught.value.outcome is DocumentOutcome.MALFORMED
