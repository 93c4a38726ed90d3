"""Listening sockets: bound, given options, passed on, closed."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
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
    let_go_of_listeners,
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
    with pytest.raises(ListenError, match=f"unix:{path}: there is a file that is no socket"):
        bind_address(Address(path=str(path)), 1)
    assert path.read_text() == "precious"


def test_path_of_a_link(tmp_path: Path) -> None:
    """Nothing is done to what it leads to, be it a socket that was left behind."""
    left = Address(path=str(tmp_path / "left"))
    bind_address(left, 1)[0].close()
    link = tmp_path / "s"
    link.symlink_to(left.path)
    with pytest.raises(ListenError, match=f"unix:{link}: there is a file that is no socket"):
        bind_address(Address(path=str(link)), 1)
    assert Path(left.path).is_socket()


def test_path_without_its_folder(tmp_path: Path) -> None:
    """The error says it."""
    with pytest.raises(ListenError, match="s: No such file or directory"):
        bind_address(Address(path=str(tmp_path / "none/s")), 1)


def test_path_that_another_program_has_by_now(tmp_path: Path, opened: list[socket.socket]) -> None:
    """Whoever gives up a socket leaves the file alone that another one has put there."""
    address = Address(path=str(tmp_path / "s"))
    first = bind_address(address, 1)
    os.unlink(address.path)
    opened += bind_address(address, 1)
    close_listeners({address: first}, besides=())
    assert accepts(opened[0])


def test_path_that_a_new_version_has(tmp_path: Path) -> None:
    """It removes the file at its end, and the old version, which has let go of it, does not."""
    address = Address(path=str(tmp_path / "s"))
    first = {address: bind_address(address, 1)}
    environment, (descriptor,) = pass_on(first, ())
    os.dup2(descriptor, copy := os.dup(descriptor))
    environment["OCASERVE_LISTEN"] = environment["OCASERVE_LISTEN"].replace(
        f"[{descriptor}]", f"[{copy}]"
    )
    passed = take_passed(environment).listeners
    let_go_of_listeners(first)
    close_listeners(first, besides=())
    assert accepts(passed[address][0])
    close_listeners(passed, besides=())
    assert os.listdir(tmp_path) == []


# -- options -------------------------------------------------------------------------------------

LIMITED = Serve(
    notsent_lowat_bytes=131_072, limits=Limits(stall_s=12.5, pace_bits_per_s=80_000_000)
)
OPTIONS = [
    pytest.param(socket.IPPROTO_TCP, socket.TCP_NODELAY, "i", 1, 1, id="nodelay"),
    pytest.param(socket.IPPROTO_TCP, 18, "i", 0, 0, id="no_user_timeout"),
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
    before = open_listeners(serve("127.0.0.1:0"), 2, {}).listeners
    (address,) = before
    after = open_listeners(serve("127.0.0.1:0", f"unix:{tmp_path}/s"), 3, before).listeners
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
    before = open_listeners(serve(f"{first}:0"), 2, {}).listeners
    (address,) = before
    other = f"{second}:{address.port}"
    assert "in use" in open_listeners(serve(other), 2, {}).missing[other]
    after = open_listeners(serve(other), 2, before).listeners
    assert [str(known) for known in after] == [other]
    close_all({**before, **after})


def test_two_free_ports_are_two() -> None:
    """Also when they are asked for again."""
    twice = serve("127.0.0.1:0", "127.0.0.1:0")
    before = open_listeners(twice, 1, {}).listeners
    assert len(before) == 2
    assert open_listeners(twice, 1, before).listeners.keys() == before.keys()
    close_all(before)


def test_one_of_several_cannot_be_had(tmp_path: Path) -> None:
    """The others are, and why it is missing is said."""
    before = open_listeners(serve("127.0.0.1:0"), 1, {}).listeners
    (address,) = before
    wanted = serve(str(address), f"unix:{tmp_path}/s", "192.0.2.1:80")
    after = open_listeners(wanted, 1, before)
    assert after.missing == {
        "192.0.2.1:80": "cannot listen on 192.0.2.1:80: Cannot assign requested address"
    }
    assert after.listeners[address] is before[address]
    assert [str(known) for known in after.listeners] == [str(address), f"unix:{tmp_path}/s"]
    close_all(after.listeners)


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
    before = open_listeners(serve("127.0.0.1:0", f"unix:{tmp_path}/s"), 2, {}).listeners
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


def passed_on(descriptor: int) -> dict[str, str]:
    return {"OCASERVE_LISTEN": f'{{"sockets": [{descriptor}], "lent": []}}'}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: 9_999, id="closed"),
        pytest.param(lambda: socket.socket().detach(), id="not_listening"),
        pytest.param(lambda: os.open(os.devnull, os.O_RDONLY), id="a_file"),
        pytest.param(
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(), id="datagrams"
        ),
        pytest.param(lambda: abstract_listener().detach(), id="without_a_path"),
        pytest.param(lambda: -1, id="no_descriptor"),
        pytest.param(lambda: 2**70, id="too_large"),
    ],
)
def test_passed_descriptor_that_is_no_listener(make: Callable[[], int]) -> None:
    """The error names it."""
    number = make()
    with pytest.raises(ListenError, match=f"passed descriptor {number}: |OCASERVE_LISTEN: "):
        take_passed(passed_on(number))


def abstract_listener() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("")
    sock.listen()
    return sock


@pytest.mark.parametrize(
    "told",
    [
        pytest.param("", id="empty"),
        pytest.param("3", id="another_shape"),
        pytest.param('{"sockets": ["3"]}', id="no_number"),
        pytest.param('{"lent": ["here"]}', id="no_address"),
    ],
)
def test_what_was_passed_is_not_understood(told: str) -> None:
    """The error names the variable."""
    with pytest.raises(ListenError, match="OCASERVE_LISTEN: "):
        take_passed({"OCASERVE_LISTEN": told})


@pytest.mark.parametrize("count", ["", "x", "-1", "\u00b2", "1e3"])
def test_number_of_sockets_is_none(count: str) -> None:
    """Then there are none."""
    environment = {"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())}
    assert take_passed(environment).listeners == {}
