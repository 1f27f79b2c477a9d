"""The contract as files for other programs, made from the message types: `make contract`."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from domain import errors
from domain.events import EVENT_TYPES
from domain.settings import example
from gamehub import contract_events, contract_http, contract_sockets
from gamehub.contract_schema import GENERATED, components, plain
from hub.api.errors import BAD_REQUEST, HTTP_CODES
from protocol import outbound
from protocol.frames import FRAMES_PER_MESSAGE_MAX, Batch, Frame, Hello, PingFrame
from protocol.inbound import Inbound

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "docs/contract"
# What a hub serves at /docs lies with its pages, so that an installed gamehub has it too.
SERVED = "hub/pages/contract"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DIFF_LINES_MAX = 40  # of one file, when it is out of date; the rest is left out

# Said on the command line, never on the wire.
_LOCAL_ERRORS = (errors.SettingsError, errors.StartError)
# Only ever raised as one of their branches.
_BRANCHES = (errors.Refusal, errors.IngestRefusal)

# What HTTP refuses before a handler of ours has a say.
_BEFORE_HANDLERS = (
    (404, HTTP_CODES[404], "There is nothing at this address."),
    (405, HTTP_CODES[405], "The address does not take this method; Allow names those it takes."),
    (417, HTTP_CODES[417], "The Expect header asks for what the hub does not do."),
    (400, BAD_REQUEST, "The request is malformed as HTTP."),
)

_RECONNECT: dict[outbound.Reconnect, str] = {
    "backoff": "come back after a random delay that grows with each try",
    "token": "come back with a fresh token",
    "after": "come back after the delay in ms that the close reason, or the error's retry_after_ms"
    " before it, names",
    "no": "do not come back by yourself: the same answer would follow",
}


def files() -> dict[str, str]:
    """The text of every generated file by its path from the root; the same on every machine."""
    return {
        f"{FOLDER}/viewer-messages.schema.json": _json(viewer_messages()),
        f"{FOLDER}/server-frames.schema.json": _json(server_frames()),
        f"{FOLDER}/facts.schema.json": _json(facts()),
        f"{FOLDER}/codes.json": _json(codes()),
        f"{FOLDER}/requests.http": contract_http.requests(),
        f"{SERVED}/asyncapi.json": _json(contract_sockets.document(codes())),
        f"{SERVED}/openapi.json": _json(contract_http.document()),
        "docs/events.md": contract_events.page(),
        ".env.example": example(),
    }


def viewer_messages() -> dict[str, Any]:
    """JSON Schema of one message from a viewer (protocol.inbound)."""
    (message,), parts = components(Inbound)
    about = "One message from a viewer to the hub: JSON text, or the same map as msgpack."
    return _schema("What viewers send", about, message, parts)


def server_frames() -> dict[str, Any]:
    """JSON Schema of one message from a game server (protocol.frames); Batch is under $defs."""
    array = Annotated[list[Frame], Meta(max_length=FRAMES_PER_MESSAGE_MAX)]
    (hello, ping, frame, several, _), parts = components(Hello, PingFrame, Frame, array, Batch)
    about = (
        "One message from a game server on /ingest, as msgpack. The body of POST /api/v1/ingest "
        "is #/$defs/Batch."
    )
    return _schema("What game servers send", about, {"anyOf": [hello, ping, frame, several]}, parts)


def facts() -> dict[str, Any]:
    """JSON Schema of `{type, data}` of every FACT, each with its version and who may send it."""
    declared = sorted(
        (each.name, each, each.payload)
        for each in EVENT_TYPES.values()
        if each.frame_class == "fact" and each.payload is not None
    )
    payloads, parts = components(*(payload for _, _, payload in declared))
    about = (
        "`type` and `data` of a FACT as rooms show it. In a frame to the hub `data.match_id` may be"
        " left out: it is the frame's `match`. Unknown fields are dropped."
    )
    each_type = [
        {
            "title": name,
            "description": plain(payload.__doc__ or ""),
            "x-version": event.v,
            "x-sent-by": event.sent_by,
            "type": "object",
            "properties": {"type": {"const": name}, "data": reference},
            "required": ["type", "data"],
        }
        for (name, event, payload), reference in zip(declared, payloads, strict=True)
    ]
    return _schema("FACTs", about, {"anyOf": each_type}, parts)


def codes() -> dict[str, Any]:
    """Error codes (domain.errors) and close codes (protocol.outbound) with what they mean."""
    found = {
        each.code: {
            "code": each.code,
            "http_status": each.http_status,
            "meaning": plain((each.__doc__ or "").partition("\n")[0]),
        }
        for each in _branches(errors.GamehubError)
        if each not in _LOCAL_ERRORS and each not in _BRANCHES
    }
    found[errors.GamehubError.code]["meaning"] = "Something went wrong in the hub itself."
    for status, code, meaning in _BEFORE_HANDLERS:
        told = {"code": code, "http_status": status, "meaning": meaning}
        found.setdefault(code, told)
    closes = [
        {"code": code, "name": _close_name(code), "reconnect": rule}
        for code, rule in sorted(outbound.RECONNECT.items())
    ]
    return {
        "$comment": GENERATED,
        "errors": [found[code] for code in sorted(found)],
        "close_codes": closes,
        "other_close_codes": {"reconnect": "backoff"},
        "reconnect": _RECONNECT,
    }


def _schema(title: str, about: str, body: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    head = {"$schema": DIALECT, "$comment": GENERATED, "title": title, "description": about}
    return {**head, **body, "$defs": {name: parts[name] for name in sorted(parts)}}


def _branches(error: type[errors.GamehubError]) -> Iterator[type[errors.GamehubError]]:
    """The error and all below it that domain.errors declares; the SDK's own are left out."""
    yield error
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _branches(below)


def _close_name(code: int) -> str:
    prefix = "CLOSE_"
    names = [name for name, value in vars(outbound).items() if value == code]
    return next(name for name in names if name.startswith(prefix)).removeprefix(prefix).lower()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


# -- the files in the checkout ---------------------------------------------------------------------


def faults(root: Path) -> list[str]:
    """A text per file under `root` that is out of date, with its difference; else nothing."""
    wanted = files()
    found = []
    for path, text in wanted.items():
        place = root / path
        there = place.read_text("utf-8") if place.exists() else ""
        if there != text:
            found.append(f"{path} is out of date: run `make contract`\n{_difference(there, text)}")
    found += [f"{path} is generated no more: delete it" for path in _strangers(root, wanted)]
    return found


def write(root: Path) -> list[str]:
    """Write what is out of date, remove what is generated no more; the paths that changed."""
    wanted = files()
    changed = []
    for path, text in wanted.items():
        place = root / path
        if not place.exists() or place.read_text("utf-8") != text:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, "utf-8")
            changed.append(path)
    for path in _strangers(root, wanted):
        (root / path).unlink()
        changed.append(path)
    return changed


def _strangers(root: Path, wanted: dict[str, str]) -> list[str]:
    there = [path for folder in (FOLDER, SERVED) for path in sorted((root / folder).glob("*"))]
    return [name for path in there if (name := path.relative_to(root).as_posix()) not in wanted]


def _difference(there: str, wanted: str) -> str:
    lines = list(
        difflib.unified_diff(
            there.splitlines(), wanted.splitlines(), "there", "wanted", lineterm=""
        )
    )
    more = len(lines) - _DIFF_LINES_MAX
    return "\n".join([*lines[:_DIFF_LINES_MAX], *([f"... {more} more lines"] if more > 0 else [])])


def main() -> int:
    """Write the files, or with --check say what is out of date; the exit code."""
    parser = argparse.ArgumentParser(prog="gamehub.contract", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    if parser.parse_args().check:
        found = faults(ROOT)
        sys.stderr.writelines(f"{fault}\n" for fault in found)
        return 1 if found else 0
    sys.stdout.writelines(f"wrote {path}\n" for path in write(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
