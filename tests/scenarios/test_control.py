"""The operator's side of the real program: drain, health, metrics, tokens, a killed control."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest

from ocaserve.addresses import parse_address
from ocaserve.control.local_token import find_token
from ocaserve.control.maintenance import MOST_WINDOWS
from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

SMALL = blob(1000)
BIG = blob(12 << 20, seed=5)  # more than the buffers of both sockets hold
# The machine of the tests may be as busy or as full as it likes: that is not what is tested here.
QUIET = '[serve]\naccess_log = "off"\n[drain]\nquiet_s = 0.5\n[health]\nrise_s = 3600\nfall_s = 0\n'
CLIENTS = 64
READ, OPERATE = "read-token-0123456789", "operate-token-0123456789"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control") / "store"
    write_object(folder, "small.mp4", SMALL)
    write_object(folder, "big.mp4", BIG)
    return folder


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path) -> Iterator[Daemon]:
    """One for the tests that leave it as they found it."""
    with serve(store, toml=QUIET) as running:
        yield running


def control(daemon: Daemon) -> str:
    return daemon.control_addresses[0]


def status(daemon: Daemon) -> dict[str, Any]:
    return dict(call(control(daemon), "GET", "/v1/status").json)


def healthz(daemon: Daemon) -> tuple[int, bytes]:
    """What the data plane says."""
    answer = fetch(daemon.address, request("/healthz"))
    return answer.status, answer.body


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ocaserve", *words],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


# -- a killed control process --------------------------------------------------------------------


def test_long_reasons_are_kept(daemon: Daemon) -> None:
    """As many windows as there may be, with reasons as long as they may be, outlive control."""
    reason = "\N{FIRE}" * 200
    later = {"start": "2099-01-01T00:00:00Z", "end": "2099-01-02T00:00:00Z", "reason": reason}
    planned = [call(control(daemon), "POST", "/v1/maintenance", later) for _ in range(MOST_WINDOWS)]
    assert {answer.status for answer in planned} == {201}
    assert call(control(daemon), "POST", "/v1/maintenance", later).status == 409
    os.kill(daemon.control(), signal.SIGKILL)
    kept = call(control(daemon), "GET", "/v1/maintenance").json["windows"]
    assert sorted(window["id"] for window in kept) == sorted(a.json["id"] for a in planned)
    for window in kept:
        assert window["reason"] == reason
        path = f"/v1/maintenance/{window['id']}"
        assert call(control(daemon), "DELETE", path).status == 204
    too_long = {"reason": reason + "!"}
    assert call(control(daemon), "POST", "/v1/drain", too_long).status == 422


def test_control_killed(daemon: Daemon) -> None:
    """No client loses a byte, and what it shows goes on from where it was."""
    sent = "ocaserve_sent_bytes_total"
    with Wire(daemon.address, receive_buffer=4096) as reader:
        reader.send(request("/big.mp4"))
        head = reader.read_head()
        before = total(call(control(daemon), "GET", "/metrics").text, sent)
        os.kill(daemon.control(), signal.SIGKILL)
        assert call(control(daemon), "GET", "/healthz").status == 200
        assert reader.read_exactly(head.length) == BIG
    after = eventually(
        lambda: (
            found
            if (found := total(call(control(daemon), "GET", "/metrics").text, sent)) > before
            else None
        ),
        "the counters go on",
    )
    assert after >= before + len(BIG) // 2


def total(metrics: str, name: str) -> float:
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name))


# -- what is shown -------------------------------------------------------------------------------


def test_metrics_are_well_formed(daemon: Daemon) -> None:
    """promtool, which knows the conventions, finds nothing to complain of."""
    fetch(daemon.address, request("/small.mp4"))
    metrics = call(control(daemon), "GET", "/metrics").text
    promtool = shutil.which("promtool")
    assert promtool, "promtool is in the Debian package prometheus"
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert total(metrics, "ocaserve_response_duration_seconds_count") >= 1


def test_every_get_of_the_document(daemon: Daemon) -> None:
    """The OpenAPI document lists what there is, and each answers as it says."""
    document = call(control(daemon), "GET", "/v1/openapi.json").json
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            is_endless = "text/event-stream" in str(operation["responses"])
            if method == "get" and "{" not in path and not is_endless:
                answer = call(control(daemon), "GET", path)
                assert str(answer.status) in operation["responses"], path
                media = answer.headers["Content-Type"].partition(";")[0]
                assert media in operation["responses"][str(answer.status)]["content"], path
                assert answer.headers["Server"] == "ocaserve", path
                assert answer.headers["X-Content-Type-Options"] == "nosniff", path
    for name in document["components"]["schemas"]:
        assert call(control(daemon), "GET", f"/v1/schema/{name}").status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        pytest.param("GET", "/nothing", None, 404, id="no_such_path"),
        pytest.param("DELETE", "/v1/status", None, 405, id="other_method"),
        pytest.param("POST", "/v1/drain", b"{", 400, id="no_json"),
        pytest.param("POST", "/v1/drain", {"reason": 1}, 422, id="wrong_type"),
        pytest.param("POST", "/v1/drain", {"raeson": ""}, 422, id="unknown_member"),
        pytest.param("POST", "/v1/drain", {"reason": "a\nb"}, 422, id="two_lines"),
        pytest.param("POST", "/v1/drain", {"until": "2020-01-01T00:00:00Z"}, 422, id="past"),
        pytest.param("POST", "/v1/enable", {"x": 1}, 422, id="not_empty"),
    ],
)
def test_problem(daemon: Daemon, method: str, path: str, body: object, expected: int) -> None:
    """Each refusal is a problem document (RFC 9457)."""
    answer = call(control(daemon), method, path, body)
    assert answer.status == expected
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == expected
    assert answer.json["detail"]


def test_examples_of_the_reference(serve: Serve, store: Path) -> None:
    """Each line of docs/api.md is a call that is understood; what it names may not be there."""
    toml = QUIET + (
        f'[control]\nlisten = ["127.0.0.1:0"]\n[control.tokens]\noperate = ["{OPERATE}"]\n'
    )
    page = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text()
    lines = re.findall(r"^curl .*$", page, re.MULTILINE)
    with serve(store, toml=toml, workers=1) as daemon:
        assert len(lines) > 40
        for line in lines:
            if " -N " in line:  # it has no end
                continue
            words = shlex.split(
                line.replace("127.0.0.1:8081", control(daemon)).replace("TOKEN", OPERATE)
            )
            code = subprocess.run(
                [*words, "-s", "-o", os.devnull, "-w", "%{http_code}"],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            assert code[0] == "2" or code in ("404", "409", "410"), (line, code)


# -- who may do what -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(serve: Serve, store: Path) -> Iterator[Daemon]:
    toml = QUIET + (
        '[control]\nlisten = ["127.0.0.1:0"]\nbody_bytes = 2000\n'
        f'[control.tokens]\nread = ["{READ}"]\noperate = ["{OPERATE}"]\n'
    )
    with serve(store, toml=toml) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "token", "expected"),
    [
        pytest.param("GET", "/v1/status", "", 200, id="loopback_may_look"),
        pytest.param("GET", "/v1/status", "wrong-token-0123456789", 401, id="wrong_token"),
        pytest.param("POST", "/v1/enable", "", 401, id="no_token"),
        pytest.param("POST", "/v1/enable", READ, 403, id="reader_may_not_change"),
        pytest.param("POST", "/v1/enable", OPERATE, 200, id="operator_may"),
    ],
)
def test_tokens(guarded: Daemon, method: str, path: str, token: str, expected: int) -> None:
    """Nothing changes without the right one."""
    assert call(control(guarded), method, path, token=token).status == expected


def test_path_cannot_forge_a_line_of_the_log(guarded: Daemon) -> None:
    """What comes from outside stays in the line that tells of it."""
    assert call(control(guarded), "GET", "/v1/x%0Aforged", token="wrong-token-012345").status == 404
    assert call(control(guarded), "GET", "/v1/schema/a%0Aforged", token="wrong").status == 401
    lines = guarded.log.read_text().splitlines()
    assert any("/v1/schema/a\\x0aforged" in line for line in lines)
    assert not any(line.startswith("forged") for line in lines)


def test_nothing_changes_without_a_token(guarded: Daemon) -> None:
    """Whatever the document has beside GET: none without a token, none with one that may look."""
    document = call(control(guarded), "GET", "/v1/openapi.json").json
    changing = [
        (method.upper(), re.sub(r"{\w+}", "x", path))
        for path, methods in document["paths"].items()
        for method in methods
        if method != "get"
    ]
    assert len(changing) >= 5
    for method, path in changing:
        assert call(control(guarded), method, path).status == 401, path
        assert call(control(guarded), method, path, token=READ).status == 403, path
    assert status(guarded)["state"] == "serving"


def test_body_that_is_too_large(guarded: Daemon) -> None:
    """It is refused as such, by its length, by what comes, and by what it inflates to."""
    body = {"reason": "x" * 3000}
    assert call(control(guarded), "POST", "/v1/drain", body, token=OPERATE).status == 413
    packed, zipped = gzip.compress(json.dumps(body).encode()), {"Content-Encoding": "gzip"}
    sent = {"Content-Type": "application/json", **zipped}
    answer = call(control(guarded), "POST", "/v1/drain", packed, token=OPERATE, headers=sent)
    assert answer.status == 413
    brotli = {"Content-Encoding": "br"}
    answer = call(control(guarded), "POST", "/v1/enable", b"{}", token=OPERATE, headers=brotli)
    assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "gzip")
    small = gzip.compress(b"{}")
    answer = call(control(guarded), "POST", "/v1/enable", small, token=OPERATE, headers=sent)
    assert answer.status == 200


def test_body_is_read_of_who_may_send_one(guarded: Daemon) -> None:
    """Who may not hears it before a byte is asked for; who may hears `100 Continue`."""
    for token, first in (("", b"HTTP/1.1 401"), (OPERATE, b"HTTP/1.1 100")):
        with Wire(as_pair(control(guarded))) as wire:
            wire.send(
                f"POST /v1/enable HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                f"Content-Type: application/json\r\nExpect: 100-continue\r\n"
                f"Authorization: Bearer {token}\r\n\r\n".replace(
                    "Authorization: Bearer \r\n", ""
                ).encode()
            )
            assert wire.read_exactly(len(first)) == first


def test_streams_fill_no_other_lane(serve: Serve, store: Path) -> None:
    """One stream more than there may be hears 503 and when to come back; all else is answered."""
    toml = QUIET + '[control]\nlisten = ["127.0.0.1:0"]\nstreams = 4\nrequests_in_flight = 1\n'
    with serve(store, toml=toml, workers=1) as daemon:
        eventually(lambda: call(control(daemon), "GET", "/healthz").status == 200, "it serves")
        with ExitStack() as streams:
            for path in ("/v1/dashboard/events", "/v1/report/events") * 2:
                stream = streams.enter_context(Wire(as_pair(control(daemon))))
                stream.send(request(path, host="localhost"))
                assert b" 200 " in stream.read_exactly(15)
            for path in ("/v1/dashboard/events", "/v1/report/events"):
                refused = call(control(daemon), "GET", path)
                assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
                assert "control.streams = 4" in refused.json["detail"]
            assert call(control(daemon), "GET", "/v1/report").status == 200
            metrics = call(control(daemon), "GET", "/metrics").text
            assert total(metrics, 'ocaserve_control_refused_total{lane="streaming"}') == 2
            assert total(metrics, 'ocaserve_control_requests{lane="streaming"}') == 4
            assert call(control(daemon), "POST", "/v1/drain", token=token_of(daemon)).status == 200
        eventually(
            lambda: total(
                call(control(daemon), "GET", "/metrics").text,
                'ocaserve_control_requests{lane="streaming"}',
            ) == 0,
            "the places are free when the streams are over",
        )  # fmt: skip


def token_of(daemon: Daemon) -> str:
    """What the appliance has made for commands of this user."""
    return find_token(os.environ, parse_address(control(daemon)))


def await_health(daemon: Daemon) -> None:
    """It says that it starts until health was looked at once."""
    eventually(lambda: call(control(daemon), "GET", "/healthz").status == 200, "health was read")


def test_new_connections_find_room(serve: Serve, store: Path) -> None:
    """However many wait: the one that has waited longest goes, and it is counted."""
    toml = QUIET + (
        '[control]\nlisten = ["127.0.0.1:0"]\nconnections = 8\nconnections_per_address = 8\n'
    )
    with serve(store, toml=toml, workers=1) as daemon, ExitStack() as clients:
        stream = clients.enter_context(Wire(as_pair(control(daemon))))
        stream.send(request("/v1/dashboard/events", host="localhost"))
        assert b" 200 " in stream.read_exactly(15)
        await_health(daemon)
        waiting = [clients.enter_context(Wire(as_pair(control(daemon)))) for _ in range(30)]
        assert call(control(daemon), "GET", "/healthz").status == 200
        assert waiting[0].is_ended()
        metrics = call(control(daemon), "GET", "/metrics").text
        assert total(metrics, 'ocaserve_control_ended_total{reason="address_limit"}') >= 24
        assert stream.read_exactly(1)  # who gets an answer stays


def test_silent_connections(serve: Serve, store: Path) -> None:
    """Who does not say what it wants is let go; who did may be silent for longer."""
    toml = QUIET + '[control]\nlisten = ["127.0.0.1:0"]\nhead_s = 1\n'
    with serve(store, toml=toml, workers=1) as daemon, ExitStack() as clients:
        await_health(daemon)
        silent, slow, good = (
            clients.enter_context(Wire(as_pair(control(daemon)))) for _ in range(3)
        )
        slow.send(b"GET /v1/status HTTP/1.1\r\nHost: local")
        for _ in range(2):
            good.send(request("/healthz", host="localhost"))
            assert good.read_response().status == 200
            assert silent.is_ended()
            assert slow.is_ended()


def test_connections_that_hold_a_place(serve: Serve, store: Path) -> None:
    """One request and then nothing; a request and half a head; answers that nobody takes."""
    toml = QUIET + ('[control]\nlisten = ["127.0.0.1:0"]\nhead_s = 1\nidle_s = 1\nstall_s = 1\n')
    asked = request("/v1/openapi.json", host="localhost")
    with serve(store, toml=toml, workers=1) as daemon, ExitStack() as clients:
        idle, half, stalled, stream = (
            clients.enter_context(Wire(as_pair(control(daemon)), receive_buffer=4096))
            for _ in range(4)
        )
        for wire in (idle, half):
            wire.send(request("/healthz", host="localhost"))
            wire.read_response()
        half.send(asked[:30])
        stalled.send(asked * 100)  # more than the buffers of both sockets hold
        stream.send(request("/v1/dashboard/events", host="localhost"))
        assert b" 200 " in stream.read_exactly(15)
        for wire in (idle, half):
            assert wire.is_ended()

        def ended(reason: str) -> float:
            metrics = call(control(daemon), "GET", "/metrics").text
            return total(metrics, f'ocaserve_control_ended_total{{reason="{reason}"}}')

        eventually(lambda: ended("stall_timeout") == 1, "who takes nothing is let go of")
        assert (ended("idle_timeout") >= 1, ended("head_timeout")) == (True, 1)
        assert stream.read_exactly(1000)  # a stream that is read lasts


def as_pair(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_what_is_no_http(guarded: Daemon) -> None:
    """It hears 400; the log has a line of it, and none of the bytes."""
    with Wire(as_pair(control(guarded))) as wire:
        wire.send(b"GET /v1/status HTTP/1.1\r\nAuthorization: Bearer " + b"half-a-token\0\r\n\r\n")
        assert b" 400 " in wire.read_exactly(15)
    said = eventually(
        lambda: text if "is no HTTP" in (text := guarded.log.read_text()) else None, "a line of it"
    )
    assert "half-a-token" not in said
    assert "Traceback" not in said


def test_pages_of_other_sites(guarded: Daemon) -> None:
    """They may ask for nothing, and a name that somebody points at loopback sees nothing."""
    for evil in (
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ):  # fmt: skip
        answer = call(control(guarded), "POST", "/v1/enable", token=OPERATE, headers=evil)
        assert answer.status == 403
        assert call(control(guarded), "GET", "/v1/ledger", headers=evil).status == 403
    own = {"Origin": f"http://{control(guarded)}", "Sec-Fetch-Site": "same-origin"}
    assert call(control(guarded), "GET", "/v1/ledger", headers=own).status == 200
    rebound = call(control(guarded), "GET", "/v1/status", headers={"Host": "evil.example"})
    assert rebound.status == 421
    form = {"Content-Type": "text/plain"}
    answer = call(control(guarded), "POST", "/v1/drain", b"{}", token=OPERATE, headers=form)
    assert answer.status == 415


def test_token_of_the_appliance(serve: Serve, store: Path, tmp_path: Path) -> None:
    """Without tokens in the settings, commands of the same user may operate, and nobody else."""
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    arguments = ["--control", "127.0.0.1:0"]
    with Daemon.serving(store, toml=QUIET, arguments=arguments, environment=environment) as daemon:
        eventually(lambda: list(tmp_path.glob("ocaserve/token-*")), "the token's file")
        (file,) = tmp_path.glob("ocaserve/token-*")
        assert file.stat().st_mode & 0o777 == 0o600
        assert call(control(daemon), "POST", "/v1/enable").status == 401
        assert call(control(daemon), "POST", "/v1/enable", token=file.read_text()).status == 200
        assert file.read_text() not in daemon.log.read_text()
    assert not file.exists()


# -- streams -------------------------------------------------------------------------------------


def test_viewers_that_leave(daemon: Daemon) -> None:
    """Who closes the dashboard is no event for the log."""
    before = daemon.log.read_text()
    asked = request("/v1/dashboard/events")
    with ExitStack() as viewers:
        for _ in range(8):
            viewer = viewers.enter_context(Wire(control(daemon).removeprefix("unix:")))
            viewer.send(asked)
            assert viewer.read_head().status == 200
    with Wire(control(daemon).removeprefix("unix:")) as last:
        last.send(asked)
        last.read_head()
        lines = last.socket.makefile("rb")
        for _ in range(3):  # by then the others have been written to
            assert any(line.startswith(b"data: ") for line in lines)
    assert "Traceback" not in daemon.log.read_text().removeprefix(before)


# -- commands ------------------------------------------------------------------------------------


def test_status_command(daemon: Daemon) -> None:
    """A screen for people, JSON for programs; the exit status says whether it takes traffic."""
    shown = command("status", "--control", control(daemon))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "serving" in shown.stdout
    as_json = command("status", "--json", "--control", control(daemon))
    assert '"takes_traffic": true' in as_json.stdout


def test_status_that_is_watched(daemon: Daemon) -> None:
    """It goes on until Ctrl-C, also over a killed control process, and ends without a complaint."""
    words = ["status", "--watch", "--control", control(daemon)]
    with subprocess.Popen(
        [sys.executable, "-m", "ocaserve", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "100"},
        preexec_fn=hear_ctrl_c,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        read_until(process.stdout, "serving")
        os.kill(daemon.control(), signal.SIGKILL)
        for _ in range(2):
            read_until(process.stdout, "serving")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


def hear_ctrl_c() -> None:
    """A shell has what it starts in the background ignore it, and so do their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def read_until(stream: IO[str], word: str) -> None:
    """Lines, until one has the word. Raises AssertionError at the end."""
    assert any(word in line for line in stream)


def test_reload_command(daemon: Daemon) -> None:
    """It returns when the outcome is known."""
    done = command("reload", "--control", control(daemon))
    assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded\n", "")


def test_reload_that_changes_how_the_appliance_is_reached(store: Path, tmp_path: Path) -> None:
    """Who knows the way of before hears the outcome; who does not is told what does it."""
    config, token = tmp_path / "ocaserve.toml", tmp_path / "token"

    def configure(address: str, held: str) -> None:
        config.write_text(
            '[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\nworkers = 1\n'
            f'[control]\nlisten = ["{address}"]\ntokens = {{ operate = ["{held}"] }}\n'
            f'[[store]]\npath = "{store}"\n'
        )

    configure("127.0.0.1:0", OPERATE)
    daemon = Daemon.start(["serve", "-c", str(config)], tmp_path / "log")
    try:
        before = control(daemon)
        token.write_text(OPERATE)
        old_way = ("--control", before, "--token-file", str(token))
        configure(before, OPERATE + "x")
        refused = command("reload", "-c", str(config))
        assert refused.returncode == 1
        assert "has changed, `systemctl reload ocaserve` (SIGHUP)" in refused.stderr
        assert command("reload", *old_way).stdout == "reloaded\n"
        token.write_text(OPERATE + "x")
        configure(f"unix:{tmp_path}/control", OPERATE)
        done = command("reload", "-c", str(config), *old_way)
        assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded\n", "")
        assert command("status", "-c", str(config)).returncode == 0
    finally:
        daemon.stop()


def test_command_without_an_appliance(tmp_path: Path) -> None:
    """It says where it looked."""
    done = command("status", "--control", f"unix:{tmp_path}/none")
    assert done.returncode == 1
    assert done.stderr == (
        f"ocaserve: unix:{tmp_path}/none: nothing listens there; is the appliance running?\n"
    )


def test_command_with_a_wrong_time() -> None:
    """Status 2, and what is allowed."""
    done = command("drain", "--until", "tomorrow")
    assert done.returncode == 2
    assert "--until 'tomorrow': must be a time such as" in done.stderr


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(f'operate = ["{OPERATE}"]\n', id="table_of_tokens"),
        pytest.param("", id="empty"),
        pytest.param(f"{OPERATE}\n{OPERATE}\n", id="two_tokens"),
        pytest.param(f"{OPERATE}\xff", id="no_text"),
    ],
)
def test_file_that_holds_no_token(guarded: Daemon, tmp_path: Path, held: str) -> None:
    """It is named, what it must hold is said, and what it holds is not shown."""
    file = tmp_path / "token"
    file.write_text(held, "latin-1")
    done = command("enable", "--control", control(guarded), "--token-file", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"--token-file {str(file)!r}: must hold one token and nothing else" in done.stderr
    assert OPERATE not in done.stderr


def test_file_with_faults_elsewhere(guarded: Daemon, tmp_path: Path) -> None:
    """A store that is gone, or a mistake in another table, does not lock the operator out."""
    config = tmp_path / "faulty.toml"
    config.write_text(
        f'[serve]\nlisten = ["nonsense"]\nwokers = 1\n[[store]]\npath = "{tmp_path}/gone"\n'
        f'[control]\nlisten = ["{control(guarded)}"]\ntokens = {{ operate = ["{OPERATE}"] }}\n'
    )
    assert command("enable", "-c", str(config)).returncode == 0
    config.write_text(f'[control]\nlisten = ["{control(guarded)}"]\ntokens_fil = "x"\n')
    done = command("enable", "-c", str(config))
    assert done.returncode == 1
    assert "control.tokens_fil: unknown key; did you mean 'tokens_file'?" in done.stderr


def test_file_with_tokens_to_read(guarded: Daemon, tmp_path: Path) -> None:
    """They are shown by commands that have no better."""
    config = tmp_path / "reader.toml"
    for token, expected in ((READ + "x", 1), (READ, 0)):
        config.write_text(
            f'[control]\nlisten = ["{control(guarded)}"]\ntokens = {{ read = ["{token}"] }}\n'
        )
        assert command("status", "-c", str(config)).returncode == expected
    assert "needs a token of the role operate" in command("enable", "-c", str(config)).stderr


def test_token_of_an_appliance_that_was_killed(guarded: Daemon, tmp_path: Path) -> None:
    """It is not the running one's; what needs no token goes on without."""
    folder = tmp_path / "ocaserve"
    folder.mkdir(mode=0o700)
    (folder / f"token-{control(guarded)}").write_text("stale-token-0123456789")
    words = ("--control", control(guarded))
    assert command("status", *words, XDG_RUNTIME_DIR=str(tmp_path)).returncode == 0
    done = command("enable", *words, XDG_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "this needs a token of the role operate" in done.stderr
