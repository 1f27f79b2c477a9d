"""The published documents as tests read them: strict validators, and examples against answers."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from gamehub.contract import SERVED
from tests.sources import ROOT

Document = dict[str, Any]

# What differs each time, by its key; everything else of an example is what a hub answers.
VOLATILE = frozenset(
    {
        "session", "epoch", "id", "ts", "token", "expires_at", "subject", "offset", "stream",
        "issued_until", "granted_at", "path", "url", "preview_path", "created_at", "occurred_at",
        "recorded_at", "event_id", "root_id", "seq", "user_agent", "trace_id",
    }
)  # fmt: skip


@cache
def document(name: str) -> Document:
    """asyncapi or openapi, as it is committed."""
    whole: Document = json.loads((ROOT / SERVED / f"{name}.json").read_text("utf-8"))
    return whole


@cache
def _closed(name: str) -> Document:
    """The document with every named part closed: a field that it does not name is a fault."""
    whole = copy.deepcopy(document(name))
    for part in whole["components"]["schemas"].values():
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    return whole


def validator(name: str, schema: Document) -> Draft202012Validator:
    """A schema of a document as a strict validator; its references are the document's."""
    return Draft202012Validator({**schema, "components": _closed(name)["components"]})


def message_validator(message: str) -> Draft202012Validator:
    """The payload of a message of the AsyncAPI document."""
    return validator("asyncapi", document("asyncapi")["components"]["messages"][message]["payload"])


def differences(example: Any, real: Any, path: str = "") -> list[str]:
    """Where a real answer is not what the example says; of what varies only the type counts."""
    if isinstance(example, dict) and isinstance(real, dict):
        found = [f"{path}.{key} is in one only" for key in sorted(example.keys() ^ real.keys())]
        for key in example.keys() & real.keys():
            where = f"{path}.{key}"
            if key in VOLATILE and not isinstance(example[key], dict | list):
                if type(example[key]) is not type(real[key]):
                    found.append(f"{where}: {example[key]!r}, really {real[key]!r}")
            else:
                found += differences(example[key], real[key], where)
        return found
    if isinstance(example, list) and isinstance(real, list) and len(example) == len(real):
        pairs = enumerate(zip(example, real, strict=True))
        return [each for i, pair in pairs for each in differences(*pair, f"{path}[{i}]")]
    return [] if example == real else [f"{path}: {example!r}, really {real!r}"]


def agree(example: Any, real: Any) -> None:
    """Fails with every difference."""
    found = differences(example, real)
    assert not found, "\n".join(found)
