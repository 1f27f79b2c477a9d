"""Roles raised within one tournament, on open sockets over two hubs (WSA-05, WSA-06, WSA-08)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import asyncpg
import pytest

from domain.events import Principal, Role
from services import tournaments
from storage.audit import Entry
from storage.redis import tell_standing
from tests.hubs import RunningHub, eventually, running_hub, user_token
from tests.proxies import Wire
from tests.sockets import RawViewer, viewer

BY = Entry(actor="cli:test", role="CLI", action="", occurred_at_ms=0)
CUP = "cup/2018"
STAFF = f"staff:{CUP}"


@pytest.fixture
async def hubs(database_url: str, redis_url: str) -> AsyncIterator[tuple[RunningHub, RunningHub]]:
    async with (
        running_hub(database_url, redis_url) as one,
        running_hub(database_url, redis_url) as other,
    ):
        yield one, other


async def change(hub: RunningHub, user: str, role: Role | None, cup: str = CUP) -> None:
    """Gives or takes a role and tells the hubs, as doors do."""
    context = hub.hub.context
    if role is None:
        await tournaments.revoke(context.pool, None, BY, cup, user)
    else:
        await tournaments.grant(context.pool, None, BY, cup, user, role)
    await tell_standing(context.redis)


def organizes(hub: RunningHub, user: str) -> bool:
    """Whether this hub has heard of the role."""
    who = Principal(subject=user, kind="user", role=Role.SPECTATOR)
    return hub.hub.context.standing.roles_of(who).get(CUP, Role.SPECTATOR) >= Role.ORGANIZER


async def joins(raw: RawViewer, room: str) -> bool:
    return bool((await raw.ask(op="join", room=room))["op"] == "joined")


async def test_a_role_counts_at_once_in_its_rooms_and_only_there(
    hubs: tuple[RunningHub, RunningHub],
) -> None:
    token = user_token(hubs[0].settings)
    async with viewer(hubs[0].url, token) as one, viewer(hubs[1].url, token) as other:
        assert not await joins(one, STAFF)
        await change(hubs[0], "anna", Role.ORGANIZER)
        for raw in (one, other):

            async def joined(raw: RawViewer = raw) -> bool:
                return await joins(raw, STAFF)

            await eventually(joined)
            for room in ("staff:other", "staff:cup", "team:red", "ops:all", f"ops:{CUP}"):
                assert not await joins(raw, room)
        text = {"type": "announcement.posted", "data": {"text": "hello"}}
        assert (await one.ask(op="publish", room=f"tournament:{CUP}", **text))["op"] == "pong"
        for room in ("tournament:other", "announce:all", f"announce:{CUP}"):
            answer = await one.ask(op="publish", room=room, **text)
            assert answer["code"] == "forbidden_action"


async def test_a_role_taken_back_leaves_the_rooms_on_every_hub(
    hubs: tuple[RunningHub, RunningHub],
) -> None:
    await change(hubs[0], "anna", Role.ORGANIZER)
    for hub in hubs:
        await eventually(partial(organizes, hub, "anna"))
    token = user_token(hubs[0].settings)
    async with (
        viewer(hubs[0].url, token) as one,
        viewer(hubs[1].url, token) as other,
        viewer(hubs[1].url, user_token(hubs[0].settings, "ORGANIZER", "olga")) as organizer,
    ):
        for raw in (one, other, organizer):
            assert await joins(raw, STAFF)
            assert await joins(raw, f"tournament:{CUP}")
        await change(hubs[0], "anna", None)
        for raw in (one, other):
            assert (await raw.hear_op("error"))["code"] == "forbidden_action"
            assert (await raw.hear_op("left"))["room"] == STAFF
            for ask in ("join", "history", "presence"):
                assert (await raw.ask(op=ask, room=STAFF))["code"] == "forbidden_action"
            assert (await raw.ask(op="history", room=f"tournament:{CUP}"))["op"] == "history"
        assert (await organizer.ask(op="presence", room=STAFF))["counts"]["ORGANIZER"] == 1


async def test_a_lower_role_than_the_token_s_takes_nothing_away(
    hubs: tuple[RunningHub, RunningHub],
) -> None:
    async with viewer(hubs[0].url, user_token(hubs[0].settings, "ORGANIZER", "olga")) as raw:
        assert await joins(raw, STAFF)
        for role in (Role.PLAYER, None):
            await change(hubs[0], "olga", role)
            assert (await raw.ask(op="history", room=STAFF))["op"] == "history"


async def test_only_people_have_roles(hubs: tuple[RunningHub, RunningHub]) -> None:
    """An overlay whose sub is the user's id is not the user."""
    await change(hubs[0], "anna", Role.ADMIN)
    await eventually(partial(organizes, hubs[0], "anna"))
    overlay = user_token(hubs[0].settings, kind="overlay", subject=f"tournament:{CUP}")
    async with viewer(hubs[0].url, overlay) as raw:
        assert not await joins(raw, STAFF)
        assert await joins(raw, f"tournament:{CUP}")


@pytest.mark.proof
async def test_roles_given_while_postgres_or_redis_was_away_count_afterwards(
    database_url: str, redis_url: str, pool: asyncpg.Pool
) -> None:
    async with Wire(database_url) as postgres, Wire(redis_url) as redis:
        postgres.pause()
        async with running_hub(postgres.url, redis.url) as hub:
            await tournaments.grant(pool, None, BY, CUP, "anna", Role.ORGANIZER)
            postgres.resume()

            async def welcomed() -> bool:
                async with viewer(hub.url, user_token(hub.settings), welcomed=False) as raw:
                    return bool((await raw.hear())["op"] == "welcome")

            await eventually(welcomed)
            async with viewer(hub.url, user_token(hub.settings)) as raw:
                assert await joins(raw, STAFF)
                # Known roles stay while Postgres is silent.
                postgres.pause()
                assert (await raw.ask(op="history", room=STAFF))["op"] == "history"
                await tournaments.revoke(pool, None, BY, CUP, "anna")
                postgres.resume()
                redis.cut()
                assert (await raw.hear_op("left"))["room"] == STAFF
