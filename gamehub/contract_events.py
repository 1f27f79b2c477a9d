"""Every type of event as the contract tells of it: docs/events.md, and for the page (EVT-07)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from domain.deliveries import EventType
from domain.events import (
    EVENT_TYPES,
    OPAQUE_TYPES,
    ROOM_KINDS,
    Role,
    RoomKind,
    room_kind,
)
from gamehub.contract_schema import components, limits_text, plain, type_text

_THINNING = {
    "keep-all": "every event; who is too slow gets `lagged` and a snapshot",
    "latest-per-key": "the latest event of each type and match, after `lagged`",
}
_SAMPLED = "of types in `LIVE_SAMPLED_TYPES` also the newest event of each key"
_HEAD = """\
# Events

<!-- Generated from the event types by `make contract`; do not edit. -->

What can happen, and who is told. Each event reaches viewers as an
[`event` message](protocol.md#sockets-for-viewers) `{v, type, room, offset, id, ts, data, patch?}`;
below is what `data` holds. FACTs are acknowledged after their commit and kept in the log; LIVE
frames are shown at once and kept in the room's history only. Unknown fields are to be ignored, in
both directions. The same for machines: [`facts.schema.json`](contract/facts.schema.json) and the
[AsyncAPI document](../hub/pages/contract/asyncapi.json), which every hub shows at `/docs`.
"""


def all_events() -> list[EventType]:
    """Every declared type, FACTs first, then LIVE."""
    declared = [*EVENT_TYPES.values(), *OPAQUE_TYPES.values()]
    return sorted(declared, key=lambda each: (each.frame_class, each.name))


def shown_events() -> list[EventType]:
    """Those that reach viewers; the others stay in the log."""
    return [each for each in all_events() if rooms_shown(each)]


def rooms_shown(event: EventType) -> list[str]:
    """The rooms that show the event, as templates: `match:{match_id}`, `matches:all`."""
    example = dict(event.example)
    if event in OPAQUE_TYPES.values():
        example["match_id"] = "M"
    if event.shown is not None:
        example |= {"game": "G", "tournament_id": "T"}
    told = [example]
    if "subject" in example:
        told = [{**example, "subject": subject} for subject in ("user:U", "team:T")]
    return [_template(room, each) for each in told for room, _ in event.rooms(each)]


def _template(room: str, example: Mapping[str, Any]) -> str:
    if room == example.get("room"):
        return "{room}"
    kind, _, room_id = room.partition(":")
    fields = {**example}
    for value in example.values():
        fields |= value if isinstance(value, dict) else {}
    if "subject" in fields:
        fields["subject.id"] = str(fields["subject"]).partition(":")[2]
    field = next((key for key, value in fields.items() if value == room_id), None)
    return room if field is None else f"{kind}:{{{field}}}"


def kind_of(template: str, event: EventType) -> RoomKind:
    """The declaration of the kind of room that a template names."""
    room = str(event.example["room"]) if template == "{room}" else template
    return ROOM_KINDS[room.partition(":")[0]] if "{" in room else room_kind(room)


def who_may_see(kind: RoomKind) -> str:
    """Who may join a room of this kind, in words."""
    if kind.audience == "own":
        return "that user, and admins"
    if kind.audience == "subject":
        return "that user, their overlays, and admins"
    if kind.least_role is Role.SPECTATOR:
        return "everyone"
    return "ADMIN" if kind.least_role is Role.ADMIN else f"{kind.least_role.name} and up"


def thinning(kind: RoomKind, event: EventType | None = None) -> str:
    """What a reader that is too slow gets, of one event or of the kind in general."""
    if event is not None and event.name == "live.*":
        return f"{_THINNING[kind.policy]}; {_SAMPLED}"
    return _THINNING[kind.policy]


def told(event: EventType, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The event for the documents' readers; `parts` are the schemas of the document."""
    shown = event.shown or event.payload
    assert shown is None or shown.__name__ in parts
    rooms = [
        {
            "room": room,
            "seen_by": who_may_see(kind_of(room, event)),
            "slow_readers": thinning(kind_of(room, event), event),
        }
        for room in rooms_shown(event)
    ]
    return {
        "name": event.name,
        "version": event.v,
        "class": event.frame_class.upper() if event.frame_class == "live" else "FACT",
        "when": event.when,
        "sent_by": event.sent_by,
        "about": "" if shown is None else plain((event.payload or shown).__doc__ or ""),
        "rooms": rooms,
        "payload": None if shown is None else {"$ref": f"#/components/schemas/{shown.__name__}"},
        "example": event.example,
    }


# -- docs/events.md --------------------------------------------------------------------------------


def page() -> str:
    """docs/events.md."""
    events = all_events()
    shapes = [each.shown or each.payload for each in events]
    _, parts = components(*(each for each in shapes if each is not None), words=True)
    blocks = [_HEAD, _overview(events)]
    blocks += ["\n".join(_chapter(each, parts)) for each in events]
    named = {shape.__name__ for shape in shapes if shape is not None}
    rest = [name for name in sorted(parts) if name not in named and "properties" in parts[name]]
    blocks += ["## Parts\n\nWhat several payloads hold.\n"]
    blocks += ["\n".join(_part(name, parts[name])) for name in rest]
    return "\n".join(blocks)


def _overview(events: list[EventType]) -> str:
    rows = [
        f"| [`{each.name}`](#{_anchor(each.name)}) | {each.frame_class.upper()} | {each.when} |"
        for each in events
    ]
    return "\n".join(["| event | class | when |", "| --- | --- | --- |", *rows, ""])


def _anchor(name: str) -> str:
    return "".join(each for each in name if each.isalnum() or each in "_-")


def _chapter(event: EventType, parts: Mapping[str, Any]) -> Iterator[str]:
    shown = event.shown or event.payload
    yield f"## {event.name}\n"
    if event.payload is not None:
        yield f"{plain(event.payload.__doc__ or '')}\n"
    yield f"- **When:** {event.when}."
    yield f"- **Version:** {event.v}. **Class:** {event.frame_class.upper()}."
    yield f"- **Sent by:** {event.sent_by}.\n"
    rooms = rooms_shown(event)
    if rooms:
        yield "| shown in | seen by | slow readers |\n| --- | --- | --- |"
    else:
        yield "It stays in the log; no room shows it."
    for room in rooms:
        kind = kind_of(room, event)
        name = "the room it names" if room == "{room}" else f"`{room}`"
        yield f"| {name} | {who_may_see(kind)} | {thinning(kind, event)} |"
    yield ""
    if shown is None:
        yield "`data` is the game's own: any map without keys that JSON cannot say.\n"
    else:
        yield from _fields(parts[shown.__name__])
    yield _json(event.example)
    for about, variant in event.variants.items():
        yield f"{about[0].upper()}{about[1:]}:\n"
        yield _json(variant)


def _json(value: Mapping[str, Any]) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```\n"


def _part(name: str, part: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{part.get('description', '')}\n"
    yield from _fields(part)


def _fields(part: dict[str, Any]) -> Iterator[str]:
    needed = part.get("required", ())
    yield "| field | | type | limits | meaning |\n| --- | --- | --- | --- | --- |"
    for field, schema in part["properties"].items():
        must = "needed" if field in needed else ""
        kind, limits = type_text(schema), limits_text(schema)
        yield f"| `{field}` | {must} | {kind} | {limits} | {schema.get('description', '')} |"
    yield ""
