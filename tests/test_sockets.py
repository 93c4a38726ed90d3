"""Listening sockets: bound, given options, passed on, closed."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ocaserve.addresses import Address, bound_address, parse_address
from ocaserve.errors import ListenError
from ocaserve.settings import Limits, Serve
from ocaserve.sockets import (
    Listeners,
    bind_address,
    close_listeners,
    open_listeners,
    pass_on,
    set_options,
    take_passed,
)

FREE = parse_address("127.0.0.1:0")


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Sockets to close at the end of the test."""
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


def serve(*listen: str, **others: float) -> Serve:
    """Settings that listen on these addresses."""
    return msgspec.convert({"listen": list(listen), **others}, Serve)


def accepts(sock: socket.socket) -> bool:
    """Whether a client that connects to the address gets to this socket."""
    sock.setblocking(False)
    for _ in range(64):  # the kernel chooses among the sockets of an address
        with socket.socket(sock.family, socket.SOCK_STREAM) as client:
            client.connect(sock.getsockname())
            try:
                sock.accept()[0].close()
            except BlockingIOError:
                continue
            return True
    return False


# -- binding -------------------------------------------------------------------------------------


def test_each_worker_has_a_socket_of_its_own(opened: list[socket.socket]) -> None:
    """All on one address, the free port that the first one got; each gets connections."""
    opened += bind_address(FREE, 3)
    assert len({bound_address(sock) for sock in opened}) == 1
    assert len(opened) == 3
    assert all(accepts(sock) for sock in opened)


@pytest.mark.parametrize("is_appliance", [False, True], ids=["other_program", "other_appliance"])
def test_port_in_use(opened: list[socket.socket], is_appliance: bool) -> None:
    """The error names the address, also where SO_REUSEPORT would let us join and share."""
    opened += bind_address(FREE, 1) if is_appliance else [socket.create_server(("127.0.0.1", 0))]
    address = bound_address(opened[0])
    with pytest.raises(ListenError, match=f"cannot listen on {address}: Address already in use"):
        bind_address(address, 2)


def test_address_of_another_machine() -> None:
    """The system's word for it is passed on."""
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:80: Cannot assign requested address"):
        bind_address(parse_address("192.0.2.1:80"), 1)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the host has no IPv6")
def test_ipv6_and_ipv4_side_by_side(opened: list[socket.socket]) -> None:
    """[::] is IPv6 alone, so 0.0.0.0 may have the same port."""
    opened += bind_address(parse_address("[::]:0"), 1)
    port = opened[0].getsockname()[1]
    opened += bind_address(parse_address(f"0.0.0.0:{port}"), 1)


# -- local sockets -------------------------------------------------------------------------------


def test_path(tmp_path: Path, opened: list[socket.socket]) -> None:
    """There is one socket, which the workers share."""
    opened += bind_address(Address(path=str(tmp_path / "s")), 3)
    assert len(opened) == 1
    assert accepts(opened[0])


def test_path_that_was_left_behind(tmp_path: Path, opened: list[socket.socket]) -> None:
    """A socket that nobody listens on is taken over."""
    address = Address(path=str(tmp_path / "s"))
    bind_address(address, 1)[0].close()
    opened += bind_address(address, 1)
    assert accepts(opened[0])


def test_path_in_use(tmp_path: Path, opened: list[socket.socket]) -> None:
    """One that somebody listens on is not, even if its queue is full."""
    address = Address(path=str(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as waiting:
        living.bind(address.path)
        living.listen(0)
        waiting.connect(address.path)
        with pytest.raises(ListenError, match="Address already in use"):
            bind_address(address, 1)


def test_path_of_a_file(tmp_path: Path) -> None:
    """A file is never removed."""
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ListenError, match="Address already in use"):
        bind_address(Address(path=str(path)), 1)
    assert path.read_text() == "precious"


# -- options -------------------------------------------------------------------------------------

LIMITED = Serve(
    notsent_lowat_bytes=131_072, limits=Limits(stall_s=12.5, pace_bits_per_s=80_000_000)
)
OPTIONS = [
    pytest.param(socket.IPPROTO_TCP, socket.TCP_NODELAY, "i", 1, 1, id="nodelay"),
    pytest.param(socket.IPPROTO_TCP, 18, "i", 25_000, 60_000, id="user_timeout_ms"),
    pytest.param(socket.IPPROTO_TCP, 25, "i", 131_072, 0, id="notsent_lowat"),
    pytest.param(socket.SOL_SOCKET, 47, "Q", 10_000_000, 2**64 - 1, id="pacing_bytes_per_s"),
]


@pytest.mark.parametrize(("level", "option", "form", "limited", "default"), OPTIONS)
def test_accepted_sockets_have_the_options(
    level: int, option: int, form: str, limited: int, default: int, opened: list[socket.socket]
) -> None:
    """They are set on the listener; and set anew when a reload takes a limit away."""
    opened += bind_address(FREE, 1)
    for settings, expected in ((LIMITED, limited), (Serve(), default)):
        set_options(opened[0], settings)
        with socket.create_connection(opened[0].getsockname()):
            accepted = opened[0].accept()[0]
            value = accepted.getsockopt(level, option, struct.calcsize(form))
            accepted.close()
        assert bool(struct.unpack(form, value)[0]) is bool(expected)
        if option != socket.TCP_NODELAY:  # of a truth value, the system gives back any number
            assert struct.unpack(form, value)[0] == expected


def test_local_sockets_have_none(tmp_path: Path, opened: list[socket.socket]) -> None:
    """They are options of TCP."""
    opened += bind_address(Address(path=str(tmp_path / "s")), 1)
    set_options(opened[0], LIMITED)


# -- opening what settings ask for ---------------------------------------------------------------


def close_all(listeners: Listeners) -> None:
    close_listeners(listeners, besides=())


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    """A reload opens what is new; a port that was free once stays the same."""
    before = open_listeners(serve("127.0.0.1:0"), 2, {})
    (address,) = before
    after = open_listeners(serve("127.0.0.1:0", f"unix:{tmp_path}/s"), 3, before)
    assert after[address] is before[address]
    assert [str(known) for known in after] == [str(address), f"unix:{tmp_path}/s"]
    close_all(after)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("127.0.0.1", "0.0.0.0", id="wider"),
        pytest.param("0.0.0.0", "127.0.0.1", id="narrower"),
        pytest.param("[::1]", "[::]", id="wider_ipv6"),
    ],
)
def test_other_hosts_of_a_port_that_is_ours(first: str, second: str) -> None:
    """A reload can widen an address, or narrow it; both are there while workers are replaced."""
    before = open_listeners(serve(f"{first}:0"), 2, {})
    (address,) = before
    other = f"{second}:{address.port}"
    with pytest.raises(ListenError, match="in use"):
        open_listeners(serve(other), 2, {})
    after = open_listeners(serve(other), 2, before)
    assert [str(known) for known in after] == [other]
    close_all({**before, **after})


def test_two_free_ports_are_two() -> None:
    """Also when they are asked for again."""
    twice = serve("127.0.0.1:0", "127.0.0.1:0")
    before = open_listeners(twice, 1, {})
    assert len(before) == 2
    assert open_listeners(twice, 1, before).keys() == before.keys()
    close_all(before)


def test_failure_leaves_all_as_it_was(tmp_path: Path) -> None:
    """What was bound on the way is closed; what was there goes on."""
    before = open_listeners(serve("127.0.0.1:0"), 1, {})
    (address,) = before
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:80"):
        open_listeners(serve(str(address), f"unix:{tmp_path}/s", "192.0.2.1:80"), 1, before)
    assert accepts(before[address][0])
    assert not (tmp_path / "s").exists()
    close_all(before)


def test_closing_some(tmp_path: Path) -> None:
    """Those that are kept go on; paths of the others are gone."""
    kept, gone = (Address(path=str(tmp_path / name)) for name in ("kept", "gone"))
    listeners = {address: bind_address(address, 1) for address in (kept, gone)}
    close_listeners(listeners, besides=[kept])
    assert accepts(listeners[kept][0])
    assert listeners[gone][0].fileno() == -1
    assert os.listdir(tmp_path) == ["kept"]
    close_all(listeners)


# -- passing on ----------------------------------------------------------------------------------


def test_a_new_version_has_the_same_sockets(tmp_path: Path) -> None:
    """And knows which of them are the service manager's."""
    before = open_listeners(serve("127.0.0.1:0", f"unix:{tmp_path}/s"), 2, {})
    lent = parse_address(f"unix:{tmp_path}/s")
    environment, descriptors = pass_on(before, [lent])
    assert descriptors == [sock.detach() for sockets in before.values() for sock in sockets]
    passed = take_passed(environment)
    assert environment == {}
    assert passed.lent == {lent}
    assert {address: len(sockets) for address, sockets in passed.listeners.items()} == {
        address: len(sockets) for address, sockets in before.items()
    }
    assert accepts(passed.listeners[lent][0])
    close_all(passed.listeners)


def test_nothing_was_passed() -> None:
    """The usual start."""
    assert take_passed({"HOME": "/root"}).listeners == {}


def test_sockets_of_another_process() -> None:
    """The variables were inherited by mistake (sd_listen_fds(3)); no child is to see them."""
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x"}
    assert take_passed(environment).listeners == {}
    assert environment == {}


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "not_listening"])
def test_passed_descriptor_that_is_no_listener(is_open: bool) -> None:
    """The error names it."""
    sock = socket.socket()
    if not is_open:
        sock.close()
    number = sock.detach() if is_open else 9_999
    environment = {"OCASERVE_LISTEN": f'{{"sockets": [{number}], "lent": []}}'}
    with pytest.raises(ListenError, match=f"passed descriptor {number}: "):
        take_passed(environment)
