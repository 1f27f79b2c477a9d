"""The published documents are complete: every route, message, event, field and code is in them."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from domain.deliveries import EventType, nowhere
from domain.events import EVENT_TYPES, OPAQUE_TYPES
from domain.facts import normalise
from domain.matches import result_payload, scheduled
from domain.results import result_of
from gamehub import contract_events, contract_http
from gamehub.contract_schema import components
from gamehub.contract_words import WORDS
from hub.api.operations import operation_of
from protocol import examples, frames, inbound
from protocol import outbound_types as out
from tests.published import document, message_validator, validator
from tests.sources import ROOT

SCHEMAS = {
    (name, part): schema
    for name in ("asyncapi", "openapi")
    for part, schema in document(name)["components"]["schemas"].items()
}


# -- HTTP ------------------------------------------------------------------------------------------


def test_every_route_describes_itself_and_is_in_the_document() -> None:
    nameless = [
        f"{route.method} {route.path}"
        for route in contract_http.served()
        if operation_of(route.handler) is None
    ]
    assert not nameless, f"say @operation on the handlers of {nameless}"
    served = {
        (contract_http.plain_path(route.path), route.method.lower())
        for route in contract_http.served()
    }
    paths = document("openapi")["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == served


def test_the_openapi_document_is_valid() -> None:
    validate(document("openapi"))


def test_every_operation_names_its_errors_by_code() -> None:
    codes = json.loads((ROOT / "docs/contract/codes.json").read_text("utf-8"))
    known = {each["code"]: each["http_status"] for each in codes["errors"]}
    for path, method, told, _ in contract_http.described():
        for error in contract_http.errors_of(told):
            assert known[error.code] == error.http_status, f"{method} {path}: {error.code}"
            answer = document("openapi")["paths"][path][method]["responses"]
            assert str(error.http_status) in answer


def test_every_api_operation_has_an_example_that_fits() -> None:
    for path, method, told, _ in contract_http.described():
        if not path.startswith("/api/"):
            continue
        assert told.example is not None, f"{method} {path} has no example"
        operation = document("openapi")["paths"][path][method]
        content = operation["responses"][str(told.example.status)]["content"]
        shown = content["application/json"]
        validator("openapi", shown["schema"]).validate(shown["example"])
        if told.body is not None:
            sent = operation["requestBody"]["content"]["application/json"]
            validator("openapi", sent["schema"]).validate(sent["example"])


def test_the_request_collection_names_every_example() -> None:
    text = (ROOT / "docs/contract/requests.http").read_text("utf-8")
    told = [each for each in contract_http.described() if each[2].example is not None]
    assert len(re.findall(r"^(?:GET|POST|PUT|DELETE|PATCH) ", text, re.MULTILINE)) == len(told)


# -- sockets ---------------------------------------------------------------------------------------


def test_every_socket_is_a_channel() -> None:
    opened = {contract_http.plain_path(route.path).rstrip("/") for route in contract_http.sockets()}
    channels = document("asyncapi")["channels"].values()
    assert {each["address"] for each in channels} == opened


def test_every_operation_of_a_viewer_has_its_answer() -> None:
    operations = document("asyncapi")["operations"]
    for message in inbound.Inbound.__args__:
        op = message.__struct_config__.tag
        assert operations[f"viewer.{op}"]["reply"]["messages"], op
        assert any(each.send["op"] == op for each in examples.VIEWERS), op


def test_every_message_has_an_example_and_all_of_them_fit() -> None:
    for name, message in document("asyncapi")["components"]["messages"].items():
        assert message.get("examples"), f"{name} has no example"
        for example in message["examples"]:
            message_validator(name).validate(example["payload"])


def test_examples_of_what_clients_send_are_understood() -> None:
    for exchange in examples.VIEWERS:
        assert msgspec.convert(exchange.send, inbound.Inbound)
    for message, _ in examples.FRAMES:
        assert isinstance(msgspec.convert(message, frames.Frame), frames.Frame)


def test_every_type_that_the_hub_sends_is_a_message() -> None:
    messages = document("asyncapi")["components"]["messages"]
    assert {f"hub.{each.__struct_config__.tag}" for each in out.TO_VIEWERS} <= messages.keys()
    assert {f"ingest.{each.__struct_config__.tag}" for each in out.TO_SERVERS} <= messages.keys()


# -- events ----------------------------------------------------------------------------------------

EVENTS = [*EVENT_TYPES.values(), *OPAQUE_TYPES.values()]


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: each.name)
def test_every_event_is_documented(event: EventType) -> None:
    assert event.when, "say when it happens"
    assert event.sent_by, "say who sends it"
    assert event.example, "show one"
    assert f"## {event.name}\n" in (ROOT / "docs/events.md").read_text("utf-8")
    told = {each["name"]: each for each in document("asyncapi")["x-events"]}
    if event.rooms is nowhere:
        # It stays in the log: viewers are not told that there is such a thing.
        assert event.name not in told
        assert event.name not in examples.EVENTS
        return
    assert contract_events.rooms_shown(event), "no room shows it"
    assert told[event.name]["version"] == event.v
    assert all(each["seen_by"] and each["slow_readers"] for each in told[event.name]["rooms"])


@pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=lambda each: each.name)
def test_the_example_of_an_event_decodes_as_its_payload(event: EventType) -> None:
    assert event.payload is not None
    example = dict(event.example)
    payload = msgspec.convert(example, event.payload)
    if event.frame_class == "fact" and event.by_servers:
        normal = normalise(event.name, example.get("match_id"), example)
        assert msgspec.convert(normal, event.payload) == payload
    shown = event.shown or event.payload
    fields = set(shown.__struct_fields__)
    assert example.keys() <= fields, "a field that rooms do not show"


VARIANTS = [
    (event.name, about) for event in EVENT_TYPES.values() for about in ("", *event.variants)
    if event.name in ("match.completed", "match.forfeited")
]  # fmt: skip


@pytest.mark.parametrize(("name", "about"), VARIANTS, ids=str)
def test_every_example_of_a_result_is_what_the_hub_makes_of_it(name: str, about: str) -> None:
    """All results have one shape (MTCH-09): the example is complete, and nothing in it is changed.

    What follows from the rest may be left out of what is sent.
    """
    event = EVENT_TYPES[name]
    example = dict(event.variants[about] if about else event.example)
    shape = event.shown or event.payload
    assert shape is not None
    match = scheduled(example)
    derived = {"game", "tournament_id", "competitors", "loser_id"}
    if name == "match.completed" and example["outcome"] != "none":
        derived |= {"outcome"}
    if "placements" in example or "retired" in example:
        derived |= {"winner_id"}
    for left_out in (set[str](), derived):
        sent = {key: value for key, value in example.items() if key not in left_out}
        made = result_payload(match, name, normalise(name, match.match_id, sent))
        assert msgspec.convert(made, shape) == msgspec.convert(example, shape)
    assert result_of(name, example) is not None
    shown = json.dumps(example, indent=2, ensure_ascii=False)
    assert f"```json\n{shown}\n```" in (ROOT / "docs/events.md").read_text("utf-8")


def test_rooms_of_events_are_told_by_the_names_of_their_fields() -> None:
    told = {each["name"]: each for each in document("asyncapi")["x-events"]}
    rooms = [each["room"] for each in told["match.completed"]["rooms"]]
    assert rooms == [
        "match:{match_id}", "matches:all", "matches:{game}", "tournament:{tournament_id}",
    ]  # fmt: skip
    assert [each["room"] for each in told["announcement.posted"]["rooms"]] == ["{room}"]
    assert [each["room"] for each in told["rating.updated"]["rooms"]] == [
        "user:{subject.id}", "overlay:{subject.id}", "team:{subject.id}",
    ]  # fmt: skip


# -- words -----------------------------------------------------------------------------------------


def test_every_field_says_what_it_means_and_no_word_is_left_over() -> None:
    silent = []
    used = set()
    shapes = [each.shown or each.payload for each in EVENT_TYPES.values()]
    _, logged = components(*(each for each in shapes if each is not None), words=True)
    told_parts = {**SCHEMAS, **{("events", name): part for name, part in logged.items()}}
    for (name, part), schema in told_parts.items():
        for field, told in schema.get("properties", {}).items():
            if field == "op":
                continue
            used |= {field, f"{part}.{field}"}
            if not told.get("description"):
                silent.append(f"{name}: {part}.{field}")
    queries = [told.query for *_, told, _ in contract_http.described() if told.query is not None]
    for query in queries:
        for field in query.__struct_fields__:
            used |= {field, f"{query.__name__}.{field}"}
    for methods in document("openapi")["paths"].values():
        for operation in methods.values():
            silent += [
                f"{operation['operationId']}: {each['name']}"
                for each in operation.get("parameters", ())
                if not each["description"]
            ]
    assert not silent, f"gamehub/contract_words.py lacks {sorted(set(silent))}"
    assert sorted(WORDS.keys() - used) == []


@pytest.mark.parametrize(("name", "part"), SCHEMAS, ids=" ".join)
def test_each_part_is_a_schema_and_says_what_it_is(name: str, part: str) -> None:
    schema = SCHEMAS[name, part]
    Draft202012Validator.check_schema(schema)
    assert schema.get("description") or "enum" in schema
