"""Limits on real sockets, on one hub and over two: the exact error and close code of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from domain.errors import SettingsError
from domain.settings import LOOPBACK
from gamehub.keys import mint
from tests.hubs import RunningHub, eventually, running_hub, user_token
from tests.sockets import RawViewer, viewer

CAPS: dict[str, Any] = {
    "ws_rate_exempt_cidrs": "",
    "trusted_proxies": LOOPBACK,
    "ws_rate_room_max_members": "2,matches=0,announce=0",
    "ws_rate_conn_per_overlay": 2,
}


@pytest.fixture(params=[1, 2], ids=["one hub", "two hubs"])
async def hubs(
    request: pytest.FixtureRequest, database_url: str, redis_url: str
) -> AsyncIterator[list[RunningHub]]:
    """The two hubs that sockets are opened at in turn; the same one twice, or two."""
    async with AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(running_hub(database_url, redis_url, **CAPS))
            for _ in range(request.param)
        ]
        yield running * (2 // request.param)


@contextlib.asynccontextmanager
async def opened(
    hub: RunningHub, ip: str, *, welcomed: bool = True, path: str = "/ws", **token: Any
) -> AsyncIterator[RawViewer]:
    """A viewer's socket from an address of its own."""
    async with viewer(
        hub.url,
        user_token(hub.settings, **token),
        path=path,
        welcomed=welcomed,
        additional_headers={"X-Forwarded-For": ip},
    ) as raw:
        yield raw


async def refused(raw: RawViewer, code: str) -> None:
    """The hub says why, when to come back, and closes with 4008."""
    error = await raw.hear()
    assert (error["op"], error["code"]) == ("error", code)
    assert error["retry_after_ms"] >= 1000
    assert (await raw.close_code())[0] == 4008


def counted(hubs: list[RunningHub]) -> dict[str, int]:
    """Everything that the hubs count."""
    total: dict[str, int] = {}
    for hub in {id(each): each for each in hubs}.values():
        for subject, count in hub.hub.gate.caps.counts.items():
            total[subject] = total.get(subject, 0) + count
    return total


async def test_the_fourth_socket_of_a_user(hubs: list[RunningHub]) -> None:
    async with AsyncExitStack() as stack:
        for number in range(3):
            await stack.enter_async_context(opened(hubs[number % 2], f"192.0.2.{number}"))
        for number in range(2):
            async with opened(hubs[number], "192.0.2.9", welcomed=False) as raw:
                await refused(raw, "connection_limit_exceeded")
        async with opened(hubs[0], "192.0.2.9", sub="berta") as raw:
            assert (await raw.ask(op="ping"))["op"] == "pong"
    await eventually(lambda: not counted(hubs))
    async with opened(hubs[1], "192.0.2.9") as raw:
        assert (await raw.ask(op="ping"))["op"] == "pong"


async def test_the_fourth_socket_is_refused_in_band_too(hubs: list[RunningHub]) -> None:
    header = {"X-Forwarded-For": "192.0.2.9"}
    async with AsyncExitStack() as stack:
        for number in range(3):
            await stack.enter_async_context(opened(hubs[number % 2], f"192.0.2.{number}"))
        async with viewer(hubs[0].url, additional_headers=header) as raw:
            await raw.say(op="auth", token=user_token(hubs[0].settings))
            await refused(raw, "connection_limit_exceeded")
    await eventually(lambda: not counted(hubs))


async def test_a_fresh_token_takes_no_second_place(hubs: list[RunningHub]) -> None:
    async with AsyncExitStack() as stack:
        raws = [
            await stack.enter_async_context(opened(hubs[number % 2], "192.0.2.1"))
            for number in range(3)
        ]
        for raw in raws:
            fresh = user_token(hubs[0].settings)
            assert (await raw.ask(op="auth", token=fresh))["op"] == "welcome"
        assert counted(hubs) == {"ip:192.0.2.1": 3, "user:anna": 3}


async def test_the_eleventh_socket_from_an_address_before_any_token(
    hubs: list[RunningHub],
) -> None:
    header = {"X-Forwarded-For": "192.0.2.1"}
    async with AsyncExitStack() as stack:
        for number in range(10):
            await stack.enter_async_context(
                opened(hubs[number % 2], "192.0.2.1", sub=f"user-{number}")
            )
        async with viewer(hubs[0].url, additional_headers=header) as raw:
            await refused(raw, "connection_limit_exceeded")
        async with opened(hubs[1], "192.0.2.2", sub="user-10"):
            pass
    await eventually(lambda: not counted(hubs))


async def test_addresses_of_one_ipv6_network_are_one(hubs: list[RunningHub]) -> None:
    async with AsyncExitStack() as stack:
        for number in range(10):
            ip = f"2001:db8:0:7::{number + 1:x}"
            await stack.enter_async_context(opened(hubs[number % 2], ip, sub=f"user-{number}"))
        async with opened(hubs[0], "2001:db8:0:7:8::1", sub="one-more", welcomed=False) as raw:
            await refused(raw, "connection_limit_exceeded")
        async with opened(hubs[0], "2001:db8:0:8::1", sub="one-more"):
            pass


async def test_the_header_of_a_stranger_opens_no_more_sockets(
    database_url: str, redis_url: str
) -> None:
    async with (
        running_hub(database_url, redis_url, **{**CAPS, "trusted_proxies": ""}) as hub,
        AsyncExitStack() as stack,
    ):
        for number in range(10):
            await stack.enter_async_context(opened(hub, f"192.0.2.{number}", sub=f"user-{number}"))
        async with opened(hub, "192.0.2.77", sub="one-more", welcomed=False) as raw:
            await refused(raw, "connection_limit_exceeded")


async def test_sockets_of_one_overlay_token(hubs: list[RunningHub]) -> None:
    token = overlay_token(hubs[0])
    header = {"X-Forwarded-For": "192.0.2.1"}
    async with AsyncExitStack() as stack:
        for number in range(2):
            raw = await stack.enter_async_context(
                viewer(hubs[number].url, token, additional_headers=header)
            )
            assert (await raw.ask(op="join", room="matches:all"))["op"] == "joined"
        async with viewer(hubs[0].url, token, additional_headers=header, welcomed=False) as raw:
            await refused(raw, "connection_limit_exceeded")
        # Another token has places of its own, and none of them counts by address.
        other = overlay_token(hubs[0])
        async with viewer(hubs[1].url, other, additional_headers=header):
            counts = counted(hubs)
            assert sorted(counts.values()) == [1, 2]
            assert all(each.startswith("overlay:") for each in counts)
    await eventually(lambda: not counted(hubs))


def overlay_token(hub: RunningHub) -> str:
    """An overlay's token for the lobby."""
    return mint(hub.settings, sub="overlay-1", kind="overlay", subject="matches:all")


async def test_a_full_room(hubs: list[RunningHub]) -> None:
    room = "tournament:spring"
    async with AsyncExitStack() as stack:
        inside = [
            await stack.enter_async_context(
                opened(hubs[number], f"192.0.2.{number}", sub=f"in-{number}")
            )
            for number in range(2)
        ]
        for raw in inside:
            assert (await raw.ask(op="join", room=room))["op"] == "joined"
        async with opened(hubs[0], "192.0.2.8", sub="out") as raw:
            answer = await raw.ask(op="join", room=room)
            assert (answer["op"], answer["code"], answer["field"]) == ("error", "room_full", "room")
            assert answer["retry_after_ms"] >= 1000
            # The socket stays, other rooms and kinds without a cap are open.
            assert (await raw.ask(op="join", room="tournament:autumn"))["op"] == "joined"
            assert (await raw.ask(op="join", room="matches:all"))["op"] == "joined"
            # A member that joins anew needs no second place, and may leave it to others.
            assert (await inside[0].ask(op="join", room=room))["op"] == "joined"
            assert (await raw.ask(op="join", room=room))["code"] == "room_full"
            assert (await inside[0].ask(op="leave", room=room))["op"] == "left"
            assert (await raw.ask(op="join", room=room))["op"] == "joined"
            assert (await inside[0].ask(op="join", room=room))["code"] == "room_full"
    await eventually(lambda: not counted(hubs))


async def test_a_full_room_at_the_door_closes(hubs: list[RunningHub]) -> None:
    path = "/ws/tournament/spring"
    async with AsyncExitStack() as stack:
        for number in range(2):
            raw = await stack.enter_async_context(
                opened(hubs[number], f"192.0.2.{number}", sub=f"in-{number}", path=path)
            )
            assert (await raw.hear())["op"] == "joined"
        async with opened(hubs[1], "192.0.2.8", sub="out", path=path) as raw:
            await refused(raw, "room_full")


async def test_organisers_enter_a_full_room_and_count(hubs: list[RunningHub]) -> None:
    room = "tournament:spring"
    async with AsyncExitStack() as stack:
        for number, role in enumerate(("ADMIN", "ORGANIZER", "ORGANIZER")):
            raw = await stack.enter_async_context(
                opened(hubs[number % 2], f"192.0.2.{number}", sub=f"staff-{number}", role=role)
            )
            assert (await raw.ask(op="join", room=room))["op"] == "joined"
        assert counted(hubs)[f"room:{room}"] == 3
        async with opened(hubs[0], "192.0.2.8", sub="out", role="PLAYER") as raw:
            assert (await raw.ask(op="join", room=room))["code"] == "room_full"


async def test_a_join_that_fails_takes_no_place(hubs: list[RunningHub]) -> None:
    async with opened(hubs[0], "192.0.2.1") as raw:
        for room in ("match:nobody-scheduled-it", "ops:all"):
            assert (await raw.ask(op="join", room=room))["op"] == "error"
        assert not [each for each in counted(hubs) if each.startswith("room:")]


async def test_too_many_messages_over_all_sockets_of_a_user(hubs: list[RunningHub]) -> None:
    async with AsyncExitStack() as stack:
        raws = [
            await stack.enter_async_context(opened(hubs[number], f"192.0.2.{number}"))
            for number in range(2)
        ]
        # A steady pace on both is never refused.
        for _ in range(4):
            for raw in raws:
                assert (await raw.ask(op="ping"))["op"] == "pong"
        for _ in range(60):
            await raws[0].say(op="ping")
        answers = await everything(raws[0])
        refusals = [each for each in answers if each["op"] == "error"]
        assert [each["code"] for each in refusals] == ["message_rate_limit_exceeded"] * 3
        assert all(each["retry_after_ms"] > 0 for each in refusals)
        assert answers[-1] is refusals[-1]
        code, reason = await raws[0].close_code()
        assert (code, reason) == (4008, "message_rate_limit_exceeded, retry_after_ms=1000")
        # What one socket used up is missing at the other, wherever that is.
        for _ in range(40):
            await raws[1].say(op="ping")
        answers = await everything(raws[1])
        assert len(answers) < 20
        assert answers[-1]["code"] == "message_rate_limit_exceeded"


@pytest.mark.proof
async def test_three_sockets_at_two_messages_a_second_are_never_refused(
    hubs: list[RunningHub],
) -> None:
    async def steady(number: int) -> list[str]:
        async with opened(hubs[number % 2], "192.0.2.1") as raw:
            answers = []
            for _ in range(30):
                answers.append((await raw.ask(op="ping"))["op"])
                await asyncio.sleep(0.5)  # the pace that is promised to pass
            return answers

    assert await asyncio.gather(*(steady(number) for number in range(3))) == [["pong"] * 30] * 3


async def everything(raw: RawViewer) -> list[dict[str, Any]]:
    """All that comes until the hub closes."""
    heard = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            heard.append(await raw.hear())
    return heard


async def test_exempt_addresses_have_no_caps_and_no_buckets(
    database_url: str, redis_url: str
) -> None:
    caps = {**CAPS, "ws_rate_exempt_cidrs": "192.0.2.0/24"}
    async with (
        running_hub(database_url, redis_url, **caps) as hub,
        AsyncExitStack() as stack,
    ):
        for _ in range(12):
            raw = await stack.enter_async_context(opened(hub, "192.0.2.1"))
        assert hub.hub.gate.caps.counts == {}
        for _ in range(60):
            await raw.say(op="ping")
        assert [(await raw.hear())["op"] for _ in range(60)] == ["pong"] * 60
        # A room's cap is about the room.
        assert (await raw.ask(op="join", room="tournament:spring"))["op"] == "joined"
        assert hub.hub.gate.caps.counts == {"room:tournament:spring": 1}


async def test_places_are_exact_when_all_come_at_once(hubs: list[RunningHub]) -> None:
    async def one(number: int) -> str:
        async with opened(hubs[number % 2], f"192.0.2.{number}", welcomed=False) as raw:
            first: str = (await raw.hear())["op"]
            welcomed.append(first)
            if len(welcomed) == 20:
                everyone.set()
            await everyone.wait()
            return first

    welcomed: list[str] = []
    everyone = asyncio.Event()
    firsts = await asyncio.gather(*(one(number) for number in range(20)))
    assert sorted(firsts) == ["error"] * 17 + ["welcome"] * 3


async def test_a_kind_of_room_that_does_not_exist_stops_the_start(
    database_url: str, redis_url: str
) -> None:
    with pytest.raises(SettingsError, match="kitchen"):
        async with running_hub(database_url, redis_url, ws_rate_room_max_members="9,kitchen=1"):
            pass
