"""CPU time and memory of a process tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.host import parse_cpu_model
from benchmarks.measure import (
    cpu_seconds,
    is_same,
    parse_pss_kib,
    parse_stat,
    process_tree,
    pss_kib,
)
from benchmarks.processes import last_words, on_core, running
from tests.support.waiting import eventually

STAT = (
    "42 (a (b) c) S 7 42 42 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 3 0 5555 1000 10 "
    "18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)


def test_a_name_may_look_like_the_fields_behind_it() -> None:
    times = parse_stat(STAT)
    assert times == ("S", 7, 77, 5555)


def test_memory_is_the_proportional_share() -> None:
    assert parse_pss_kib("Rss: 900 kB\nPss:  123 kB\nPss_Dirty: 5 kB\n") == 123
    with pytest.raises(ValueError, match="no Pss"):
        parse_pss_kib("Rss: 900 kB\n")


def test_the_model_of_the_processor_is_named_where_it_is_known() -> None:
    assert parse_cpu_model("processor\t: 0\nmodel name\t: AMD EPYC\n") == "AMD EPYC"
    assert parse_cpu_model("processor : 0\nCPU architecture: 8\n") == "unknown"


def test_children_and_those_that_have_ended_count(tmp_path: Path) -> None:
    child = "import time\nwhile time.process_time() < 0.05: pass"
    code = (
        f"import subprocess, sys\nbusy = [sys.executable, '-c', {child!r}]\n"
        "subprocess.run(busy, check=True)\n"
        "waiting = subprocess.Popen([sys.executable, '-c', 'input()'])\nprint(1, flush=True)\n"
        "waiting.wait()"
    )
    log = tmp_path / "log"
    with running(
        [sys.executable, "-c", code], log, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tree = process_tree(process.pid)
        assert len(tree) == 2
        assert cpu_seconds(process.pid) >= 0.05
        assert pss_kib(process.pid) > 1000
    eventually(lambda: not any(is_same(*entry) for entry in tree.items()), "the end of all")
    assert process_tree(process.pid) == {}
    assert cpu_seconds(process.pid) == 0


def test_a_program_that_ignores_its_end_is_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_GRACE_S", 0.2)
    code = (
        "import os, signal\nos.fork()\nsignal.signal(15, signal.SIG_IGN)\n"
        "print(1, flush=True)\nsignal.pause()"
    )
    with running([sys.executable, "-c", code], tmp_path / "log", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        eventually(lambda: len(process_tree(process.pid)) == 2, "the fork")
        tree = process_tree(process.pid)
    eventually(lambda: not any(is_same(*entry) for entry in tree.items()), "the end of all")


def test_programs_start_on_their_core_and_ours_is_as_before(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    core = min(before)
    code = "import os; print(os.sched_getaffinity(0), flush=True)"
    with running(
        [sys.executable, "-c", code], tmp_path / "log", core, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{{{core}}}\n"
    assert os.sched_getaffinity(0) == before
    with on_core(core):
        assert os.sched_getaffinity(0) == {core}


def test_what_a_client_said_last_is_in_the_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\n\nTraceback\n  line\nOSError: no route\n")
    assert last_words(log).endswith("OSError: no route")
