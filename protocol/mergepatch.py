"""JSON Merge Patch (RFC 7396): how a match document changes."""

from __future__ import annotations

from typing import Any


def apply_patch(document: Any, patch: Any) -> Any:
    """The document after the patch; neither argument is changed (RFC 7396, section 2).

    Depth is bounded by the caller (codecs.check_plain), so recursion is.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = apply_patch(merged.get(key), value)
        else:
            merged[key] = value
    return merged
