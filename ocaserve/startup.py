"""What is put in order before anything of the program is imported: whoever starts it may leave
descriptors closed, signals blocked or ignored, and a working directory that is full of surprises.

Nothing is imported here before the end of that, but what the interpreter loads by itself.
"""

import os
import sys

_INSTALLED = (sys.prefix, sys.base_prefix)  # below these, even the working directory is meant


def prepare() -> None:
    """Call first. Starts the interpreter anew where only that helps."""
    _forget_working_directory()
    _open_standard_descriptors()
    is_service = sys.argv[1:2] == ["serve"] or sys.argv[1:3] == ["fleet", "serve"]
    _reset_signals(is_service=is_service)
    if is_service:
        os.umask(os.umask(0) & 0o077)  # what we write we must be able to read
    _speak_utf8()


def _open_standard_descriptors() -> None:
    """Else the next file, a client perhaps, would be standard error, and be written to as such."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
            os.set_inheritable(descriptor, True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            stream = os.fdopen(descriptor, "w", closefd=False, errors="backslashreplace")
            setattr(sys, name, stream)


def _reset_signals(*, is_service: bool) -> None:
    """None is blocked, and a service ignores none, whatever those before us wanted.

    Who starts a command with nohup(1) wants it to ignore what it is made to ignore.
    """
    import signal

    kept = {signal.SIGPIPE, signal.SIGXFSZ}  # the interpreter ignores them: it raises OSError
    for number in signal.valid_signals() - kept if is_service else {signal.SIGCHLD}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    # These may come as soon as the process is there, and would end it: they wait to be heard.
    held_back = {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2} if is_service else set()
    signal.pthread_sigmask(signal.SIG_SETMASK, held_back)


def _forget_working_directory() -> None:
    """Import nothing from it, here and in every interpreter that is started from here.

    `python -m` puts it before all other places, an empty part of PYTHONPATH means it as well. Where
    the program itself lies there, it is the last place to look.
    """
    if not sys.flags.safe_path:
        del sys.path[0]
    here = _working_directory()
    sys.path[:] = [path for path in sys.path if path != here or path.startswith(_INSTALLED)]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [path for path in given if os.path.isabs(path) and os.path.realpath(path) != here]
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not _is_found(home):
        sys.path.append(home)
        kept.append(home)
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(kept)  # empty is as if it were not set


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return ""


def _is_found(home: str) -> bool:
    """Whether our packages are where the interpreter looks by itself."""
    from importlib.util import find_spec

    found = find_spec("bgp")
    return found is not None and found.origin == os.path.join(home, "bgp", "__init__.py")


def _speak_utf8() -> None:
    """Names of files are bytes, and those in settings UTF-8: the encoding of a locale would make
    others of them.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line
