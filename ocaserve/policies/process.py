"""The process that runs policies: it answers questions from one socket, and can do nothing else.

Before the first program comes it gives up what a program must never reach, should one find a way
out of its language: no descriptor can be opened, so no file and no connection; what is in the
environment is not there; memory has a bound. It ends when who asks is gone.
"""

from __future__ import annotations

import resource
import socket
import sys

from ocaserve.policies import program_messages as messages
from ocaserve.policies.bundles import Bundle
from ocaserve.policies.policy_limits import LIMITS
from ocaserve.policies.program_messages import (
    Answer,
    Ask,
    AskOrder,
    AskRule,
    DropProgram,
    ExamineProgram,
    LoadProgram,
    ProgramDone,
    ProgramExamined,
    ProgramFailed,
    ProgramOrdered,
    ProgramRuled,
)
from ocaserve.policies.programs import Program, ProgramError, lint

_SELF_TEST = Bundle("begin", {"begin.star": "def admit(client, server):\n    return server.id\n"})


def run_policies(asked: socket.socket) -> None:
    """Answer until the other side is closed."""
    _give_up()
    asked.sendall(messages.frame(ProgramDone()))  # ready
    programs: dict[str, Program] = {}
    with asked.makefile("rb") as records:
        while head := records.read(messages.LENGTH.size):
            (length,) = messages.LENGTH.unpack(head)
            answer = _answer(programs, messages.read_ask(records.read(length)))
            if answer is not None:
                asked.sendall(messages.frame(answer))


def _give_up() -> None:
    Program(_SELF_TEST).rule({}, [{"id": "a"}], {})  # what is imported late is imported now
    for kind, most in (
        (resource.RLIMIT_AS, LIMITS.memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # those that are open stay so
    ):
        resource.setrlimit(kind, (most, most))


def _answer(programs: dict[str, Program], ask: Ask) -> Answer | None:
    try:
        match ask:
            case LoadProgram():
                bundle = Bundle(ask.name, ask.files)
                programs[bundle.version] = Program(bundle)
                return ProgramDone()
            case DropProgram():
                programs.pop(ask.version, None)
                return None
            case AskRule():
                program = programs[ask.version]
                refused, weights = program.rule(ask.client, ask.servers, ask.object)
                return ProgramRuled(refused, weights, program.cpu_s)
            case AskOrder():
                program = programs[ask.version]
                return ProgramOrdered(program.order(ask.client, ask.servers), program.cpu_s)
            case ExamineProgram():
                return _examine(Bundle(ask.name, ask.files))
    except ProgramError as error:
        return ProgramFailed(str(error), error.is_overrun)
    except KeyError:
        return ProgramDone()  # it was dropped meanwhile: who asked does not need it any more


def _examine(bundle: Bundle) -> ProgramExamined:
    program = Program(bundle)
    faults = lint(bundle)
    passed = 0
    for name in bundle.tests:
        try:
            program.test(name)
            passed += 1
        except ProgramError as error:
            faults.append(f"{name} fails: {error}")
    return ProgramExamined(faults, passed)


if __name__ == "__main__":
    run_policies(socket.socket(fileno=int(sys.argv[1])))
