"""Bundles as they lie on a disk: `NAME.star`, and `lib/` beside it."""

from __future__ import annotations

from pathlib import Path

from ocaserve.policies.bundles import Bundle, BundleError, make_bundle

TEMPLATE = '''\
# {name}: what it is for. docs/policies.md says what there is of a client, a server and an object.
load("@testing", "client", "equal", "server")

def admit(client, server):
    """True, or why the server is not to serve the client."""
    return True

def test_everybody_is_admitted():
    equal(admit(client(hour = 20), server(id = "oca-1")), True)
'''


def read_bundle(path: Path) -> Bundle:
    """Of a program, or of the folder that has one alone. Raises BundleError, OSError."""
    if path.is_dir():
        programs = sorted(path.glob("*.star"))
        if len(programs) != 1:
            raise BundleError(f"{path}: {len(programs)} programs (NAME.star): one is a policy")
        path = programs[0]
    files = {path.name: path, **{f"lib/{x.name}": x for x in path.parent.glob("lib/*.star")}}
    try:
        texts = {name: each.read_text("utf-8") for name, each in files.items()}
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: it is not UTF-8") from error
    return make_bundle(path.name.removesuffix(".star"), texts)


def write_template(name: str, folder: Path) -> Path:
    """A policy that changes nothing yet. Raises BundleError, OSError: also where it is there."""
    text = TEMPLATE.format(name=name)
    make_bundle(name, {f"{name}.star": text})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.star"
    with file.open("x", encoding="utf-8") as written:
        written.write(text)
    return file
