"""The JSON Schema of the report, published at /v1/schema/report and in docs/report-schema.json.

`python -m ocaserve.steering.report_schema` writes it out for the documentation.
"""

from __future__ import annotations

import json
from typing import Any

from ocaserve.steering.report import SCHEMA

_COUNT = {"type": "integer", "minimum": 0}
_COUNTS = {"type": "object", "additionalProperties": _COUNT}
_TIME = {"type": "number", "description": "seconds since 1970"}
_TEXT = {"type": "string"}
_COUNT_OR_NULL = {"anyOf": [_COUNT, {"type": "null"}]}

_FAMILY = {
    "type": "object",
    "properties": {
        "state": {"enum": ["down", "loading", "live", "stale", "ignored"]},
        "since": _TIME,
        "complete": {
            "type": "boolean",
            "description": "whether these are all routes that the peer announces",
        },
        "routes": _COUNT,
        "accepted": _COUNT,
        "filtered": {**_COUNTS, "description": "routes that are not used, by reason"},
        "unconfirmed": {
            **_COUNT,
            "description": "routes not announced again since the session or a refresh began",
        },
        "limit": _COUNT,
    },
    "required": ["state", "complete", "routes", "accepted", "filtered", "unconfirmed"],
}

_PEER = {
    "type": "object",
    "properties": {
        "peer": {"type": "integer", "description": "what routes refer to"},
        "address": _TEXT,
        "local_address": _TEXT,
        "as": _COUNT,
        "opened_as": {**_COUNT, "description": "by the peer's last OPEN; 0 before it"},
        "local_as": _COUNT,
        "state": {"enum": ["never up", "down", "connected", "up"]},
        "since": _TIME,
        "ups": _COUNT,
        "reason": {"type": "string", "description": "why the last session ended"},
        "notice": {"type": "string", "description": "the last notification"},
        "families": {
            "type": "object",
            "properties": {"ipv4": _FAMILY, "ipv6": _FAMILY},
            "additionalProperties": False,
        },
        "counts": _COUNTS,
    },
    "required": ["address", "state", "families"],
}

_ROUTE = {
    "type": "object",
    "properties": {
        "peer": {"type": "integer"},
        "attributes": {"type": "integer", "description": "a key of `attributes`"},
        "path_id": {"type": "string", "description": "RFC 7911, where the peer gives one"},
        "rov": {"enum": ["valid", "invalid", "not-found"]},
    },
    "required": ["peer", "attributes"],
    "additionalProperties": False,
}

_ATTRIBUTES = {
    "type": "object",
    "properties": {
        "origin": {"enum": ["igp", "egp", "incomplete"]},
        "next_hop": _TEXT,
        "as_path": {
            "type": "array",
            "items": {"anyOf": [_COUNT, {"type": "array", "items": _COUNT}]},
            "description": "AS numbers; a set is an array of its own",
        },
        "as_path_length": {**_COUNT, "description": "only where the path shown is cut"},
        "med": _COUNT,
        "local_preference": _COUNT,
        "communities": {"type": "array", "items": _TEXT},
        "large_communities": {"type": "array", "items": _TEXT},
        "extended_communities": {"type": "array", "items": _TEXT},
    },
    "required": ["next_hop", "as_path"],
}

_LEVEL = {"enum": ["ok", "warning", "error"]}

_HEALTH = {
    "type": "object",
    "properties": {
        "state": {"enum": ["starting", "serving", "draining", "drained", "stopping"]},
        "takes_traffic": {"type": "boolean", "description": "whether clients may be sent here"},
        "level": {**_LEVEL, "description": "the worst of all components"},
        "reasons": {"type": "array", "items": _TEXT, "description": "the worst first"},
        "components": {"type": "object", "additionalProperties": _LEVEL},
    },
    "required": ["state", "takes_traffic", "level", "reasons", "components"],
}

_CAPACITY = {
    "type": "object",
    "properties": {
        "serving_workers": _COUNT,
        "total_bits_per_s": {
            **_COUNT_OR_NULL,
            "description": "null where nothing is known that bounds it",
        },
        "free_bits_per_s": {**_COUNT_OR_NULL, "description": "what can be taken in addition"},
        "free_connections": _COUNT,
        "limited_by": {
            "type": "string",
            "description": "the resource that bounds it, or connections, health, unknown",
        },
    },
    "required": ["serving_workers", "total_bits_per_s", "free_bits_per_s", "free_connections"],
}

_CONTENT = {
    "type": "object",
    "properties": {
        "stores": _COUNT,
        "stores_in_error": {**_COUNT, "description": "unreadable, stalled or full"},
        "total_bytes": {**_COUNT, "description": "of stores that can be written"},
        "free_bytes": _COUNT,
    },
    "required": ["stores", "stores_in_error", "total_bytes", "free_bytes"],
}

REPORT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "What an appliance tells the control plane",
    "type": "object",
    "properties": {
        "schema": {"const": SCHEMA},
        "kind": {"enum": ["report", "changes"]},
        "appliance": _TEXT,
        "site": _TEXT,
        "session": {
            "type": "string",
            "description": "serials and numbers mean something within one session only",
        },
        "serial": _COUNT,
        "after": {**_COUNT, "description": "of changes: the serial that they go on from"},
        "as_of": _TIME,
        "digest": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "complete": {"type": "boolean"},
        "health": _HEALTH,
        "capacity": _CAPACITY,
        "content": _CONTENT,
        "peers": {"type": "array", "items": _PEER},
        "totals": {
            "type": "object",
            "properties": {
                "routes": _COUNT,
                "accepted": _COUNT,
                "filtered": _COUNTS,
                "unconfirmed": _COUNT,
                "attribute_sets": _COUNT,
            },
        },
        "routes": {
            "type": "object",
            "description": "by prefix, best first; in changes an empty array is a prefix gone",
            "additionalProperties": {"type": "array", "items": _ROUTE},
        },
        "attributes": {
            "type": "object",
            "description": "by number; in changes those alone that `routes` there refers to",
            "additionalProperties": _ATTRIBUTES,
        },
    },
    "required": [
        "schema",
        "kind",
        "appliance",
        "session",
        "serial",
        "digest",
        "complete",
        "routes",
        "attributes",
    ],
}


def schema_text() -> str:
    """The file in docs/."""
    return json.dumps(REPORT_SCHEMA, indent=2) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
