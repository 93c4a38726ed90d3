"""Playlists with pathways, and the steering of players, as rules without a socket."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NoReturn
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fleet.atlas import Covered
from ocaserve.fleet.client_urls import ClientLocation, Object, Signer, parse_key
from ocaserve.fleet.dash_playlists import add_dash_pathways
from ocaserve.fleet.decisions import Group, Server, rank_candidates
from ocaserve.fleet.hls_playlists import add_hls_pathways
from ocaserve.fleet.pathways import (
    MOST_LISTED,
    MOST_PATHWAYS,
    Pathway,
    PlaylistError,
    find_clones,
    parse_listed,
    pathway_id,
    prioritize,
    rank_again,
    rank_pathways,
)
from ocaserve.fleet.tables import Network, Rank
from ocaserve.protocol.signatures import SigningPolicy, check_folder_signature
from ocaserve.protocol.target import parse_target

SECRET, END = bytes(range(32)), 1_800_000_000
POLICY = SigningPolicy({b"7": SECRET})
BASE = parse_key("film/é 1/main.m3u8")
STEERING = "http://fleet/v1/steering/hls/a,b/film"


def way(name: str, base: str, *, is_signed: bool = True) -> Pathway:
    location = ClientLocation(base, "7", SECRET) if is_signed else ClientLocation(base)
    return Pathway(name, Signer(location), END, BASE.key.rpartition(b"/")[0])


SIGNED = [way("a", "https://a.example"), way("b", "https://b.example:8443")]
PLAIN = [way("a", "http://a", is_signed=False), way("b", "http://b", is_signed=False)]


def opens(url: str) -> bytes:
    """The object that a URL opens at its appliance. Raises RequestRefused where it does not."""
    parts = urlsplit(url)
    named = parse_target(f"{parts.path}?{parts.query}".encode())
    check_folder_signature(POLICY, named.key, named.signature, parts.netloc.encode(), END)
    return named.key


# -- HLS -----------------------------------------------------------------------------------------

MASTER = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-CONTENT-STEERING:SERVER-URI="http://other/steering"
#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://key",KEYFORMAT="com.apple.streamingkeydelivery"
#EXT-X-SESSION-DATA:DATA-ID="title",URI="title.json"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="a, b",DEFAULT=YES,URI="a/main.m3u8?x=1"
#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="c",INSTREAM-ID="CC1"

#EXT-X-STREAM-INF:BANDWIDTH=1000,CODECS="avc1,mp4a",AUDIO="aac",CLOSED-CAPTIONS="cc",PATHWAY-ID="x"
v/low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2000,AUDIO="aac",CLOSED-CAPTIONS=NONE
/film/other/high.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=3000
https://elsewhere.example/top.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=10,URI="i.m3u8"
"""


def tags(text: str, name: str) -> list[dict[str, str]]:
    """Attributes of the tags of a name, without quotes; a variant's URI as `URI`."""
    lines = text.splitlines()
    found = []
    for place, line in enumerate(lines):
        if line.startswith(f"{name}:"):
            given = dict(re.findall(r'([A-Z-]+)=("[^"]*"|[^",]*)', line))
            attributes = {key: value.strip('"') for key, value in given.items()}
            if name == "#EXT-X-STREAM-INF":
                attributes["URI"] = lines[place + 1]
            found.append(attributes)
    return found


def test_variants_of_each_pathway() -> None:
    """All of the first, then all of the next; equal but for what players leave out of account."""
    text = add_hls_pathways(MASTER, BASE, SIGNED, STEERING, 5_000_000)
    variants = tags(text, "#EXT-X-STREAM-INF")
    assert [each["PATHWAY-ID"] for each in variants] == ["a"] * 3 + ["b"] * 3
    assert [each["BANDWIDTH"] for each in variants] == ["1000", "2000", "3000"] * 2
    for place, host in ((0, "a.example"), (3, "b.example:8443")):
        low, high, top = (each["URI"] for each in variants[place : place + 3])
        assert opens(low) == "film/é 1/v/low.m3u8".encode()
        assert opens(urljoin(low, "seg/1.m4s")) == "film/é 1/v/seg/1.m4s".encode()
        assert opens(high) == b"film/other/high.m3u8"
        assert (urlsplit(low).netloc, top) == (host, "https://elsewhere.example/top.m3u8")
    assert [each["AUDIO"] for each in variants if "AUDIO" in each] == ["aac@a"] * 2 + ["aac@b"] * 2
    assert [each.get("CLOSED-CAPTIONS") for each in variants] == ["cc", "NONE", None] * 2


def test_renditions_of_each_pathway() -> None:
    """Their groups are each pathway's own; captions, which have no URI, are stated once."""
    text = add_hls_pathways(MASTER, BASE, SIGNED, STEERING, 5_000_000)
    audio = [each for each in tags(text, "#EXT-X-MEDIA") if each["TYPE"] == "AUDIO"]
    assert [(each["GROUP-ID"], each["PATHWAY-ID"]) for each in audio] == [
        ("aac@a", "a"), ("aac@b", "b"),
    ]  # fmt: skip
    assert all(each["NAME"] == "a, b" and each["URI"].endswith("?x=1") for each in audio)
    assert opens(audio[1]["URI"].removesuffix("?x=1")) == "film/é 1/a/main.m3u8".encode()
    assert text.count("CLOSED-CAPTIONS,GROUP-ID") == 1
    frames = tags(text, "#EXT-X-I-FRAME-STREAM-INF")
    assert [opens(each["URI"]) for each in frames] == ["film/é 1/i.m3u8".encode()] * 2


def test_steering_tag() -> None:
    """Ours alone, beginning with the best; what is of no pathway comes from that one."""
    text = add_hls_pathways(MASTER, BASE, SIGNED, STEERING, 5_000_000)
    assert tags(text, "#EXT-X-CONTENT-STEERING") == [{"SERVER-URI": STEERING, "PATHWAY-ID": "a"}]
    (data,) = tags(text, "#EXT-X-SESSION-DATA")
    assert opens(data["URI"]) == "film/é 1/title.json".encode()
    assert 'URI="skd://key"' in text
    assert text.startswith("#EXTM3U\n#EXT-X-VERSION:7\n")


def test_media_playlist_is_the_only_variant() -> None:
    media = "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n#EXTINF:4,\r\n1.ts\r\n#EXT-X-ENDLIST\r\n"
    text = add_hls_pathways(media, BASE, PLAIN, STEERING, 5_000_000)
    assert tags(text, "#EXT-X-STREAM-INF") == [
        {"BANDWIDTH": "5000000", "PATHWAY-ID": each, "URI": f"http://{each}{BASE.path}"}
        for each in "ab"
    ]
    assert "1.ts" not in text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "does not begin", id="empty"),
        pytest.param("<html>", "does not begin", id="other"),
        pytest.param("#EXTM3U\n", "neither variants nor segments", id="nothing"),
        pytest.param("#EXTM3U\na.m3u8\n", "has no #EXT-X-STREAM-INF", id="uri_alone"),
        pytest.param("#EXTM3U\n#EXT-X-STREAM-INF:x\na\n", "is no attribute", id="attributes"),
        pytest.param("#EXTM3U\n#EXT-X-STREAM-INF:A=1\n..%2fb\n", "names no object", id="target"),
        pytest.param("#EXTM3U\n#EXT-X-STREAM-INF:A=1\nhttp://[x\n", r"http://\[x", id="host"),
    ],
)
def test_hls_that_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(PlaylistError, match=complaint):
        add_hls_pathways(text, BASE, PLAIN, STEERING, 1)


@given(st.text(max_size=300).map("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n".__add__))
def test_any_text_is_taken_or_refused(text: str) -> None:
    """And what is made of it is one for every line that it has."""
    try:
        made = add_hls_pathways(text, BASE, PLAIN, STEERING, 1)
    except PlaylistError:
        return
    assert made.startswith("#EXTM3U\n")


# -- DASH ----------------------------------------------------------------------------------------

NAMESPACE = "{urn:mpeg:dash:schema:mpd:2011}"
MPD = b"""<?xml version="1.0" encoding="utf-8"?>
<!-- <BaseURL>comment</BaseURL> -->
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:cenc="urn:mpeg:cenc:2013" note="a > b">
 <ProgramInformation><Title>x</Title></ProgramInformation>
 %b
 <Location a=">"/><PatchLocation>http://old/patch</PatchLocation>
 <Period><BaseURL>period/</BaseURL>
  <ContentProtection><cenc:pssh>AAAA</cenc:pssh></ContentProtection>
  <AdaptationSet><Representation><BaseURL>v.mp4</BaseURL></Representation></AdaptationSet>
 </Period>
</MPD>"""


def add(mpd: bytes, pathways: Sequence[Pathway] = tuple(SIGNED)) -> bytes:
    return add_dash_pathways(mpd, BASE, pathways, "http://fleet/v1?a&b")


@pytest.mark.parametrize(
    ("base", "folder"),
    [
        pytest.param(b"", "film/é 1/", id="none"),
        pytest.param(b"<BaseURL>./</BaseURL>", "film/é 1/", id="own_folder"),
        pytest.param(b"<BaseURL> cmaf/<!-- --></BaseURL>", "film/é 1/cmaf/", id="folder_in_it"),
        pytest.param(b"<BaseURL>cmaf/x.mpd</BaseURL>", "film/é 1/cmaf/", id="object"),
        pytest.param(b"<BaseURL>..</BaseURL>", "film/", id="around_it"),
        pytest.param(b"<BaseURL>/b/</BaseURL><BaseURL>c/</BaseURL>", "b/", id="two"),
    ],
)
def test_base_urls(base: bytes, folder: str) -> None:
    """One for each pathway, for the folder that the MPD's own names, and no others."""
    made = add(MPD % base)
    root = ElementTree.fromstring(made)
    found = root.findall(f"{NAMESPACE}BaseURL")
    assert [each.get("serviceLocation") for each in found] == ["a", "b"]
    for each in found:
        url = (each.text or "") + "v.mp4"
        assert opens(url) == f"{folder}v.mp4".encode()
    steering = root.find(f"{NAMESPACE}ContentSteering")
    assert steering is not None
    assert (steering.text, steering.get("defaultServiceLocation")) == ("http://fleet/v1?a&b", "a")
    names = [each.tag.removeprefix(NAMESPACE) for each in root]
    assert names == ["ProgramInformation", "BaseURL", "BaseURL", "ContentSteering", "Period"]


def test_what_the_packager_wrote_stays() -> None:
    """To the byte, in its own prefixes."""
    made = add(MPD % b"<BaseURL>cmaf/</BaseURL>")
    for kept in (b"<!-- <BaseURL>comment</BaseURL> -->", b"<cenc:pssh>AAAA</cenc:pssh>",
                 b"<BaseURL>period/</BaseURL>", b'note="a > b"'):  # fmt: skip
        assert kept in made
    prefixed = b'<m:MPD xmlns:m="urn:mpeg:dash:schema:mpd:2011"><m:Period/></m:MPD>'
    root = ElementTree.fromstring(add(prefixed))
    assert [each.tag.removeprefix(NAMESPACE) for each in root][:2] == ["BaseURL", "BaseURL"]


@pytest.mark.parametrize(
    ("mpd", "complaint"),
    [
        pytest.param(b"", "is not XML", id="empty"),
        pytest.param(b"<MPD><Period/>", "is not XML", id="cut"),
        pytest.param(b"<MPD></MPD>", "no MPD with a Period", id="without_period"),
        pytest.param(b"<SmoothStreamingMedia/>", "root is", id="other"),
        pytest.param(b"<!DOCTYPE MPD><MPD><Period/></MPD>", "document type", id="doctype"),
        pytest.param("<MPD><Period/></MPD>".encode("utf-16"), "is in UTF-16", id="wide"),
        pytest.param(
            b"<?xml version='1.0' encoding='utf-16'?><MPD><Period/></MPD>", "is in 'utf-16'",
            id="encoding",
        ),
        *(
            pytest.param(b"<MPD><BaseURL>%b</BaseURL><Period/></MPD>" % url, "names another host",
                         id=url.decode())
            for url in (b"http://cdn/a/", b"//cdn/a/", b"HTTPS://cdn")
        ),
        pytest.param(
            b"<MPD><BaseURL>%2f/</BaseURL><Period/></MPD>", "names no object", id="target"
        ),
    ],
)  # fmt: skip
def test_dash_that_is_refused(mpd: bytes, complaint: str) -> None:
    with pytest.raises(PlaylistError, match=complaint):
        add(mpd)


# -- who is named, and in which order ------------------------------------------------------------


def rank(
    ranks: Mapping[str, int], faulty: Sequence[str] = (), sites: Mapping[str, str] | None = None
) -> tuple[Group, ...]:
    """Groups of servers by the lengths of their AS paths."""
    network = Network(4, 8 << 6 | 8)
    servers = {
        name: Server(name, (sites or {}).get(name, name), fault="x" if name in faulty else "")
        for name in ranks
    }
    covered = [Covered((name,), network.length, Rank(length, 0)) for name, length in ranks.items()]
    return rank_candidates(covered, servers)


def ids(candidates: Sequence[object]) -> list[str]:
    return [each.server.id for each in candidates]  # type: ignore[attr-defined]


def test_playlist_names_those_chosen_and_the_next() -> None:
    """The third of another site comes before others of the first site, as in every decision."""
    sites = {"a": "1", "b": "1", "c": "1", "d": "2"}
    groups = rank({"a": 1, "b": 2, "c": 3, "d": 4}, sites=sites)
    assert ids(rank_pathways(groups, b"")) == ["a", "b", "d", "c"]
    many = rank({str(number): number for number in range(10)}, faulty=["0"])
    assert ids(rank_pathways(many, b"")) == [str(n) for n in range(1, 1 + MOST_PATHWAYS)]


@given(st.permutations("abcd"), st.binary(max_size=8))
def test_equals_keep_the_order_of_the_playlist(listed: list[str], seed: bytes) -> None:
    """Whatever is drawn in another minute: no player moves for nothing."""
    groups = rank(dict.fromkeys("abcd", 1))
    assert ids(rank_again(groups, seed, listed)) == listed
    worse = rank({**dict.fromkeys("abcd", 1), listed[0]: 2})
    assert ids(rank_again(worse, seed, listed)) == [*listed[1:], listed[0]]


def test_who_cannot_take_the_player_comes_last() -> None:
    """It is named all the same: a player with nothing else may try it."""
    groups = rank({"a": 1, "b": 2, "c": 3}, faulty=["a"])
    ranked = rank_again(groups, b"", ["a", "b"])
    assert prioritize(ranked, ["a", "b"], []) == ["b", "a"]
    assert prioritize([], ["a", "b"], []) == ["a", "b"]


def test_clone_differs_by_its_host_alone() -> None:
    """Players change neither scheme nor port, and a signature is good for one host."""
    groups = rank(dict.fromkeys("abcdef", 1))
    bases = {
        "a": "https://a.example", "b": "http://b.example", "c": "http://[2001:db8::1]",
        "d": "https://d.example", "e": "http://e.example:8080", "f": "https://f.example",
    }  # fmt: skip
    signers = {name: Signer(ClientLocation(base)) for name, base in bases.items()}
    signers["f"] = SIGNED[0].signer
    ranked = rank_again(groups, b"", ["a", "b"])
    clones = find_clones(ranked, ["a", "b"], signers)
    assert sorted(clones) == [("c", "b", "[2001:db8::1]"), ("d", "a", "d.example")]
    assert set(prioritize(ranked, ["a", "b"], clones)) == {"a", "b", "c", "d"}
    others = [each for each in ranked if each.server.id not in "ab"]  # who is listed cannot take it
    assert find_clones(others, ["a", "b"], signers) == clones


def test_clones_cost_what_hears_the_player() -> None:
    """Not what the whole network has: each player asks again and again."""

    class Signers(dict[str, Signer]):
        def items(self) -> NoReturn:
            raise AssertionError("all were looked at")

        __iter__ = keys = values = items

    signers = Signers({name: each.signer for name, each in zip("ab", PLAIN, strict=True)})
    ranked = rank_again(rank({"b": 1}), b"", ["a"])
    assert find_clones(ranked, ["a"], signers) == [("b", "a", "b")]


@pytest.mark.parametrize("name", ["oca-1", "A.b_c-9", "x" * 64])
def test_id_of_a_pathway_is_that_of_its_appliance(name: str) -> None:
    assert pathway_id(name) == name


@given(st.text(min_size=1, max_size=300))
def test_id_of_a_pathway_can_stand_in_every_playlist(name: str) -> None:
    """And in a path, beside others."""
    assert parse_listed(f"{pathway_id(name)},a") == [pathway_id(name), "a"]


@pytest.mark.parametrize(
    "text", ["", ",", "a,", "a b", "a\n", "é", "x" * 65, ",".join("a" * (MOST_LISTED + 1))]
)
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="ids of pathways"):
        parse_listed(text)


def test_object_in_no_folder() -> None:
    """By its own signature, since no folder can be opened for it."""
    top = replace_folder(SIGNED[0], b"")
    url = top.locate(Object("/a.m3u8", b"a.m3u8"))
    assert url.startswith("https://a.example/a.m3u8?v=7&e=")


def replace_folder(pathway: Pathway, folder: bytes) -> Pathway:
    return pathway._replace(folder=folder)
