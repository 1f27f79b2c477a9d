"""In-band auth on open sockets: a fresh token extends, keeps rooms, and never widens who one is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from tests.hubs import RunningHub, running_hub, server_token, user_token
from tests.sockets import RawViewer, server, viewer

FEED = "match:m1"


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    # Without leeway tokens of a second or two end while a test looks on.
    async with running_hub(database_url, redis_url, jwt_leeway_s=0) as running:
        yield running


def overlay_token(hub: RunningHub, room: str, sub: str = "anna") -> str:
    return user_token(hub.settings, sub=sub, kind="overlay", subject=room)


async def heard_until_closed(raw: RawViewer) -> tuple[list[str], int]:
    """Codes of the errors, and the close code."""
    errors = [(await raw.hear_op("error"))["code"]]
    code, _ = await raw.close_code()
    return errors, code


@pytest.mark.proof
async def test_a_fresh_token_extends_and_keeps_rooms_and_position(hub: RunningHub) -> None:
    """Also past the end of the first token: the timer follows the token that counts."""
    ends_at_s = int(time.time()) + 3  # or later: a second may begin until the token is made
    short, long = user_token(hub.settings, ttl_s=3), user_token(hub.settings, "PLAYER")
    async with (
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, short) as raw,
        viewer(hub.url, short) as unrefreshed,
    ):
        await sender.start("m1")
        joined = await raw.ask(op="join", room=FEED)
        await sender.live("live.kill", "m1", n=1)
        answer = await raw.ask(op="auth", token=long)
        assert (answer["op"], answer["user"], answer["role"]) == ("welcome", "anna", "PLAYER")
        assert await heard_until_closed(unrefreshed) == (["token_expired"], 4002)
        assert time.time() >= ends_at_s
        await sender.live("live.kill", "m1", n=2)
        assert (await raw.ask(op="ping"))["op"] == "pong"
        history = await raw.ask(
            op="history", room=FEED, since={"epoch": joined["epoch"], "offset": joined["offset"]}
        )
        numbers = [each["data"].get("n") for each in history["events"]]
        assert [each for each in numbers if each] == [1, 2]
        assert (await raw.ask(op="presence", room=FEED))["counts"] == {"PLAYER": 1}


async def test_events_go_on_through_a_refresh(hub: RunningHub) -> None:
    async with (
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, user_token(hub.settings)) as raw,
    ):
        await sender.start("m1")
        await raw.ask(op="join", room=FEED)
        seen: list[int] = []
        for number in range(1, 11):
            await sender.live("live.kill", "m1", n=number)
            await raw.say(op="auth", token=user_token(hub.settings))
            while len(seen) < number:
                message = await raw.hear()
                if message["op"] == "event":
                    seen.append(message["data"]["n"])
                else:
                    assert message["op"] == "welcome"
        assert seen == list(range(1, 11))


@pytest.mark.proof
async def test_a_shorter_fresh_token_shortens(hub: RunningHub) -> None:
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        await raw.ask(op="join", room="matches:all")
        fresh = user_token(hub.settings, ttl_s=2)
        assert (await raw.ask(op="auth", token=fresh))["op"] == "welcome"
        assert await heard_until_closed(raw) == (["token_expired"], 4002)


@pytest.mark.parametrize("other", ["subject", "kind", "room-less overlay"])
async def test_another_subject_or_kind_is_refused_and_the_old_token_stays(
    hub: RunningHub, other: str
) -> None:
    tokens = {
        "subject": user_token(hub.settings, "ADMIN", "root"),
        "kind": overlay_token(hub, "match:m1"),
        "room-less overlay": overlay_token(hub, "user:anna"),
    }
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        await raw.ask(op="join", room="matches:all")
        answer = await raw.ask(op="auth", token=tokens[other])
        assert (answer["op"], answer["code"]) == ("error", "token_invalid")
        assert (await raw.ask(op="join", room="ops:all"))["code"] == "forbidden_action"
        assert (await raw.ask(op="join", room="announce:all"))["op"] == "joined"
        assert (await raw.ask(op="presence", room="matches:all"))["counts"] == {"SPECTATOR": 1}


async def test_an_overlay_does_not_become_its_user(hub: RunningHub) -> None:
    async with viewer(hub.url, overlay_token(hub, "matches:all")) as raw:
        answer = await raw.ask(op="auth", token=user_token(hub.settings, "ADMIN"))
        assert (answer["op"], answer["code"]) == ("error", "token_invalid")
        assert (await raw.ask(op="join", room="announce:all"))["code"] == "forbidden_action"
        assert (await raw.ask(op="join", room="matches:all"))["op"] == "joined"


async def test_an_overlay_s_fresh_token_for_another_room_leaves_the_old_one(
    hub: RunningHub,
) -> None:
    async with viewer(hub.url, overlay_token(hub, "matches:all")) as raw:
        await raw.ask(op="join", room="matches:all")
        await raw.say(op="auth", token=overlay_token(hub, "announce:all"))
        assert (await raw.hear_op("welcome"))["role"] == "OVERLAY"
        assert (await raw.hear_op("error"))["code"] == "forbidden_action"
        assert (await raw.hear_op("left"))["room"] == "matches:all"
        assert (await raw.ask(op="join", room="announce:all"))["op"] == "joined"


async def test_an_expired_fresh_token_closes_4002(hub: RunningHub) -> None:
    old = user_token(hub.settings, ttl_s=1)
    async with viewer(hub.url, old, welcomed=False) as raw:
        await raw.close_code()
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        await raw.say(op="auth", token=old)
        assert await heard_until_closed(raw) == (["token_expired"], 4002)


async def test_a_server_s_token_closes_4003(hub: RunningHub) -> None:
    async with viewer(hub.url, user_token(hub.settings, sub="server-1")) as raw:
        await raw.say(op="auth", token=server_token(hub.settings))
        assert await heard_until_closed(raw) == (["token_invalid"], 4003)


async def test_a_lower_role_leaves_staff_rooms_and_nothing_else(hub: RunningHub) -> None:
    async with viewer(hub.url, user_token(hub.settings, "ADMIN")) as raw:
        for room in ("staff:cup", "ops:all", "team:red", "matches:all"):
            assert (await raw.ask(op="join", room=room))["op"] == "joined"
        await raw.say(op="auth", token=user_token(hub.settings, "ORGANIZER"))
        assert (await raw.hear_op("left"))["room"] == "ops:all"
        await raw.say(op="auth", token=user_token(hub.settings, "PLAYER"))
        left = [(await raw.hear_op("left"))["room"] for _ in range(2)]
        assert left == ["staff:cup", "team:red"]
        assert (await raw.ask(op="history", room="staff:cup"))["code"] == "forbidden_action"
        assert (await raw.ask(op="presence", room="matches:all"))["counts"] == {"PLAYER": 1}
        assert {room.name for room in hub.hub.hall.rooms.everywhere()} == {"matches:all"}


@pytest.mark.proof
async def test_the_leeway_counts_for_open_sockets_too(database_url: str, redis_url: str) -> None:
    async with running_hub(database_url, redis_url, jwt_leeway_s=2) as hub:
        token = user_token(hub.settings, ttl_s=1)
        ends_at_s = int(time.time()) + 1
        async with viewer(hub.url, token) as raw:
            assert await heard_until_closed(raw) == (["token_expired"], 4002)
            assert time.time() >= ends_at_s + 2


OTHERS = ["match:m2", "matches:all", "tournament:cup", "user:anna", "staff:cup", "announce:all"]


@pytest.mark.parametrize("room", OTHERS)
async def test_an_overlay_token_shows_its_one_room_and_nothing_else(
    hub: RunningHub, room: str
) -> None:
    """Join, resume, history, presence, publish, the URL; HTTP is in tests/hub/api."""
    token = overlay_token(hub, FEED)
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        await sender.start("m2")
        async with viewer(hub.url, token, path="/ws/match/m1") as raw:
            assert (await raw.hear())["room"] == FEED
            for ask in (
                {"op": "join", "room": room},
                {"op": "join", "room": room, "since": {"epoch": "x", "offset": 0}},
                {"op": "history", "room": room},
                {"op": "presence", "room": room},
                {"op": "presence", "room": FEED},
                {"op": "publish", "room": room, "type": "announcement.posted",
                 "data": {"text": "x"}},
                {"op": "publish", "room": FEED, "type": "announcement.posted",
                 "data": {"text": "x"}},
            ):  # fmt: skip
                answer = await raw.ask(**ask)
                assert (answer["op"], answer["code"]) == ("error", "forbidden_action")
            assert (await raw.ask(op="history", room=FEED))["op"] == "history"
            await sender.live("live.kill", "m2", n=2)
            await sender.live("live.kill", "m1", n=1)
            assert (await raw.hear_op("event"))["data"] == {"n": 1}
        path = f"/ws/{room.replace(':', '/')}"
        async with viewer(hub.url, token, path=path) as raw:
            assert (await raw.hear())["code"] == "forbidden_action"
            assert (await raw.ask(op="ping"))["op"] == "pong"
        async with server(hub.url, token, hello=False) as ingest:
            assert (await ingest.close_code())[0] == 4003
