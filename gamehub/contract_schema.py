"""Schemas of message types for the contract's documents: named parts, meanings, plain words."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from gamehub.contract_words import WORDS

# Requirement ids and contract sections mean nothing outside this project.
_REFERENCE = re.compile(r" \((?:[A-Z]+-\d+|contract)\b[^)]*\)")
GENERATED = "Generated from the message types by `make contract`; do not edit."
COMPONENT = "#/components/schemas/{name}"
DEFINITION = "#/$defs/{name}"
_NULL = {"type": "null"}


def plain(docstring: str) -> str:
    """A docstring in one paragraph (Python 3.13 indents it otherwise than 3.11)."""
    return _REFERENCE.sub("", " ".join(inspect.cleandoc(docstring).split()))


def components(
    *types: Any, template: str = DEFINITION, words: bool = False
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """(a schema per type, the named parts that they refer to), descriptions made plain.

    With `words` each property also says what it means (gamehub.contract_words).
    """
    schemas, parts = msgspec.json.schema_components(types, ref_template=template)
    parts = _described(parts)
    if words:
        for name, part in parts.items():
            _explain(name, part)
    return tuple(_described(each) for each in schemas), parts


def _described(node: Any) -> Any:
    if isinstance(node, list):
        return [_described(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: plain(value) if key == "description" and isinstance(value, str) else _described(value)
        for key, value in node.items()
    }


def _explain(name: str, part: dict[str, Any]) -> None:
    for field, schema in part.get("properties", {}).items():
        word = meaning(name, field)
        if word is not None and field != "op":
            part["properties"][field] = {**schema, "description": word}


def meaning(part: str, field: str) -> str | None:
    """What a field of a type means: its own words, or those that it has everywhere."""
    return WORDS.get(f"{part}.{field}", WORDS.get(field))


# -- schemas as tables -----------------------------------------------------------------------------


def type_text(schema: dict[str, Any]) -> str:
    """The kind of value in a few words: `list of Competitor`, `text`, `map of number`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"] if each is not None)
    if "anyOf" in schema:
        kinds = [each for each in schema["anyOf"] if each != _NULL or "default" not in schema]
        return " or ".join(dict.fromkeys(type_text(each) for each in kinds))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {type_text(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map of {type_text(schema['additionalProperties'])}"
    names = {"string": "text", "integer": "whole number", "object": "map", "boolean": "yes or no"}
    return names.get(str(kind), str(kind or "anything"))


def limits_text(schema: dict[str, Any]) -> str:
    """The limits of a value in a few words, or nothing."""
    for kind in schema.get("anyOf", ()):
        if kind != _NULL and (text := limits_text(kind)):
            return text
    default = schema.get("default")
    low, high = schema.get("minimum"), schema.get("maximum")
    said = []
    if low is not None and high is not None:
        said.append(f"{low:,} to {high:,}")
    elif low is not None or high is not None:
        said.append(f"from {low:,}" if low is not None else f"at most {high:,}")
    for few, many, unit in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "items"),
        ("minProperties", "maxProperties", "entries"),
    ):
        low, high = schema.get(few), schema.get(many)
        if high is not None:
            said.append(f"{low or 0} to {high:,} {unit}")
    if default not in (None, [], (), {}, False):
        said.append(f"`{default}` if left out")
    return ", ".join(said)
