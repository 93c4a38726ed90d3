"""The supervisor at work, with workers that crash, stall, linger and fail when a test says so."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import children
from tests.support.supervised import TcpAddress, ask, settings, supervised
from tests.support.waiting import eventually

SOON = {"first_pause_s": 0.05, "longest_pause_s": 0.2}


def answering(address: TcpAddress, times: int = 40) -> set[tuple[int, str]]:
    """Which places answer, with which settings; the kernel spreads the connections."""
    return {(place, site) for place, _, site in (ask(address) for _ in range(times))}


# -- coming into service and leaving it ----------------------------------------------------------


def test_comes_into_service(tmp_path: Path) -> None:
    """All workers serve before anybody is told; each has connections of its own."""
    with supervised(tmp_path, toml=settings(workers=3)) as running:
        address = running.await_ready()
        assert Counter(running.events()) == Counter(
            f"{place} {what}" for place in range(3) for what in ("starts", "serves")
        )
        assert answering(address, 100) == {(0, "old"), (1, "old"), (2, "old")}
        assert "serving" in running.log()
        assert "(3 workers)" in running.log()


def test_workers_that_do_not_start(tmp_path: Path) -> None:
    """After some tries the reason is told, and the status is not 0."""
    with supervised(tmp_path, moods=["fail"], timing=SOON) as running:
        assert running.wait() == 1
        assert "the workers do not start: the last one ended with status 3" in running.log()
        assert "Traceback" not in running.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops(tmp_path: Path, number: signal.Signals) -> None:
    """Workers are told how long responses may take to end; then nothing listens."""
    with supervised(tmp_path, toml=settings(more="drain_s = 7\n")) as running:
        address = running.await_ready()
        running.signal(number)
        assert running.wait() == 0
        assert {"0 drains 7", "1 drains 7"} < set(running.events())
        with pytest.raises(ConnectionRefusedError):
            ask(address)


def test_stops_while_starting(tmp_path: Path) -> None:
    """Also when not all have come into service."""
    with supervised(tmp_path, moods=["serve", "fail"], timing={"first_pause_s": 60}) as running:
        running.await_event("0 serves")
        running.await_logged("ended with status 3")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0


def test_worker_that_does_not_end_by_its_deadline(tmp_path: Path) -> None:
    """It is killed."""
    with supervised(
        tmp_path,
        toml=settings(more="drain_s = 0.1\n"),
        moods=["linger", "serve"],
        timing={"kill_margin_s": 0.1},
    ) as running:
        running.await_ready()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert running.log().count("did not end by its deadline: killed") == 1


def test_told_twice_to_stop(tmp_path: Path) -> None:
    """It stops at once."""
    with supervised(tmp_path, moods=["linger"]) as running:
        running.await_ready()
        running.signal(signal.SIGTERM)
        running.await_event("0 drains 30")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert running.log().count("was to end at once: killed") == 2


def test_killed(tmp_path: Path) -> None:
    """The workers notice that nobody looks after them."""
    with supervised(tmp_path) as running:
        running.await_ready()
        running.signal(signal.SIGKILL)
        running.wait()
        running.await_event("0 is alone")
        running.await_event("1 is alone")


# -- deaths --------------------------------------------------------------------------------------


def test_siblings_serve_for_a_worker_that_died(tmp_path: Path) -> None:
    """No connection waits for the replacement, which takes its place again when it is ready."""
    with supervised(tmp_path, timing={"first_pause_s": 60}) as running:
        address = running.await_ready()
        place, pid, _ = ask(address)
        os.kill(pid, signal.SIGKILL)
        assert {ask(address)[0] for _ in range(40)} == {1 - place}
        running.await_logged(f"worker {place} (pid {pid}) was ended by signal 9 (Killed)")


def test_worker_that_died_is_replaced(tmp_path: Path) -> None:
    """By a new process at its place."""
    with supervised(tmp_path, timing=SOON) as running:
        address = running.await_ready()
        place, pid, _ = ask(address)
        os.kill(pid, signal.SIGKILL)
        running.await_event(f"{place} serves", times=2)
        eventually(lambda: len(answering(address)) == 2, "both answer")
        assert pid not in children(running.pid)


def test_worker_that_dies_again_and_again(tmp_path: Path) -> None:
    """It is tried again for ever, while the others serve."""
    with supervised(tmp_path, timing=SOON) as running:
        address = running.await_ready()
        running.set_mood("serve", "fail")
        victim = next(pid for place, pid, _ in iter(lambda: ask(address), None) if place == 1)
        os.kill(victim, signal.SIGKILL)
        running.await_event("1 starts", times=6)
        assert answering(address) == {(0, "old")}
        running.set_mood("serve")
        eventually(lambda: len(answering(address)) == 2, "both answer")


def test_worker_that_is_stuck(tmp_path: Path) -> None:
    """One that gives no sign of life is killed and replaced."""
    with supervised(
        tmp_path, moods=["serve", "mute"], timing={**SOON, "silence_s": 0.5}
    ) as running:
        running.await_ready()
        running.set_mood("serve")
        running.await_logged("gave no sign of life for 0.5 s: killed")
        running.await_event("1 serves", times=2)
        assert running.events().count("0 starts") == 1


def test_worker_that_is_suspended(tmp_path: Path) -> None:
    """The same for one that cannot even read its orders."""
    with supervised(tmp_path, timing={**SOON, "silence_s": 0.5}) as running:
        address = running.await_ready()
        place, pid, _ = ask(address)
        os.kill(pid, signal.SIGSTOP)
        running.await_event(f"{place} serves", times=2)
        assert pid not in children(running.pid)


# -- other settings ------------------------------------------------------------------------------


def test_reload(tmp_path: Path) -> None:
    """Each worker serves before its predecessor is retired, one after the other."""
    with supervised(tmp_path, toml=settings(more="reload_drain_s = 9\n")) as running:
        address = running.await_ready()
        running.configure(settings(site="new", more="reload_drain_s = 9\n"))
        running.signal(signal.SIGHUP)
        running.await_logged("reloaded: serving")
        retired = {"0 drains 9", "1 drains 9"}  # each notes it by itself, the first maybe later
        eventually(lambda: retired <= set(running.events()), "both are retired")
        since = [event for event in running.events()[4:] if "starts" not in event]
        # The second may serve before the first has noted that it drains, being told both at once.
        serves = [event for event in since if "serves" in event]
        drains = [event for event in since if "drains" in event]
        assert (serves, sorted(drains)) == (["0 serves", "1 serves"], sorted(retired))
        assert since.index("1 serves") < since.index("1 drains 9")
        assert since[0] == "0 serves"
        assert answering(address) == {(0, "new"), (1, "new")}


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        pytest.param("[serve]\nworker = 3\n", "did you mean 'workers'?", id="fault"),
        pytest.param(
            settings(listen='["192.0.2.1:80"]'), "Cannot assign requested address", id="address"
        ),
        pytest.param(
            settings(workers=37), "without a restart there can be at most 36", id="too_many_workers"
        ),
    ],
)
def test_reload_refused(tmp_path: Path, toml: str, reason: str) -> None:
    """The old settings stay, and all workers with them."""
    with supervised(tmp_path) as running:
        address = running.await_ready()
        before = children(running.pid)
        running.configure(toml)
        running.signal(signal.SIGHUP)
        running.await_logged("reload refused, the settings stay as they were: ", reason)
        assert children(running.pid) == before
        assert answering(address) == {(0, "old"), (1, "old")}


def test_reload_with_which_no_worker_starts(tmp_path: Path) -> None:
    """Those that were replaced are replaced back; the others were never touched."""
    with supervised(tmp_path, timing=SOON) as running:
        address = running.await_ready()
        second = next(pid for place, pid, _ in iter(lambda: ask(address), None) if place == 1)
        running.configure(settings(site="new"))
        running.set_mood("serve", "fail")
        running.signal(signal.SIGHUP)
        running.await_logged("does not start; going back", "the settings are as they were")
        assert answering(address) == {(0, "old"), (1, "old")}
        assert second in children(running.pid)
        running.set_mood("serve")
        running.signal(signal.SIGHUP)
        running.await_logged("reloaded: serving")
        assert answering(address) == {(0, "new"), (1, "new")}


def test_reload_during_a_reload(tmp_path: Path) -> None:
    """The last settings win."""
    with supervised(tmp_path) as running:
        address = running.await_ready()
        for n in range(10):
            running.configure(settings(site=f"new{n}"))
            running.signal(signal.SIGHUP)
        eventually(
            lambda: answering(address) == {(0, "new9"), (1, "new9")}, "all have the last settings"
        )


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_reload_with_another_number_of_workers(tmp_path: Path, before: int, after: int) -> None:
    """Places are added, or given up once the others are replaced; no listener is forgotten."""
    with supervised(tmp_path, toml=settings(workers=before)) as running:
        address = running.await_ready()
        running.configure(settings(site="new", workers=after))
        running.signal(signal.SIGHUP)
        running.await_logged(f"({after} worker{'s' * (after > 1)})")
        assert {site for _, site in answering(address)} == {"new"}
        eventually(lambda: len(children(running.pid)) == after, "the others are gone")


def test_reload_with_other_addresses(tmp_path: Path) -> None:
    """What is added serves; what is removed refuses, though the old workers still drain."""
    path = tmp_path / "s"
    with supervised(tmp_path, moods=["linger"]) as running:
        removed = running.await_ready()
        running.configure(settings(site="new", listen=f'["unix:{path}"]'))
        running.signal(signal.SIGHUP)
        running.await_logged("reloaded: serving")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert client.makefile().readline().endswith(" new\n")
        eventually(lambda: is_refused(removed), "the old address is refused")
        eventually(lambda: len(children(running.pid)) == 4, "the old ones are still there")
        running.configure(settings(listen=f'["{removed[0]}:{removed[1]}"]'))
        running.signal(signal.SIGHUP)
        running.await_logged("reloaded: serving", times=2)
        assert answering(removed) == {(0, "old"), (1, "old")}
        assert not path.exists()


def is_refused(address: TcpAddress) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) != 0


def test_more_reloads_than_can_drain(tmp_path: Path) -> None:
    """When the counters have no place for another worker, the one that drains longest ends."""
    more = "reload_generations = 64\n"
    with supervised(tmp_path, toml=settings(more=more), moods=["linger"]) as running:
        address = running.await_ready()
        for n in range(40):
            running.configure(settings(site=f"new{n}", more=more))
            running.signal(signal.SIGHUP)
            running.await_logged("reloaded: serving", times=n + 1)
        assert "its place in the counters is needed: killed" in running.log()
        assert answering(address, 5) <= {(0, "new39"), (1, "new39")}


def test_many_reloads_with_slow_clients(tmp_path: Path) -> None:
    """A few generations drain; the next reload waits for the oldest, and has the last settings."""
    more = "reload_generations = 2\ndrain_s = 2\n"
    most = 0
    with supervised(
        tmp_path, toml=settings(more=more), moods=["linger"], timing={"kill_margin_s": 0.1}
    ) as running:
        address = running.await_ready()
        for n in range(45):
            running.configure(settings(site=f"new{n}", more=more))
            running.signal(signal.SIGHUP)
            if n < 3:
                running.await_logged("reloaded: serving", times=n + 1)
            most = max(most, len(children(running.pid)))
        running.await_logged("the reload waits for workers of earlier ones to end")
        eventually(
            lambda: answering(address, 10) == {(0, "new44"), (1, "new44")}, "the last settings"
        )
        eventually(lambda: len(children(running.pid)) <= 6, "the others have ended")
        assert most <= 2 * (2 + 1 + 2)
        assert "0 drains 2" in running.events()


def test_reload_when_it_is_too_late(tmp_path: Path) -> None:
    """A supervisor that stops starts no worker any more."""
    with supervised(tmp_path, moods=["linger"]) as running:
        running.await_ready()
        running.signal(signal.SIGTERM)
        running.await_logged("stopping: ")
        running.signal(signal.SIGHUP)
        running.signal(signal.SIGUSR2)
        running.await_logged("reload ignored while stopping", "upgrade ignored while stopping")
        assert len(children(running.pid)) == 2


def test_logs_are_reopened(tmp_path: Path) -> None:
    """USR1 is passed on to every worker."""
    with supervised(tmp_path) as running:
        running.await_ready()
        running.signal(signal.SIGUSR1)
        running.await_event("0 reopens")
        running.await_event("1 reopens")


# -- a new version -------------------------------------------------------------------------------


def test_new_version_that_does_not_start(tmp_path: Path) -> None:
    """The old one goes on, and can be asked again."""
    with supervised(tmp_path, arguments=["serve", "--nonsense"]) as running:
        address = running.await_ready()
        for times in (1, 2):
            running.signal(signal.SIGUSR2)
            running.await_logged(") ended before it was ready", times=times)
        assert answering(address) == {(0, "old"), (1, "old")}


@pytest.fixture
def slow_version(tmp_path: Path) -> Path:
    """What `python -m ocaserve` finds in the folder where the supervisor runs."""
    return tmp_path / "ocaserve.py"


def test_new_version_that_takes_too_long(tmp_path: Path, slow_version: Path) -> None:
    """It is ended, and the old one goes on."""
    with supervised(tmp_path, timing={"upgrade_s": 0.5}) as running:
        address = running.await_ready()
        slow_version.write_text("import time\ntime.sleep(60)\n")
        running.signal(signal.SIGUSR2)
        running.await_logged("starting a new version")
        running.signal(signal.SIGUSR2)
        running.await_logged("upgrade ignored while upgrading", "was not ready within 0.5 s")
        assert len(children(running.pid)) == 2
        assert answering(address) == {(0, "old"), (1, "old")}


def test_told_to_stop_while_a_new_version_starts(tmp_path: Path, slow_version: Path) -> None:
    """Neither goes on."""
    with supervised(tmp_path) as running:
        running.await_ready()
        slow_version.write_text("import time\ntime.sleep(60)\n")
        running.signal(signal.SIGUSR2)
        running.await_logged("starting a new version")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        running.await_logged("was not ready when this one was told to stop")


# -- the service manager -------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where the service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def await_notice(manager: socket.socket, text: str) -> str:
    """The next notice that begins so."""
    while not (notice := manager.recv(4096).decode()).startswith(text):
        pass
    return notice


def test_notices(tmp_path: Path, manager: socket.socket) -> None:
    """Ready, reloading, ready again, stopping (sd_notify(3))."""
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with supervised(tmp_path, environment=environment) as running:
        notice = await_notice(manager, "READY=1\n")
        assert f"MAINPID={running.pid}" in notice
        assert "STATUS=serving" in notice
        running.signal(signal.SIGHUP)
        assert "\nMONOTONIC_USEC=" in await_notice(manager, "RELOADING=1")
        await_notice(manager, "READY=1\n")
        running.configure("nonsense = 1")
        running.signal(signal.SIGHUP)
        await_notice(manager, "RELOADING=1")
        await_notice(manager, "READY=1")
        running.signal(signal.SIGTERM)
        await_notice(manager, "STOPPING=1")


def test_watchdog(tmp_path: Path, manager: socket.socket) -> None:
    """It is fed while all workers give signs of life, and not for one that does not."""
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
    with supervised(tmp_path, environment=environment) as running:
        running.await_ready()
        for _ in range(3):
            await_notice(manager, "WATCHDOG=1")


def test_listener_of_the_service_manager(tmp_path: Path) -> None:
    """It is taken for the address that it has, shared by the workers, and left open at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        listen = f'["127.0.0.1:{address[1]}"]'
        with supervised(tmp_path, toml=settings(listen=listen), listening=listening) as running:
            assert running.await_ready() == address
            assert {site for _, site in answering(address)} == {"old"}
            running.signal(signal.SIGHUP)
            running.await_logged("reloaded: serving")
            assert {site for _, site in answering(address)} == {"old"}
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
        socket.create_connection(address).close()


def test_listener_that_nobody_asked_for(tmp_path: Path) -> None:
    """It is told, since a unit and the settings disagree."""
    toml = settings(listen=f'["unix:{tmp_path}/s"]')
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        supervised(tmp_path, toml=toml, listening=listening) as running,
    ):
        running.await_logged("was passed in, but the settings do not listen on it")


# -- addresses that cannot be had ----------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Another program's listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other


def address_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


def test_one_of_several_addresses_is_taken(tmp_path: Path, taken: socket.socket) -> None:
    """It serves on the others, says so, and on this one as soon as it can."""
    host, port = taken.getsockname()
    listen = f'["{host}:{port}", "127.0.0.1:0"]'
    with supervised(
        tmp_path, toml=settings(listen=listen), timing={"listen_again_s": 0.1}
    ) as running:
        address = running.await_ready()
        assert answering(address) == {(0, "old"), (1, "old")}
        assert f"cannot listen on {host}:{port}: Address already in use" in running.log()
        taken.close()
        running.await_logged(f"{host}:{port} can be listened on again", "reloaded: serving")
        assert answering((host, port)) == {(0, "old"), (1, "old")}
        assert answering(address) == {(0, "old"), (1, "old")}


def test_reload_with_an_address_that_is_taken(tmp_path: Path, taken: socket.socket) -> None:
    """The other settings count."""
    with supervised(tmp_path) as running:
        host, port = running.await_ready()
        other = address_of(taken)
        running.configure(settings(site="new", listen=f'["{host}:{port}", "{other}"]'))
        running.signal(signal.SIGHUP)
        running.await_logged(f"cannot listen on {other}: ", "reloaded: serving")
        assert answering((host, port)) == {(0, "new"), (1, "new")}


def test_only_address_is_taken(tmp_path: Path, taken: socket.socket) -> None:
    """There is nothing to serve on, so it does not start."""
    with supervised(tmp_path, toml=settings(listen=f'["{address_of(taken)}"]')) as running:
        assert running.wait() == 1
        assert f"cannot listen on {address_of(taken)}: Address already in use" in running.log()
