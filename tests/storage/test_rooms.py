"""Rooms on a real Redis: order, dedupe, history, documents, epochs."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.events import ROOM_KINDS, room_kind
from storage import rooms
from storage.redis import connect
from storage.rooms import Publish, calls
from tests.rooms import ROOM, live, publish


async def test_offsets_count_from_one_in_the_given_order(redis: Redis) -> None:
    assert await publish(redis, live(1), live(2), live(3)) == [
        ("published", 1),
        ("published", 2),
        ("published", 3),
    ]
    view = await rooms.read(redis, ROOM)
    assert view.events == [b"live-1", b"live-2", b"live-3"]
    assert (view.offset, view.first_offset, view.base_known) == (3, 1, True)


async def test_live_frames_are_published_once_per_stream_and_number(redis: Redis) -> None:
    await publish(redis, live(1), live(5))
    assert await publish(redis, live(1), live(5), live(4)) == [("duplicate", 2)] * 3
    other = Publish(ROOM, b"x", stream="s2", live_seq=1)
    assert await publish(redis, other) == [("published", 3)]


async def test_facts_are_published_once_per_event_id(redis: Redis) -> None:
    fact = Publish(ROOM, b"fact", event_id="e1")
    assert await publish(redis, fact, live(1), fact) == [
        ("published", 1),
        ("published", 2),
        ("duplicate", 2),
    ]


async def test_lobby_remembers_the_last_thousand_ids(redis: Redis) -> None:
    events = [Publish("matches:all", b"x", event_id=f"e{n}") for n in range(calls.IDS_MAX + 5)]
    await publish(redis, *events)
    [again] = await rooms.publish(redis, events[-1:])
    assert again.status == "duplicate"
    [first] = await rooms.publish(redis, events[:1])
    assert first.status == "published"


async def test_resume_gives_exactly_what_was_missed(redis: Redis) -> None:
    await publish(redis, *(live(n) for n in range(1, 6)))
    epoch = (await rooms.read(redis, ROOM)).epoch
    view = await rooms.read(redis, ROOM, epoch, 3)
    assert view.recovered
    assert (view.first_offset, view.events) == (4, [b"live-4", b"live-5"])
    view = await rooms.read(redis, ROOM, epoch, 5)
    assert view.recovered
    assert view.events == []


@pytest.mark.parametrize(("epoch", "offset"), [("another", 3), ("", 3)])
async def test_resume_in_another_epoch_is_not_recovered(
    redis: Redis, epoch: str, offset: int
) -> None:
    await publish(redis, *(live(n) for n in range(1, 6)))
    assert not (await rooms.read(redis, ROOM, epoch, offset)).recovered


async def test_position_beyond_the_end_is_not_recovered(redis: Redis) -> None:
    await publish(redis, live(1))
    epoch = (await rooms.read(redis, ROOM)).epoch
    assert not (await rooms.read(redis, ROOM, epoch, 2)).recovered


async def test_history_is_bounded_and_a_late_resume_gets_the_document(redis: Redis) -> None:
    count = 2100
    await publish(redis, *(live(n) for n in range(1, count)))
    await publish(redis, live(count, document=b"the document"), live(count + 1))
    epoch = (await rooms.read(redis, ROOM)).epoch
    view = await rooms.read(redis, ROOM, epoch, 10)
    assert not view.recovered
    assert view.document == b"the document"
    assert (view.document_offset, view.events) == (count, [b"live-%d" % (count + 1)])
    assert await redis.llen(f"{{{ROOM}}}/events") == 2000


@pytest.mark.parametrize("batches", [1, 2])
async def test_one_call_may_bring_more_than_a_room_keeps(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """Also to a room that begins with it."""
    most = room_kind("announce:all").history_max
    monkeypatch.setattr(calls, "CALL_EVENTS_MAX", most + 5)
    for _ in range(batches):
        await publish(redis, *(Publish("announce:all", b"%d" % n) for n in range(most + 5)))
    _, first, kept = await rooms.history(redis, "announce:all", "", 0, 2 * most)
    assert (first, len(kept)) == (batches * (most + 5) - most + 1, most)


async def test_the_declared_length_of_a_history_counts_at_once(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script told of an older declaration would keep too little or too much."""
    await publish(redis, *(Publish("announce:all", b"%d" % n) for n in range(9)))
    short = dataclasses.replace(ROOM_KINDS["announce"], history_max=4)
    monkeypatch.setitem(ROOM_KINDS, "announce", short)
    await publish(redis, Publish("announce:all", b"9"))
    _, first, kept = await rooms.history(redis, "announce:all", "", 0, 20)
    assert (first, kept) == (7, [b"6", b"7", b"8", b"9"])


async def test_lost_base_is_told(redis: Redis) -> None:
    await publish(redis, *(live(n) for n in range(1, 2100)))
    view = await rooms.read(redis, ROOM)
    assert not view.base_known
    assert view.events == []


async def test_rooms_without_a_document_join_without_events(redis: Redis) -> None:
    await publish(redis, Publish("matches:all", b"x", event_id="e1"))
    view = await rooms.read(redis, "matches:all")
    assert (view.offset, view.events) == (1, [])


async def test_who_asks_for_no_answers_publishes_the_same(redis: Redis) -> None:
    count = calls.CALL_EVENTS_MAX + 5
    events = [live(n) for n in range(1, count + 1)]
    await redis.script_flush()  # so that it is refused first
    for _ in range(2):
        assert await rooms.publish(redis, [*events, live(count + 1)], answered=False) == []
    view = await rooms.read(redis, ROOM)
    assert view.events == [b"live-%d" % n for n in range(1, count + 2)]
    assert await publish(redis, live(count + 1)) == [("duplicate", count + 1)]


async def test_a_script_that_is_refused_is_an_outage(one_server: Redis, redis_url: str) -> None:
    """Asked for again and again it would be refused again and again."""
    await one_server.acl_setuser(
        "scriptless", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"],
        commands=["+@all", "-script"],
    )  # fmt: skip
    at = urlsplit(redis_url)
    client = connect(f"redis://scriptless:secret@{at.hostname}:{at.port}{at.path}")
    try:
        await one_server.script_flush()
        with pytest.raises(Unavailable, match="takes no script"):
            await rooms.publish(client, [live(1)])
    finally:
        await client.aclose()
        await one_server.acl_deluser("scriptless")


async def test_expected_epoch_guards_the_document(redis: Redis) -> None:
    [first] = await rooms.publish(redis, [live(1)])
    assert await publish(redis, live(2, expected_epoch=first.epoch)) == [("published", 2)]
    await redis.flushall()
    assert await publish(redis, live(3, expected_epoch=first.epoch)) == [("new_epoch", 0)]
    assert await redis.exists(f"{{{ROOM}}}/events") == 0


async def test_history_pages_forward_and_gives_the_newest(redis: Redis) -> None:
    await publish(redis, *(live(n) for n in range(1, 8)))
    epoch, first, bodies = await rooms.history(redis, ROOM, "", 0, 3)
    assert (first, bodies) == (5, [b"live-5", b"live-6", b"live-7"])
    assert await rooms.history(redis, ROOM, epoch, 1, 2) == (epoch, 2, [b"live-2", b"live-3"])
    assert (await rooms.history(redis, "match:empty", "", 0, 3))[2] == []


async def test_scripts_lost_by_redis_are_loaded_again(redis: Redis) -> None:
    await publish(redis, live(1))
    await redis.script_flush()
    assert await publish(redis, live(2), live(3)) == [("published", 2), ("published", 3)]
    await redis.script_flush()
    assert (await rooms.read(redis, ROOM)).offset == 3


async def test_scores_and_live_numbers_ride_along(redis: Redis) -> None:
    await rooms.publish(redis, [live(1)], scores={"cup/final": {"a": 1}}, live_seqs={"s1": 1})
    assert await rooms.take_stream(redis, "s1", "hub-1") == (1, False)
    assert await rooms.take_stream(redis, "s1", "hub-1") == (1, True)
    assert await rooms.take_stream(redis, "s1", "hub-2") == (1, False)
    assert await rooms.take_stream(redis, "s2", "hub-1") == (0, False)
    assert await redis.exists("{match:cup/final}:scores") == 1


async def test_redis_away_is_unavailable() -> None:
    away = Redis.from_url("redis://127.0.0.1:1", retry_on_error=[])
    with pytest.raises(Unavailable):
        await rooms.publish(away, [live(1)])
    with pytest.raises(Unavailable):
        await rooms.read(away, ROOM)
    await away.aclose()


async def test_over_the_limit_the_late_room_goes_from_document_to_document(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More events than a delayed room keeps, so that those that are due went already."""
    monkeypatch.setattr(calls, "LATE_EVENTS_MAX", 20)
    monkeypatch.setattr(calls, "LATE_DOCUMENT_EVERY_MS", 100)
    sent = 0
    seen: set[int] = set()
    deadline_s = time.monotonic() + 10
    while len(seen) < 3 and time.monotonic() < deadline_s:
        numbers = range(sent + 1, sent + 31)
        await publish(redis, *(live(n, document=b"state-%d" % n, delay_s=1) for n in numbers))
        sent += 30
        view = await rooms.read(redis, ROOM)
        assert view.offset < sent
        if view.offset:
            assert view.document == b"state-%d" % view.offset
            assert (view.document_offset, view.events) == (view.offset, [])
            seen.add(view.offset)
        await asyncio.sleep(0.02)
    assert len(seen) == 3


async def test_when_all_of_it_is_due_the_newest_due_document_is_shown(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events between that document and the room's head went already."""
    monkeypatch.setattr(calls, "LATE_EVENTS_MAX", 20)
    await publish(redis, *(live(n, document=b"state-%d" % n, delay_s=1) for n in range(1, 31)))
    for _ in range(200):
        view = await rooms.read(redis, ROOM)
        if view.offset:
            break
        await asyncio.sleep(0.05)
    assert (view.offset, view.document_offset, view.document) == (1, 1, b"state-1")


async def test_a_long_past_is_not_sent_as_missed_events(redis: Redis) -> None:
    most = room_kind(ROOM).history_max
    numbers = range(1, most + 6)
    await publish(redis, *(live(n, document=b"state", delay_s=900) for n in numbers))
    epoch = (await rooms.read(redis, ROOM, late=False)).epoch
    view = await rooms.read(redis, ROOM, epoch, 5, late=False)
    assert (view.recovered, view.first_offset, len(view.events)) == (True, 6, most)
    view = await rooms.read(redis, ROOM, epoch, 4, late=False)
    assert (view.recovered, view.document, view.events) == (False, b"state", [])


async def test_events_of_one_call_are_one_message_in_their_order(one_server: Redis) -> None:
    other = Publish("matches:all", b"lobby", event_id="e1")
    async with one_server.pubsub() as pubsub:
        await pubsub.subscribe(rooms.channel(ROOM), rooms.channel("matches:all"))
        await publish(one_server, live(1), other, live(2), live(1), live(3))
        heard: dict[str, list[tuple[str, int, list[bytes]]]] = {}
        while len(heard) < 2:
            message = await pubsub.get_message(timeout=5.0)
            if message is not None and message["type"] == "message":
                said = rooms.parse_message(message["data"])
                heard.setdefault(message["channel"].decode(), []).append(said)
    epoch = (await rooms.read(one_server, ROOM)).epoch
    assert heard[rooms.channel(ROOM)] == [(epoch, 1, [b"live-1", b"live-2", b"live-3"])]
    assert [each[1:] for each in heard[rooms.channel("matches:all")]] == [(1, [b"lobby"])]


async def test_bodies_may_hold_what_separates_them(one_server: Redis) -> None:
    bodies = [b"a:b+1,2:", b"", b"12+3,4:::"]
    async with one_server.pubsub() as pubsub:
        await pubsub.subscribe(rooms.channel(ROOM))
        await pubsub.get_message(timeout=5.0)
        for batch in (bodies, bodies[:1]):
            await rooms.publish(one_server, [Publish(ROOM, body) for body in batch])
            message = await pubsub.get_message(timeout=5.0)
            assert rooms.parse_message(message["data"])[2] == batch


@pytest.mark.parametrize("garbage", [b"", b"x", b"e:1", b"e:one:x", b"e:1+3:xx", b"e:1+2,x:xx"])
def test_a_message_that_is_none_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        rooms.parse_message(garbage)


async def test_each_event_of_a_call_is_judged_alone(redis: Redis) -> None:
    """A new epoch, one that was expected, duplicates by id and by number, all in one call."""
    [first] = await rooms.publish(redis, [live(1)])
    await redis.flushall()
    fact = Publish(ROOM, b"fact", event_id="e1")
    answers = await publish(
        redis, live(2, expected_epoch=first.epoch), fact, live(5), fact, live(4), live(6)
    )
    assert answers == [
        ("new_epoch", 0),
        ("published", 1),
        ("published", 2),
        ("duplicate", 2),
        ("duplicate", 2),
        ("published", 3),
    ]
    view = await rooms.read(redis, ROOM)
    assert view.events == [b"fact", b"live-5", b"live-6"]


async def test_a_long_batch_of_one_room_takes_several_calls_in_order(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CALL_EVENTS_MAX", 3)
    monkeypatch.setattr(calls, "CALL_BYTES_MAX", 20)
    events = [live(number, document=b"d" * (number % 4) * 4) for number in range(1, 21)]
    assert await publish(redis, *events) == [("published", number) for number in range(1, 21)]
    view = await rooms.read(redis, ROOM)
    assert view.offset == 20
    assert (await rooms.history(redis, ROOM, "", 0, 100))[2] == [each.body for each in events]


async def test_what_is_told_in_short_is_done_as_what_is_told_in_full(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts by id, frames by number, and both, in many rooms of one call, some of them again."""
    seen = []
    for whole in (False, True):
        if whole:
            monkeypatch.setattr(calls, "shape_of", lambda _events: "whole")
        batch: list[Publish] = []
        for number in [1, 2, 2, 4, 3, 5, 1]:
            for name in ("matches:all", "user:ann", "match:a", "match:b"):
                body = b"%s %d" % (name.encode(), number)
                if name == "user:ann" or (name == "match:b" and number > 2):
                    batch.append(Publish(name, body, stream="log", live_seq=number))
                else:
                    batch.append(Publish(name, body, event_id=f"e{number}"))
        answers = [await publish(redis, *part) for part in (batch[:12], batch[9:], batch)]
        kept = [await rooms.history(redis, each.room, "", 0, 100) for each in batch[:4]]
        seen.append((answers, [events for _, _, events in kept]))
        await redis.flushall()
    assert seen[0] == seen[1]
    assert seen[0][1][1] == [b"user:ann %d" % number for number in (1, 2, 4, 5)]
