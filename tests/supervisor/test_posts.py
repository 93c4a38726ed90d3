"""The processes beside the workers: one that crashes, stalls and lingers when a test says so."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.clerk import consult
from tests.support.processes import children, children_named
from tests.support.supervised import Supervised, ask, settings, supervised
from tests.support.waiting import eventually

SOON = {"first_pause_s": 0.05, "longest_pause_s": 0.2}


def with_control(folder: Path, site: str = "old") -> str:
    return settings(site) + f'[control]\nlisten = ["unix:{folder}/control"]\n'


def await_successor(path: Path, pid: int) -> dict[str, object]:
    """What the process knows that follows this one."""
    return eventually(
        lambda: found if (found := consult(path))["pid"] != pid else None, "a successor"
    )


def test_knows_the_appliance(tmp_path: Path) -> None:
    """It is shown the workers and the phase, and reads the counters of all of them."""
    with supervised(tmp_path, toml=with_control(tmp_path), clerks={"clerk": "serve"}) as running:
        address = running.await_ready()
        ask(address)
        known = eventually(
            lambda: (
                found
                if (found := consult(tmp_path / "control"))["shown"].get("phase") == "serving"
                else None
            ),
            "it is shown that all serve",
        )
        assert known["asked"] == 1
        shown = known["shown"]
        assert [worker[4] for worker in shown["workers"]] == ["serving", "serving"]
        assert [service["name"] for service in shown["services"]] == ["clerk"]
        assert Path(known["folder"]).stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "control").stat().st_mode & 0o777 == 0o660
    assert not Path(known["folder"]).exists()
    assert not (tmp_path / "control").exists()


def test_killed(tmp_path: Path) -> None:
    """It comes back; nobody is refused meanwhile; it knows what the one before it noted."""
    with supervised(
        tmp_path, toml=with_control(tmp_path), clerks={"clerk": "serve"}, timing=SOON
    ) as running:
        running.await_ready()
        path = tmp_path / "control"
        first = consult(path, {"is": "noting", "name": "duty", "value": {"state": "draining"}})
        os.kill(first["pid"], signal.SIGKILL)
        second = await_successor(path, first["pid"])
        assert second["notes"] == {"duty": {"state": "draining"}}
        assert f"clerk (pid {first['pid']}) was ended by signal 9" in running.log()


def test_fails_again_and_again(tmp_path: Path) -> None:
    """It is tried for ever, while the workers serve."""
    with supervised(
        tmp_path, toml=with_control(tmp_path), clerks={"clerk": "fail"}, timing=SOON
    ) as running:
        address = running.await_ready()
        running.await_event("clerk starts", times=4)
        assert ask(address)[2] == "old"
        running.set_clerk("clerk", "serve")
        assert consult(tmp_path / "control")["site"] == "old"


def test_gives_no_sign_of_life(tmp_path: Path) -> None:
    """It is stuck: killed and replaced."""
    with supervised(
        tmp_path,
        toml=with_control(tmp_path),
        clerks={"clerk": "mute"},
        timing={**SOON, "silence_s": 0.5},
    ) as running:
        running.await_event("clerk starts")  # it knows its mood by then
        running.set_clerk("clerk", "serve")
        running.await_logged("gave no sign of life for 0.5 s: killed")
        running.await_event("clerk starts", times=2)


def test_orders_workers(tmp_path: Path) -> None:
    """Those that serve, and those that come later."""
    with supervised(
        tmp_path, toml=with_control(tmp_path), clerks={"clerk": "serve"}, timing=SOON
    ) as running:
        address = running.await_ready()
        order = {"do": "duty", "word": "draining", "is_fit": False, "turns_away": False}
        consult(tmp_path / "control", {"is": "ordering", "name": "duty", "order": order})
        running.await_event("0 is draining")
        running.await_event("1 is draining")
        place, pid, _ = ask(address)
        os.kill(pid, signal.SIGKILL)
        running.await_event(f"{place} is draining", times=2)


def test_asks_for_a_reload(tmp_path: Path) -> None:
    """As HUP does. Other settings replace it too, when the workers have them."""
    with supervised(tmp_path, toml=with_control(tmp_path), clerks={"clerk": "serve"}) as running:
        running.await_ready()
        running.configure(with_control(tmp_path, "new"))
        first = consult(tmp_path / "control", {"is": "asking", "what": "reload"})
        second = await_successor(tmp_path / "control", first["pid"])
        assert second["site"] == "new"
        shown = eventually(lambda: consult(tmp_path / "control")["shown"], "it is shown something")
        assert shown["reload"]["outcome"] == "done"


def test_reload_that_is_refused(tmp_path: Path) -> None:
    """It is told why, and goes on as it is."""
    with supervised(tmp_path, toml=with_control(tmp_path), clerks={"clerk": "serve"}) as running:
        running.await_ready()
        running.configure("[serve]\nworkers = 0\n")
        path = tmp_path / "control"
        pid = consult(path, {"is": "asking", "what": "reload"})["pid"]
        known = eventually(
            lambda: (
                found
                if (found := consult(path))["shown"].get("reload", {}).get("outcome") == "refused"
                else None
            ),
            "refused",
        )
        assert known["pid"] == pid
        assert "serve.workers = 0" in known["shown"]["reload"]["faults"][0]


def test_no_longer_wanted(tmp_path: Path) -> None:
    """A reload ends it, and the next one may bring it back."""
    with supervised(tmp_path, toml=with_control(tmp_path), clerks={"clerk": "serve"}) as running:
        running.await_ready()
        consult(tmp_path / "control")
        running.configure(settings(site=""))
        running.signal(signal.SIGHUP)
        running.await_event("clerk stops")
        eventually(lambda: not (tmp_path / "control").exists(), "its socket is gone")
        running.configure(with_control(tmp_path))
        running.signal(signal.SIGHUP)
        running.await_event("clerk starts", times=2)


def test_ends_after_the_workers(tmp_path: Path) -> None:
    """So that they can be watched; the services themselves end in the order of the list."""
    with supervised(
        tmp_path,
        toml=with_control(tmp_path),
        clerks={"exec": "sleep", "clerk": "serve"},
    ) as running:
        running.await_ready()
        consult(tmp_path / "control")
        await_exec(running)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        events = running.events()
        assert events.index("clerk stops") > max(
            events.index("0 drains 30"), events.index("1 drains 30")
        )
        assert "killed" not in running.log()


def test_does_not_end_when_it_is_told(tmp_path: Path) -> None:
    """It is killed."""
    with supervised(
        tmp_path,
        toml=with_control(tmp_path),
        clerks={"clerk": "linger"},
        timing={"kill_margin_s": 0.2},
    ) as running:
        running.await_ready()
        consult(tmp_path / "control")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert "did not end within 0.2 s: killed" in running.log()


# -- a command -----------------------------------------------------------------------------------


def await_exec(running: Supervised) -> int:
    """The process of the service `exec`, once it is the command."""
    (pid,) = eventually(lambda: children_named(running.pid, "sleep"), "the command runs")
    return pid


def test_command(tmp_path: Path) -> None:
    """It is no longer ours inside: it is started again when it ends, but needs no sign of life."""
    with supervised(
        tmp_path, clerks={"exec": "sleep"}, timing={**SOON, "silence_s": 0.3}
    ) as running:
        running.await_ready()
        pid = await_exec(running)
        os.kill(pid, signal.SIGKILL)
        running.await_event("exec starts", times=2)
        assert await_exec(running) != pid
        assert "no sign of life" not in running.log()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0


def test_command_ends_with_the_supervisor(tmp_path: Path) -> None:
    """Also when that is killed: it would go on for ever otherwise."""
    with supervised(tmp_path, clerks={"exec": "sleep"}) as running:
        running.await_ready()
        pid = await_exec(running)
        running.signal(signal.SIGKILL)
        running.wait()
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the command is gone")


# -- a new version -------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_notes_go_to_a_new_version(tmp_path: Path) -> None:
    """The variable is the new version's; see tests/scenarios for the real program."""
    with supervised(
        tmp_path,
        toml=with_control(tmp_path),
        clerks={"clerk": "serve"},
        environment={"OCASERVE_NOTES": '{"services": {"duty": 7}}'},
    ) as running:
        running.await_ready()
        assert consult(tmp_path / "control")["notes"] == {"duty": 7}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"is": "ordering", "name": "duty"}, id="part_is_missing"),
        pytest.param({"is": "ordering", "name": "a", "order": {"do": "sing"}}, id="unknown_order"),
        pytest.param({"is": "asking", "what": "sudo"}, id="not_allowed"),
        pytest.param({"is": "singing"}, id="unknown"),
        pytest.param(["is"], id="another_shape"),
    ],
)
def test_says_what_is_not_known(tmp_path: Path, message: dict[str, object]) -> None:
    """It is told once, and nothing else comes of it."""
    with supervised(
        tmp_path, toml=with_control(tmp_path), clerks={"clerk": "serve"}, timing=SOON
    ) as running:
        running.await_ready()
        path = tmp_path / "control"
        pid = consult(path, message)["pid"]
        consult(path, message)
        running.await_logged("says what is not known, that is left out")
        consult(path, {"is": "noting", "name": "duty", "value": 1})
        assert consult(path)["pid"] == pid
        assert running.log().count("says what is not known") == 1
        assert "Traceback" not in running.log()


def test_its_address_is_taken(tmp_path: Path) -> None:
    """It does without, and has it as soon as it can; workers notice nothing of either."""
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with supervised(
            tmp_path,
            toml=with_control(tmp_path),
            clerks={"clerk": "serve"},
            timing={**SOON, "listen_again_s": 0.1},
        ) as running:
            _, pid, _ = ask(running.await_ready())
            running.await_event("clerk starts")
            assert f"cannot listen on unix:{path}: Address already in use" in running.log()
            other.close()
            running.await_logged(f"unix:{path} can be listened on again")
            eventually(lambda: path_answers(path), "the clerk answers there")
            assert pid in children(running.pid)
            eventually(lambda: consult(path)["shown"].get("missing") == {}, "it is shown")


def path_answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
