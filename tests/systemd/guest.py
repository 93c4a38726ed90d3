"""What is tried inside of the virtual machine, as root; `systemd: all good` comes last.

Runs with Debian's Python alone, beside the package that is tried.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.systemd.load import Load, fetch
from tests.systemd.manual import try_manual
from tests.systemd.means import attempt, eventually, run, show
from tests.systemd.tuning import try_doctor

UNIT = "ocaserve.service"
STORE = Path("/srv/oca")
FILM = STORE / "film.bin"
CONFIG = Path("/etc/ocaserve/ocaserve.toml")
DROP_INS = Path("/etc/systemd/system")
ADDRESSES = ("0.0.0.0:80", "0.0.0.0:443")
WORST_EXPOSURE = 2.0
LATE = "was not ready within"

TOML = """\
[serve]
listen = ["0.0.0.0:80"]
access_log = "/var/log/ocaserve/access.log"
workers = 2
[tls]
listen = ["0.0.0.0:443"]
certificates = [{ cert = "/etc/ocaserve/a.pem", key = "/etc/ocaserve/a.key" }]
ktls = "require"
[bgp]
router_id = "192.0.2.10"
local_as = 64500
allow_bogons = ["198.51.100.0/24"]
[[bgp.neighbor]]
address = "127.0.0.2"
peer_as = 64501
local_address = "127.0.0.1"
[[store]]
path = "/srv/oca"
"""
BIRD = """\
router id 192.0.2.1;
protocol device { }
protocol static clients { ipv4; route 198.51.100.0/24 blackhole; }
protocol bgp appliance {
  local 127.0.0.2 port 179 as 64501;
  neighbor 127.0.0.1 as 64500;
  multihop; passive yes; strict bind yes;
  ipv4 { export all; import none; next hop self; };
}
"""


def prop(name: str, unit: str = UNIT) -> str:
    return run("systemctl", "show", "--property", name, "--value", unit).strip()


def main_pid() -> int:
    return int(prop("MainPID"))


def journal() -> str:
    return run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT)


def serves() -> bool:
    with suppress(OSError):
        return fetch() == FILM.read_bytes() == fetch(tls=True)
    return False


def drop_in(unit: str, text: str) -> None:
    folder = DROP_INS / f"{unit}.d"
    folder.mkdir(exist_ok=True)
    (folder / "test.conf").write_text(text)
    run("systemctl", "daemon-reload")


def members() -> dict[int, str]:
    """Processes of the unit: pid and command line."""
    found = {}
    for word in Path("/sys/fs/cgroup/system.slice", UNIT, "cgroup.procs").read_text().split():
        command = Path("/proc", word, "cmdline").read_bytes().replace(b"\0", b" ")
        found[int(word)] = command.decode(errors="replace")
    return found


# -- what is tried -------------------------------------------------------------------------------


def install() -> None:
    run("dpkg", "-i", "/root/first.deb")
    run("systemctl", "restart", "systemd-modules-load")
    show("installed; not started before it is told to", prop("ActiveState") == "inactive")
    FILM.write_bytes(os.urandom(2 << 20))
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-subj", "/CN=oca-1.example.net", "-days", "90",
        "-keyout", "/etc/ocaserve/a.key", "-out", "/etc/ocaserve/a.pem")  # fmt: skip
    run("chown", "-R", "ocaserve:", str(STORE), "/etc/ocaserve/a.key")
    run("chmod", "0400", "/etc/ocaserve/a.key")
    CONFIG.write_text(TOML)
    Path("/etc/bird/bird.conf").write_text(BIRD)
    run("systemctl", "restart", "bird")
    run("ocaserve", "check", "-c", str(CONFIG))


def start() -> None:
    run("systemctl", "enable", "--now", "--quiet", UNIT)
    show("Type=notify: `systemctl start` ends when it serves, HTTP and TLS", serves())
    show(f"status: {prop('StatusText')}", prop("StatusText").startswith("serving"))
    show("its messages are in the journal", "serving /srv/oca on" in journal())
    eventually("access log", lambda: "GET /film.bin" in access_log())
    show("its access log is written", good=True)
    eventually("a route of the router is heard", lambda: "198.51.100.0/24" in routes())
    show("ExaBGP runs in the unit and hears a router's route", good=True)


def access_log() -> str:
    return Path("/var/log/ocaserve/access.log").read_text()


def routes() -> str:
    return attempt("ocaserve", "routes", "-c", str(CONFIG))[1]


_VIEW = (
    ("touch /var/lib/ocaserve/x", True),
    ("cmp /srv/oca/film.bin /srv/oca/film.bin", True),
    ("touch /srv/oca/x", False),
    ("touch /etc/ocaserve/x", False),
    ("touch /usr/x", False),
    ("ls /root", False),
    ("ls /dev/nvme0n1", False),
    ("ls /proc/1", False),
)
"""Commands, and whether they work, for the service's user in the service's view of the files."""


def try_hardening() -> None:
    found = run("systemd-analyze", "security", "--no-pager", UNIT)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", found)
    assert exposure, found
    show(f"exposure of the running unit: {exposure[1]}", float(exposure[1]) <= WORST_EXPOSURE)
    processes = members()
    wrong = [f"{command}: {name}" for pid, command in processes.items() for name in unhardened(pid)]
    show(f"each of {len(processes)} processes: own user, one capability, filter {wrong or ''}",
         processes and not wrong)  # fmt: skip
    show("one of them is ExaBGP", any("exabgp" in command for command in processes.values()))
    as_service = ("nsenter", "--target", str(main_pid()), "--mount", "setpriv",
                  "--reuid=ocaserve", "--regid=ocaserve", "--clear-groups", "sh", "-c")  # fmt: skip
    for command, works in _VIEW:
        status, _ = attempt(*as_service, command)
        show(f"in its view of the files, `{command}` {'works' if works else 'fails'}",
             (status == 0) is works)  # fmt: skip


def unhardened(pid: int) -> list[str]:
    """What the kernel says of a process that is not as the unit wants it."""
    bind_alone = "0000000000000400"
    wanted = {"Uid": run("id", "-u", "ocaserve").strip(), "CapEff": bind_alone,
              "CapBnd": bind_alone, "NoNewPrivs": "1", "Seccomp": "2"}  # fmt: skip
    told = dict(
        re.findall(r"^(\w+):\s+(\S+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    )
    return [name for name, value in wanted.items() if told.get(name) != value]


def try_reload() -> None:
    pid = main_pid()
    with Load(FILM) as load:
        for count in (1, 2):
            run("systemctl", "reload", UNIT)
            eventually("reload", partial(has_reloaded, count))
    show(f"two reloads under load: {load}", not load.bad and load.good)
    show("by the same main process", main_pid() == pid)
    CONFIG.write_text(TOML.replace("workers = 2", "workers = 0"))
    run("systemctl", "reload", UNIT)
    eventually("refusal", lambda: "reload refused" in journal())
    CONFIG.write_text(TOML)
    show("a faulty file is refused, the journal says why, and it serves on",
         "serve.workers" in journal() and serves())  # fmt: skip


def has_reloaded(count: int) -> bool:
    return journal().count("reloaded: ") == count


def has_upgraded(pid: int, late: int) -> bool:
    """In emulation, on a busy machine, a start may take longer than an appliance waits for it; then
    the old version goes on, as it should, and is told again."""
    if main_pid() not in (0, pid):
        return True
    if journal().count(LATE) > late:
        show("(the machine is slow: told once more)", serves())
        run("systemctl", "kill", "--signal=USR2", "--kill-whom=main", UNIT)
        eventually("a second start", lambda: main_pid() not in (0, pid))
    return main_pid() not in (0, pid)


def try_upgrade(package: str, version: str) -> None:
    pid = main_pid()
    with Load(FILM) as load:
        run("dpkg", "-i", f"/root/{package}")
        eventually("upgrade", partial(has_upgraded, pid, journal().count(LATE)))
        eventually("end of the old version", lambda: not Path(f"/proc/{pid}").exists())
    show(f"upgrade under load: {load}", not load.bad and load.good)
    show(f"systemd follows: {prop('StatusText')}, restarts {prop('NRestarts')}",
         prop("ActiveState") == "active" and prop("NRestarts") == "0")  # fmt: skip
    now = run("dpkg-query", "-W", "-f", "${Version}", "ocaserve")
    show(f"it is version {now}", now.endswith(version) and serves())


def try_rotation() -> None:
    run("logrotate", "--force", "/etc/logrotate.d/ocaserve")
    fetch("/film.bin")
    eventually("a line in the new log", lambda: "GET" in access_log())
    show("logrotate: the new file is written", Path("/var/log/ocaserve/access.log.1").exists())


def try_watchdog() -> None:
    drop_in(UNIT, "[Service]\nWatchdogSec=20\n")
    run("systemctl", "restart", UNIT)
    pid = main_pid()
    time.sleep(30)
    show("fed, the watchdog leaves it alone", main_pid() == pid)
    begun = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    eventually("restart", lambda: main_pid() not in (0, pid) and prop("ActiveState") == "active")
    show(f"a supervisor that hangs is replaced, after {time.monotonic() - begun:.0f} s", serves())
    show("the journal names the watchdog", "Watchdog timeout" in journal())


def try_crash() -> None:
    pid, before = main_pid(), set(members())
    os.kill(pid, signal.SIGKILL)
    eventually("restart", lambda: main_pid() not in (0, pid) and prop("ActiveState") == "active")
    show("killed with -9, it is started again", serves())
    show("no process of before is left", not before & set(members()))


def try_socket() -> None:
    run("systemctl", "stop", UNIT)
    lines = "".join(f"ListenStream={address}\n" * 2 for address in ADDRESSES)
    drop_in("ocaserve.socket", f"[Socket]\nListenStream=\n{lines}")
    run("systemctl", "enable", "--now", "--quiet", "ocaserve.socket")
    show("with the socket alone, no process runs", prop("MainPID") == "0")
    show("the first connection starts the service, and is served", serves())
    held = run("ss", "-Hltnp", "sport = :80 or sport = :443")
    show("the ports are systemd's", held.count('"systemd"') == 2 * len(ADDRESSES))
    with Load(FILM) as load:
        for _ in range(2):
            pid = main_pid()
            run("systemctl", "restart", UNIT)
            show("restarted", main_pid() not in (0, pid))
            load.wait_for(3)
    show(f"two restarts under load: {load}", not load.bad and load.good)


def stay() -> None:
    """The watchdog of the drop-in is in force: a new version that did not feed it would end."""
    pid = main_pid()
    time.sleep(40)
    show("the new version feeds the watchdog", main_pid() == pid and prop("NRestarts") == "0")


def remove() -> None:
    run("dpkg", "-r", "ocaserve")
    show("removed: it has ended", prop("ActiveState") == "inactive" and not run("ss", "-Hltn",
         "sport = :80 or sport = :443 or sport = :8081").strip())  # fmt: skip
    _, listed = attempt("systemctl", "list-unit-files", "--no-legend", "ocaserve.*")
    show(f"no unit is left {listed.split()}", not listed.split())
    show("content and configuration are", FILM.exists() and CONFIG.exists())
    run("dpkg", "-P", "ocaserve")
    show("purged: content is left, configuration is not", FILM.exists() and not CONFIG.exists())


def main() -> None:
    manager = run("systemctl", "--version").splitlines()[0]
    print(f"systemd: Linux {platform.release()}, {manager}, Python {platform.python_version()}",
          flush=True)  # fmt: skip
    install()
    start()
    try_doctor(str(CONFIG), FILM)
    try_hardening()
    try_reload()
    try_upgrade("second.deb", "+next")
    try_rotation()
    try_watchdog()
    try_crash()
    try_socket()
    try_upgrade("first.deb", "0.1.0")
    stay()
    remove()
    shutil.rmtree(DROP_INS / "ocaserve.service.d")
    shutil.rmtree(DROP_INS / "ocaserve.socket.d")
    run("systemctl", "daemon-reload")
    try_manual("/root/first.deb")
    print("systemd: all good", flush=True)


if __name__ == "__main__":
    main()
