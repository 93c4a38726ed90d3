"""The reference of the API, made from the OpenAPI document: `python -m ocaserve.control.reference`
prints docs/api.md.
"""

from __future__ import annotations

import inspect
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocaserve.control.app import build_app
from ocaserve.control.auth import Guard
from ocaserve.control.link import Link
from ocaserve.control.openapi import describe_api
from ocaserve.control.routing import ROUTES
from ocaserve.control.state import ControlState
from ocaserve.metrics import CounterMap
from ocaserve.settings import Tokens, settings_from_directories

Json = Mapping[str, Any]

_HEAD = """\
# The API

This page is made from the code by `python -m ocaserve.control.reference`. An appliance says the
same to programs: `/v1/openapi.json`, and `/v1/schema/NAME` for one shape as JSON Schema.

The API is offered on the addresses of `[control]`. Bodies and answers are JSON, and each error is a
problem as in RFC 9457 (`application/problem+json`). Where a call needs a role, the token is sent as
`Authorization: Bearer …`; "operate" may read, too. On loopback, reading needs no token.

Any call may be answered with 500 or 503; one that needs a role also with 401, 403 or 421; one with
a body also with 400, 413, 415 or 422, one with parameters with 400. Other refusals stand with it.
"""
_OF_ALL = {"400", "401", "403", "413", "415", "421", "422", "500", "503"}


def describe_reference() -> str:
    """All calls, then all shapes, as Markdown."""
    document = document_api()
    shapes = document["components"]["schemas"]
    calls = "".join(
        _describe_call(method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    described = "".join(_describe_shape(name, shapes[name]) for name in sorted(shapes))
    return f"{_HEAD}\n## Calls\n{calls}\n## Shapes\n{described}"


def document_api() -> Json:
    """The OpenAPI document of an appliance with the default settings.

    Routes belong to the parts that register them, so a whole application is built, and never run.
    """
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as name, ours, theirs:
        folder = Path(name)
        settings = settings_from_directories([name])
        counters = CounterMap(["requests"], [], 1)
        state = ControlState(settings, counters, Link(ours), folder, Guard(Tokens(), ""))
        routes = build_app(state)[ROUTES]
        return describe_api(routes)


def _describe_call(method: str, path: str, operation: Json) -> str:
    return f"\n### {method} {path}\n\n" + "\n".join(_lines_of_call(operation)) + "\n"


def _lines_of_call(operation: Json) -> Iterator[str]:
    yield f"{operation['summary']}.\n"
    yield f"- role: {_role(operation)}"
    if "requestBody" in operation:
        yield f"- body: {_content(operation['requestBody'])}"
    for status, answer in operation["responses"].items():
        if int(status) < 400:
            what = _content(answer) or answer["description"]
            yield f"- answer {status}: {what}"
    refusals = [status for status in operation["responses"] if status >= "400"]
    if rare := [status for status in refusals if status not in _OF_ALL]:
        yield f"- refused with: {', '.join(rare)}"
    if operation["parameters"]:
        yield "\n| parameter | in | type | default |\n|---|---|---|---|"
        yield from map(_describe_parameter, operation["parameters"])


def _role(operation: Json) -> str:
    wanted = operation.get("security")
    if not wanted:
        return "none"
    return "read" if {} in wanted else "operate"


def _content(part: Json) -> str:
    """What a body or an answer holds: its shape, and in which media type unless that is JSON."""
    told = []
    for media, content in part.get("content", {}).items():
        kind = _type(content["schema"])
        told.append(kind if media == "application/json" else f"{part['description']}, `{media}`")
    return ", ".join(told)


def _describe_parameter(parameter: Json) -> str:
    schema = parameter["schema"]
    must = "(must be given)" if parameter["required"] else _default(schema)
    return f"| `{parameter['name']}` | {parameter['in']} | {_type(schema)} | {must} |"


def _describe_shape(name: str, shape: Json) -> str:
    about = inspect.cleandoc(shape.get("description", ""))
    text = f"\n### {name}\n\n" + (f"{about}\n\n" if about else "")
    return text + (_describe_members(shape) if "properties" in shape else f"{_type(shape)}\n")


def _describe_members(shape: Json) -> str:
    """A row for each, and the column of defaults where there is one."""
    members: Json = shape["properties"]
    required = set(shape.get("required", ()))
    if required.issuperset(members):
        rows = (f"| `{member}` | {_type(schema)} |\n" for member, schema in members.items())
        return "| member | type |\n|---|---|\n" + "".join(rows)
    rows = (
        f"| `{member}` | {_type(schema)} | {'' if member in required else _default(schema)} |\n"
        for member, schema in members.items()
    )
    return "| member | type | default |\n|---|---|---|\n" + "".join(rows)


def _default(schema: Json) -> str:
    if "default" not in schema:
        return "none"
    value = schema["default"]
    return "empty" if value in ("", [], {}) else f"`{str(value).lower()}`"


def _type(schema: Json) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return _array(schema)
    if kind == "object":
        return (
            f"object of {_type(extra)}" if (extra := schema.get("additionalProperties")) else kind
        )
    return str(kind) + _bounds(schema)


def _array(schema: Json) -> str:
    if "prefixItems" in schema:
        return f"array of {', '.join(map(_type, schema['prefixItems']))}"
    return f"array of {_type(schema['items'])}" if schema.get("items") else "array"


def _bounds(schema: Json) -> str:
    words = {
        "minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "maxLength": "length to",
    }  # fmt: skip
    told = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f" {' '.join(told)}" if told else ""


if __name__ == "__main__":
    print(describe_reference(), end="")
