"""The generated contract files: up to date, valid JSON Schema, and true of real messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from domain import errors
from domain.events import EVENT_TYPES
from domain.facts import normalise
from domain.payloads import Competitor, MatchCompleted, MatchForfeited, MatchScheduled
from gamehub import contract
from hub.api.errors import BAD_REQUEST, HTTP_CODES
from protocol import frames, inbound, outbound
from tests.sources import ROOT

TEAMS = [Competitor(id="red", name="Red"), Competitor(id="blue", name="Blue")]
SINCE = inbound.Since("e1", 12)
STREAM = "0" * 32
FRAME = frames.Frame(seq=1, type="live.kill", match="cup/m1", ts=1, data={"killer": "ana"})

VIEWERS = [
    inbound.Auth("a.b.c"),
    inbound.Join("match:cup/m1", SINCE, 1),
    inbound.Join("match:cup/m1"),
    inbound.Leave("match:cup/m1", "two"),
    inbound.Presence("match:cup/m1"),
    inbound.History("matches:all", SINCE, 500),
    inbound.Publish("announce:all", "announcement.posted", {"text": "hello"}),
    inbound.Ping(),
]
SERVERS: list[Any] = [
    frames.Hello("server-1", STREAM),
    frames.PingFrame(),
    FRAME,
    [FRAME, frames.Frame(seq=2, type="live.state", match="cup/m1", data={}, patch={"a": None})],
]
FACTS = [
    ("match.scheduled", MatchScheduled(match_id="m", game="arena", competitors=TEAMS, best_of=3)),
    ("match.completed", MatchCompleted(match_id="m", played_at="2024-01-01T00:00:00.000Z")),
    ("match.forfeited", MatchForfeited(match_id="m", played_at="2024-01-01", winner_id="red")),
]


def schema(name: str, part: str | None = None) -> Draft202012Validator:
    """The committed schema as a validator, or that of one of its parts."""
    whole = json.loads((ROOT / contract.FOLDER / f"{name}.schema.json").read_text("utf-8"))
    if part is not None:
        whole = {"$ref": f"#/$defs/{part}", "$defs": whole["$defs"]}
    return Draft202012Validator(whole)


def as_json(value: Any) -> Any:
    """What is on the wire, read by somebody else's parser."""
    return json.loads(msgspec.json.encode(value))


def test_the_files_are_up_to_date() -> None:
    assert not contract.faults(ROOT), "run `make contract`"


def test_the_text_does_not_depend_on_the_order_of_sets() -> None:
    print_it = "from gamehub import contract; print(sorted(contract.files().items()))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", print_it],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_a_file_that_is_out_of_date_is_named_with_its_difference(tmp_path: Path) -> None:
    assert len(contract.write(tmp_path)) == len(contract.files())
    assert contract.faults(tmp_path) == []
    assert contract.write(tmp_path) == []

    (tmp_path / ".env.example").write_text("GAMEHUB_HOST=elsewhere\n")
    (tmp_path / contract.FOLDER / "old.json").write_text("{}")
    changed, strange = contract.faults(tmp_path)

    assert changed.startswith(".env.example is out of date: run `make contract`\n")
    assert "-GAMEHUB_HOST=elsewhere\n+" in changed
    assert strange == "docs/contract/old.json is generated no more: delete it"
    assert contract.write(tmp_path) == [".env.example", "docs/contract/old.json"]
    assert contract.faults(tmp_path) == []


@pytest.mark.parametrize("name", ["viewer-messages", "server-frames", "facts"])
def test_each_schema_is_a_schema(name: str) -> None:
    written = schema(name)
    Draft202012Validator.check_schema(written.schema)
    text = json.dumps(written.schema)
    assert written.schema["$schema"] == contract.DIALECT
    for part in written.schema["$defs"]:
        assert f"#/$defs/{part}" in text, f"{part} is named nowhere"


@pytest.mark.parametrize("message", VIEWERS, ids=lambda each: type(each).__name__)
def test_messages_of_viewers_pass(message: inbound.Inbound) -> None:
    schema("viewer-messages").validate(as_json(message))


@pytest.mark.parametrize(
    "message",
    [
        {"op": "fly"},
        {"op": "join"},
        {"op": "join", "room": "match:cup/m1", "since": {"epoch": "e1"}},
        {"op": "history", "room": "match:cup/m1", "limit": inbound.HISTORY_LIMIT_MAX + 1},
        {"room": "match:cup/m1"},
    ],
    ids=str,
)
def test_what_the_hub_refuses_the_schema_refuses(message: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(message, inbound.Inbound)
    assert not schema("viewer-messages").is_valid(message)


def test_every_operation_is_sampled() -> None:
    assert {type(each) for each in VIEWERS} == set(inbound.Inbound.__args__)


@pytest.mark.parametrize("message", SERVERS, ids=lambda each: type(each).__name__)
def test_messages_of_servers_pass(message: Any) -> None:
    schema("server-frames").validate(as_json(message))


def test_a_batch_passes_and_a_wrong_stream_does_not() -> None:
    batch = schema("server-frames", "Batch")
    batch.validate(as_json(frames.Batch(STREAM, [FRAME])))
    assert not batch.is_valid(as_json(frames.Batch("spool", [FRAME])))
    assert not schema("server-frames").is_valid({"seq": 0, "type": "live.kill"})


@pytest.mark.parametrize(("name", "payload"), FACTS, ids=[name for name, _ in FACTS])
def test_facts_pass_as_the_log_has_them(name: str, payload: Any) -> None:
    data = normalise(name, payload.match_id, msgspec.to_builtins(payload))
    schema("facts").validate({"type": name, "data": data})
    assert not schema("facts").is_valid({"type": name, "data": {**data, "match_id": 7}})
    assert not schema("facts").is_valid({"type": "match.invented", "data": data})


def test_every_fact_is_there_with_its_version() -> None:
    told = {each["title"]: each["x-version"] for each in schema("facts").schema["anyOf"]}
    declared = {name: each.v for name, each in EVENT_TYPES.items() if each.frame_class == "fact"}
    assert told == declared


def test_codes_are_those_that_go_over_the_wire() -> None:
    codes = json.loads((ROOT / contract.FOLDER / "codes.json").read_text("utf-8"))

    told = {each["code"]: each["http_status"] for each in codes["errors"]}
    assert told["unknown_match"] == 404
    assert told["not_found"] == 404
    assert set(HTTP_CODES.values()) | {BAD_REQUEST} <= told.keys()
    assert told["internal_error"] == errors.GamehubError.http_status
    assert {each.code for each in errors.IngestRefusal.__subclasses__()} <= told.keys()
    assert "invalid_settings" not in told
    assert all(each["meaning"].endswith(".") for each in codes["errors"])

    closes = {each["code"]: each["reconnect"] for each in codes["close_codes"]}
    assert closes == outbound.RECONNECT
    assert set(closes.values()) <= codes["reconnect"].keys()
    names = [each["name"] for each in codes["close_codes"]]
    assert names[0] == "no_token"
    assert len(set(names)) == len(names)
