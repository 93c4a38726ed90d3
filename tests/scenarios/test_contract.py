"""What a client sees, row by row, on real sockets, compared with the bytes of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.byteranges import read_parts
from tests.support.content import MODIFIED_DATE, SECRET, make_store, write_object
from tests.support.daemon import Daemon
from tests.support.wire import Response, Wire, fetch, request

pytestmark = pytest.mark.scenario

MOVIE, SMALL = "movie.mp4", "small.vtt"  # sent by sendfile, and from memory
BEFORE, AFTER = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"

both_versions = pytest.mark.parametrize("minor", [1, 0], ids=["http11", "http10"])
both_objects = pytest.mark.parametrize("key", [MOVIE, SMALL])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("contract") / "store")


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path) -> Iterator[Daemon]:
    with serve(store) as running:
        yield running


def ask(
    daemon: Daemon,
    target: str | bytes,
    *fields: tuple[str, str],
    method: str = "GET",
    minor: int = 1,
) -> Response:
    """One request on a connection of its own."""
    head = request(target, fields, method=method, minor=minor)
    return fetch(daemon.address, head, method=method)


def assert_object_fields(response: Response, content_type: bytes) -> None:
    """The fields that stand on each answer about an object."""
    assert response.field(b"accept-ranges") == b"bytes"
    assert response.field(b"cache-control") == b"no-store"
    assert response.field(b"last-modified") == MODIFIED_DATE.encode()
    assert re.fullmatch(rb'"[!#-~]+"', response.field(b"etag") or b"")
    date = parsedate_to_datetime((response.field(b"date") or b"").decode())
    assert date.utcoffset() == timedelta(0)
    assert (response.field(b"content-type") or b"").startswith(content_type)
    assert_cors(response)


def assert_cors(response: Response) -> None:
    assert response.field(b"access-control-allow-origin") == b"*"
    assert response.field(b"timing-allow-origin") == b"*"


def etag_of(daemon: Daemon, key: str) -> str:
    return (ask(daemon, f"/{key}", method="HEAD").field(b"etag") or b"").decode()


# -- whole objects -------------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize(
    ("target", "key"),
    [
        pytest.param("/movie.mp4", MOVIE, id="large"),
        pytest.param("/small.vtt", SMALL, id="small"),
        pytest.param("/empty.bin", "empty.bin", id="empty"),
        pytest.param("/m%6Fvie.mp4", MOVIE, id="escaped_letter"),
        pytest.param("/season%201/%C3%A9.m4s", "season 1/é.m4s", id="escaped_space_and_utf8"),
        pytest.param("/season%201/%c3%a9.m4s", "season 1/é.m4s", id="escaped_in_lower_case"),
        pytest.param("/movie.mp4?session=1", MOVIE, id="query_without_meaning"),
        pytest.param("http://origin.example/movie.mp4", MOVIE, id="absolute_form"),
        pytest.param("/same.mp4", MOVIE, id="link_inside_the_store"),
    ],
)
def test_whole_object(daemon: Daemon, store: Path, target: str, key: str, minor: int) -> None:
    """GET and HEAD answer 200 with the same fields; only GET has the body."""
    got = ask(daemon, target, minor=minor)
    told = ask(daemon, target, method="HEAD", minor=minor)
    assert got.status == told.status == 200
    assert got.body == (store / key).read_bytes()
    assert got.length == told.length == len(got.body)
    assert told.body == b""
    assert dict(got.fields) | {b"date": b""} == dict(told.fields) | {b"date": b""}
    assert_object_fields(got, b"")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        pytest.param("a.mp4", b"video/mp4", id="mp4"),
        pytest.param("a.m4s", b"video/iso.segment", id="m4s"),
        pytest.param("a.m4a", b"audio/mp4", id="m4a"),
        pytest.param("a.ts", b"video/mp2t", id="ts"),
        pytest.param("a.m3u8", b"application/vnd.apple.mpegurl", id="m3u8"),
        pytest.param("a.mpd", b"application/dash+xml", id="mpd"),
        pytest.param("a.webm", b"video/webm", id="webm"),
        pytest.param("a.vtt", b"text/vtt", id="vtt"),
        pytest.param("A.MP4", b"video/mp4", id="upper_case"),
        pytest.param("a.unheard-of", b"application/octet-stream", id="unknown"),
        pytest.param("a", b"application/octet-stream", id="no_extension"),
    ],
)
def test_content_type(daemon: Daemon, store: Path, name: str, content_type: bytes) -> None:
    """Players refuse media of the wrong type."""
    write_object(store, f"types/{name}", b"x")
    assert_object_fields(ask(daemon, f"/types/{name}"), content_type)


def test_several_stores(serve: Serve, tmp_path: Path) -> None:
    """An object may be on any store."""
    write_object(tmp_path, "disk1/a.mp4", b"on the first")
    write_object(tmp_path, "disk2/b.mp4", b"on the second")
    with serve(tmp_path / "disk1", tmp_path / "disk2") as running:
        assert ask(running, "/a.mp4").body == b"on the first"
        assert ask(running, "/b.mp4").body == b"on the second"
        assert ask(running, "/c.mp4").status == 404


def test_equal_copies_have_equal_etags(daemon: Daemon, serve: Serve, tmp_path: Path) -> None:
    """A client may resume on another appliance; another version of the object has another tag."""
    copy = make_store(tmp_path / "copy")
    write_object(copy, SMALL, (copy / SMALL).read_bytes(), modified=1_700_000_001)
    with serve(copy) as other:
        assert etag_of(daemon, MOVIE) == etag_of(other, MOVIE)
        assert etag_of(daemon, SMALL) != etag_of(other, SMALL)


# -- ranges --------------------------------------------------------------------------------------


@both_versions
@both_objects
@pytest.mark.parametrize(
    ("asked", "part"),
    [
        pytest.param("bytes=0-0", slice(0, 1), id="first_byte"),
        pytest.param("bytes=0-1", slice(0, 2), id="safari_probe"),
        pytest.param("bytes=7-700", slice(7, 701), id="inside"),
        pytest.param("bytes=0-", slice(0, None), id="open_from_start"),
        pytest.param("bytes=500-", slice(500, None), id="open"),
        pytest.param("bytes=-1", slice(-1, None), id="last_byte"),
        pytest.param("bytes=-500", slice(-500, None), id="suffix"),
        pytest.param("bytes=-99999999", slice(0, None), id="suffix_longer_than_object"),
        pytest.param("bytes=500-99999999", slice(500, None), id="end_clamped"),
        pytest.param("bytes=500-" + "9" * 40, slice(500, None), id="end_of_forty_digits"),
        pytest.param("bytes=-" + "9" * 40, slice(0, None), id="suffix_of_forty_digits"),
        pytest.param("BYTES=3-4", slice(3, 5), id="unit_in_upper_case"),
        pytest.param("bytes=0-1, 2-5", slice(0, 6), id="adjacent_joined"),
        pytest.param("bytes=0-9,5-19,10-14", slice(0, 20), id="overlapping_joined"),
        pytest.param("bytes=0-4,99999999-", slice(0, 5), id="one_of_two_fits"),
        pytest.param("bytes=,0-4,", slice(0, 5), id="empty_list_elements"),
    ],
)
def test_one_range(
    daemon: Daemon, store: Path, key: str, asked: str, part: slice, minor: int
) -> None:
    """206, with the place in Content-Range and just these bytes."""
    whole = (store / key).read_bytes()
    start, stop, _ = part.indices(len(whole))
    response = ask(daemon, f"/{key}", ("Range", asked), minor=minor)
    assert response.status == 206
    assert response.body == whole[part]
    assert response.field(b"content-range") == b"bytes %d-%d/%d" % (start, stop - 1, len(whole))
    assert_object_fields(response, b"video/mp4" if key == MOVIE else b"text/vtt")


@both_versions
@both_objects
@pytest.mark.parametrize(
    ("asked", "places"),
    [
        pytest.param("bytes=0-0,2-2", [slice(0, 1), slice(2, 3)], id="two"),
        pytest.param(
            "bytes=0-9,20-29,-10", [slice(10), slice(20, 30), slice(-10, None)], id="three"
        ),
        pytest.param("bytes=0-9,5-14,30-39", [slice(15), slice(30, 40)], id="two_of_three_joined"),
        pytest.param(
            "bytes=" + ",".join(f"{n * 9}-{n * 9 + 4}" for n in range(100)),
            [slice(n * 9, n * 9 + 5) for n in range(100)],
            id="hundred",
        ),
    ],
)
def test_several_ranges(
    daemon: Daemon, store: Path, key: str, asked: str, places: list[slice], minor: int
) -> None:
    """206 multipart/byteranges; overlapping and adjacent ranges are one part."""
    whole = (store / key).read_bytes()
    response = ask(daemon, f"/{key}", ("Range", asked), minor=minor)
    assert response.status == 206
    assert response.field(b"content-range") is None
    parts = read_parts(response)
    assert [part.data for part in parts] == [whole[place] for place in places]
    assert [part.start for part in parts] == [place.indices(len(whole))[0] for place in places]
    assert {part.size for part in parts} == {len(whole)}
    assert_object_fields(response, b"multipart/byteranges")


@both_versions
@both_objects
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param("bytes=5-4", id="backwards"),
        pytest.param("bytes=a-b", id="letters"),
        pytest.param("bytes=0x0-0x5", id="hexadecimal"),
        pytest.param("bytes=+0-5", id="sign"),
        pytest.param("bytes=--5", id="two_dashes"),
        pytest.param("bytes=-", id="no_numbers"),
        pytest.param("bytes=", id="no_range"),
        pytest.param("bytes", id="unit_alone"),
        pytest.param("bytes 0-5", id="no_equals_sign"),
        pytest.param("bytes=0-5,x", id="one_of_two_malformed"),
        pytest.param("bytes=0-1;2-3", id="semicolon"),
        pytest.param("bytes=1 0-5", id="space_inside"),
        pytest.param("seconds=0-5", id="other_unit"),
        pytest.param("0-5", id="no_unit"),
        pytest.param("bytes=" + ",".join(f"{n * 4}-{n * 4}" for n in range(257)), id="too_many"),
        pytest.param("bytes=0-,0-", id="more_than_there_is"),
    ],
)
def test_range_ignored(daemon: Daemon, store: Path, key: str, asked: str, minor: int) -> None:
    """A Range that has no meaning, or would cost too much, is as if it were not there."""
    response = ask(daemon, f"/{key}", ("Range", asked), minor=minor)
    assert response.status == 200
    assert response.body == (store / key).read_bytes()
    assert response.field(b"content-range") is None


@both_versions
@pytest.mark.parametrize(
    ("key", "asked", "size"),
    [
        pytest.param(SMALL, "bytes=1000-", 1000, id="just_past_the_end"),
        pytest.param(SMALL, "bytes=1000-1000", 1000, id="one_byte_past_the_end"),
        pytest.param(SMALL, "bytes=2000-3000,9999-", 1000, id="none_of_two"),
        pytest.param(SMALL, "bytes=-0", 1000, id="suffix_of_nothing"),
        pytest.param(SMALL, "bytes=" + "9" * 40 + "-", 1000, id="start_of_forty_digits"),
        pytest.param("empty.bin", "bytes=0-", 0, id="empty_object"),
    ],
)
def test_range_not_satisfiable(daemon: Daemon, key: str, asked: str, size: int, minor: int) -> None:
    """416 says how long the object is, and players may read it."""
    response = ask(daemon, f"/{key}", ("Range", asked), minor=minor)
    assert response.status == 416
    assert response.field(b"content-range") == b"bytes */%d" % size
    assert_cors(response)


@both_versions
def test_head_ignores_range(daemon: Daemon, minor: int) -> None:
    """Range is defined for GET (RFC 9110 section 14.2)."""
    response = ask(daemon, "/small.vtt", ("Range", "bytes=0-9"), method="HEAD", minor=minor)
    assert response.status == 200
    assert response.length == 1000
    assert response.field(b"content-range") is None


# -- conditions ----------------------------------------------------------------------------------

CONDITIONS = [
    pytest.param([("If-None-Match", "ETAG")], 304, id="none_match_same"),
    pytest.param([("If-None-Match", "W/ETAG")], 304, id="none_match_weak"),
    pytest.param([("If-None-Match", '"x", ETAG')], 304, id="none_match_in_list"),
    pytest.param([("If-None-Match", "*")], 304, id="none_match_any"),
    pytest.param([("If-None-Match", '"x"')], 200, id="none_match_other"),
    pytest.param([("If-Modified-Since", MODIFIED_DATE)], 304, id="modified_since_same"),
    pytest.param([("If-Modified-Since", AFTER)], 304, id="modified_since_later"),
    pytest.param([("If-Modified-Since", BEFORE)], 200, id="modified_since_earlier"),
    pytest.param([("If-Modified-Since", "yesterday")], 200, id="modified_since_no_date"),
    pytest.param(
        [("If-None-Match", '"x"'), ("If-Modified-Since", AFTER)], 200, id="none_match_outranks"
    ),
    pytest.param([("If-Match", "ETAG")], 200, id="match_same"),
    pytest.param([("If-Match", '"x", ETAG')], 200, id="match_in_list"),
    pytest.param([("If-Match", "*")], 200, id="match_any"),
    pytest.param([("If-Match", "W/ETAG")], 412, id="match_weak"),
    pytest.param([("If-Match", '"x"')], 412, id="match_other"),
    pytest.param([("If-Unmodified-Since", BEFORE)], 412, id="unmodified_since_earlier"),
    pytest.param([("If-Unmodified-Since", MODIFIED_DATE)], 200, id="unmodified_since_same"),
    pytest.param([("If-Unmodified-Since", "tomorrow")], 200, id="unmodified_since_no_date"),
    pytest.param([("If-Match", "ETAG"), ("If-Unmodified-Since", BEFORE)], 200, id="match_outranks"),
    pytest.param([("If-Match", '"x"'), ("If-None-Match", "ETAG")], 412, id="match_comes_first"),
    pytest.param([("If-None-Match", "ETAG"), ("Range", "bytes=0-9")], 304, id="304_before_range"),
    pytest.param([("If-Match", '"x"'), ("Range", "bytes=0-9")], 412, id="412_before_range"),
    pytest.param([("If-None-Match", "ETAG"), ("Range", "bytes=9999-")], 304, id="304_before_416"),
]


@both_versions
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("conditions", "status"), CONDITIONS)
def test_conditions(
    daemon: Daemon,
    store: Path,
    conditions: list[tuple[str, str]],
    status: int,
    method: str,
    minor: int,
) -> None:
    """Evaluated in the order of RFC 9110 section 13.2.2, for GET and HEAD alike."""
    etag = etag_of(daemon, SMALL)
    fields = [(name, value.replace("ETAG", etag)) for name, value in conditions]
    response = ask(daemon, "/small.vtt", *fields, method=method, minor=minor)
    assert response.status == status
    assert_cors(response)
    if status == 304:
        assert response.field(b"etag") == etag.encode()
    if status == 200 and method == "GET":
        assert response.body == (store / SMALL).read_bytes()


@both_versions
@pytest.mark.parametrize(
    ("validator", "status"),
    [
        pytest.param("ETAG", 206, id="same_tag"),
        pytest.param(MODIFIED_DATE, 206, id="same_date"),
        pytest.param("W/ETAG", 200, id="weak_tag"),
        pytest.param('"x"', 200, id="other_tag"),
        pytest.param("ETAG, ETAG", 200, id="list_of_tags"),
        pytest.param(BEFORE, 200, id="earlier_date"),
        pytest.param(AFTER, 200, id="later_date"),
        pytest.param("tomorrow", 200, id="no_date"),
    ],
)
def test_if_range(daemon: Daemon, store: Path, validator: str, status: int, minor: int) -> None:
    """The range is sent only of the version the client has a part of."""
    value = validator.replace("ETAG", etag_of(daemon, MOVIE))
    fields = (("Range", "bytes=100-199"), ("If-Range", value))
    response = ask(daemon, "/movie.mp4", *fields, minor=minor)
    assert response.status == status
    whole = (store / MOVIE).read_bytes()
    assert response.body == (whole[100:200] if status == 206 else whole)


# -- what is not served --------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/nothing.mp4", id="unknown_key"),
        pytest.param("/nothing/at/all", id="unknown_folder"),
        pytest.param("/", id="root"),
        pytest.param("/season%201", id="folder"),
        pytest.param("/season%201/", id="folder_with_slash"),
        pytest.param("/movie.mp4/", id="file_with_slash"),
        pytest.param("/movie.mp4/x", id="below_a_file"),
        pytest.param("/movie%2Emp4%2E", id="dot_appended"),
        pytest.param("/movie%252Emp4", id="decoded_once_only"),
        pytest.param("/MOVIE.MP4", id="case"),
        pytest.param("/.hidden", id="dot_file"),
        pytest.param("/%2Ehidden", id="dot_file_escaped"),
        pytest.param("/.git/config", id="below_a_dot_folder"),
        pytest.param("/out.mp4", id="link_out_absolute"),
        pytest.param("/up.mp4", id="link_out_relative"),
        pytest.param("/out-folder/secret.txt", id="folder_link_out"),
        pytest.param("/pipe.mp4", id="fifo"),
        pytest.param("/" + "a" * 256, id="name_too_long_for_a_disk"),
    ],
)
def test_not_found(daemon: Daemon, target: str, method: str, minor: int) -> None:
    """404 for what is no object, with nothing that tells one reason from another."""
    response = ask(daemon, target, method=method, minor=minor)
    plain = ask(daemon, "/no-such-key", method=method, minor=minor)
    assert response.status == 404
    assert response.body == plain.body
    assert SECRET not in response.body
    assert_cors(response)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/../movie.mp4", id="dot_dot"),
        pytest.param("/season%201/../movie.mp4", id="dot_dot_inside"),
        pytest.param("/%2e%2e/movie.mp4", id="dot_dot_escaped"),
        pytest.param("/.%2E/movie.mp4", id="dot_dot_half_escaped"),
        pytest.param("/..", id="dot_dot_last"),
        pytest.param("/season%201%2Fx", id="escaped_slash"),
        pytest.param("/..%2fmovie.mp4", id="escaped_slash_after_dots"),
        pytest.param("/movie.mp4%00", id="escaped_nul"),
        pytest.param("/movie.mp4%00.txt", id="escaped_nul_inside"),
        pytest.param("/movie%0A.mp4", id="escaped_newline"),
        pytest.param("/movie%7F.mp4", id="escaped_delete"),
        pytest.param("/..\\movie.mp4", id="backslash"),
        pytest.param("/..%5Cmovie.mp4", id="escaped_backslash"),
        pytest.param("/movie%mp4", id="bad_escape"),
        pytest.param("/movie.mp4%4", id="cut_escape"),
    ],
)
def test_target_refused(daemon: Daemon, target: str) -> None:
    """400 for a target that could mean one key here and another there."""
    response = ask(daemon, target)
    assert response.status == 400
    assert SECRET not in response.body


@both_versions
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_method(daemon: Daemon, method: str, minor: int) -> None:
    """405 says what is allowed."""
    response = ask(daemon, "/movie.mp4", method=method, minor=minor)
    allowed = {word.strip() for word in (response.field(b"allow") or b"").split(b",")}
    assert response.status == 405
    assert allowed >= {b"GET", b"HEAD", b"OPTIONS"}


@both_versions
@pytest.mark.parametrize("method", ["BREW", "get", "M-SEARCH"])
def test_unknown_method(daemon: Daemon, method: str, minor: int) -> None:
    """RFC 9110 section 9.1; the connection is none the worse."""
    response = ask(daemon, "/movie.mp4", method=method, minor=minor)
    assert (response.status, response.field(b"allow")) == (501, None)
    assert response.is_last is (minor == 0)


def test_unknown_transfer_coding(daemon: Daemon) -> None:
    """RFC 9112 section 6.1; nothing behind the head is taken for a request."""
    response = ask(daemon, "/movie.mp4", ("Transfer-Encoding", "gzip, chunked"))
    assert (response.status, response.is_last) == (501, True)


def test_later_minor_version(daemon: Daemon) -> None:
    """It is served as HTTP/1.1 (RFC 9110 section 2.5)."""
    response = ask(daemon, f"/{SMALL}", minor=2)
    assert (response.status, response.minor, response.is_last) == (200, 1, False)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "framing",
    [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
    ids=["length", "chunked"],
)
def test_body_on_get(daemon: Daemon, method: str, framing: tuple[str, str]) -> None:
    """400 and close: the body would be taken for the next request."""
    with Wire(daemon.address) as wire:
        wire.send(request("/movie.mp4", [framing], method=method) + b"5\r\nhello\r\n0\r\n\r\n")
        response = wire.read_response(method)
        assert response.status == 400
        assert response.field(b"connection") == b"close"
        assert wire.read_to_end() == b""


def test_body_of_no_bytes_on_get(daemon: Daemon) -> None:
    """Content-Length: 0 is no body."""
    assert ask(daemon, "/small.vtt", ("Content-Length", "0")).status == 200


# -- players on web pages ------------------------------------------------------------------------


@both_versions
def test_preflight(daemon: Daemon, minor: int) -> None:
    """A page of another origin may ask with Range."""
    fields = (
        ("Origin", "https://player.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "range,if-range"),
    )
    response = ask(daemon, "/movie.mp4", *fields, method="OPTIONS", minor=minor)
    allowed = (response.field(b"access-control-allow-headers") or b"").lower()
    assert response.status in (200, 204)
    assert b"GET" in (response.field(b"access-control-allow-methods") or b"")
    assert allowed == b"*" or b"range" in allowed
    assert response.field(b"access-control-allow-origin") == b"*"


def test_exposed_fields(daemon: Daemon) -> None:
    """A page may read where its bytes belong (Fetch, CORS-safelisted response-header names)."""
    origin = ("Origin", "https://player.example")
    response = ask(daemon, "/movie.mp4", origin, ("Range", "bytes=0-1"))
    exposed = (response.field(b"access-control-expose-headers") or b"").lower()
    assert exposed == b"*" or b"content-range" in exposed


def test_options_of_the_server(daemon: Daemon) -> None:
    """OPTIONS * asks what the server can do (RFC 9110 section 9.3.7)."""
    response = ask(daemon, "*", method="OPTIONS")
    assert response.status in (200, 204)
    assert b"GET" in (response.field(b"allow") or b"")


# -- connections, as far as each answer says it --------------------------------------------------


@pytest.mark.parametrize(
    ("minor", "fields", "stays"),
    [
        pytest.param(1, (), True, id="http11"),
        pytest.param(1, (("Connection", "close"),), False, id="http11_close"),
        pytest.param(1, (("Connection", "Foo, CLOSE"),), False, id="http11_close_in_list"),
        pytest.param(0, (), False, id="http10"),
        pytest.param(0, (("Connection", "keep-alive"),), True, id="http10_keep_alive"),
        pytest.param(0, (("Connection", "Keep-Alive, x"),), True, id="http10_keep_alive_in_list"),
    ],
)
@pytest.mark.parametrize(
    ("target", "status"),
    [("/movie.mp4", 200), ("/small.vtt", 200), ("/none", 404)],
    ids=["large", "small", "missing"],
)
def test_persistence(
    daemon: Daemon,
    target: str,
    status: int,
    minor: int,
    fields: tuple[tuple[str, str], ...],
    stays: bool,
) -> None:
    """The connection stays or ends as the client asked, and the answer says which."""
    with Wire(daemon.address) as wire:
        for _ in range(3 if stays else 1):
            wire.send(request(target, fields, minor=minor))
            response = wire.read_response()
            assert response.status == status
            assert (response.field(b"connection") != b"close") is stays
        if not stays:
            assert wire.read_to_end() == b""
        if minor == 0 and stays:
            assert (response.field(b"connection") or b"").lower() == b"keep-alive"


def test_host_is_needed_on_http11_only(daemon: Daemon) -> None:
    """RFC 9112 section 3.2."""
    without = [request("/small.vtt", minor=minor, host=None) for minor in (1, 0)]
    assert [fetch(daemon.address, head).status for head in without] == [400, 200]
