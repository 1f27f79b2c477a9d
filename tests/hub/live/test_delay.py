"""Spectator delay over real sockets: two times in the match's room, one late time elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from gamehub.keys import mint
from storage.rooms import delay_s
from tests.hubs import HubProcess, RunningHub, eventually, running_hub, server_token, user_token
from tests.proxies import Wire
from tests.sockets import COMPETITORS, RawServer, RawViewer, server, viewer

DELAY_S = 2
ROOM = "match:final"


@dataclass
class Place:
    """A hub with a worker, and what a test needs of both."""

    hub: RunningHub

    @contextlib.asynccontextmanager
    async def watching(self, role: str, *rooms: str) -> AsyncIterator[RawViewer]:
        """A viewer of that role in those rooms."""
        token = user_token(self.hub.settings, role, sub=role.lower())
        async with viewer(self.hub.url, token) as raw:
            raw.passes_over = set()
            for room in rooms:
                assert (await raw.ask(op="join", room=room))["op"] == "joined"
            yield raw

    @contextlib.asynccontextmanager
    async def playing(self, **schedule: Any) -> AsyncIterator[RawServer]:
        """A game server that has scheduled the delayed match."""
        async with server(self.hub.url, server_token(self.hub.settings)) as sender:
            sides = {"competitors": COMPETITORS, "delay_s": DELAY_S, **schedule}
            assert await sender.fact("match.scheduled", "final", game="chess", **sides) == []
            yield sender

    async def get(self, path: str, role: str = "SPECTATOR") -> tuple[int, Any]:
        """An HTTP answer."""
        token = user_token(self.hub.settings, role)
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.get(f"{self.hub.url}{path}") as answer,
        ):
            return answer.status, await answer.json()

    async def until_public(self) -> None:
        """Returns when everyone may know of the match."""

        async def known() -> bool:
            return (await self.get("/api/v1/matches/final"))[0] == 200

        await eventually(known, timeout_s=15)


@pytest.fixture
async def place(database_url: str, redis_url: str) -> AsyncIterator[Place]:
    async with running_hub(database_url, redis_url) as hub, HubProcess(hub.settings, "worker"):
        yield Place(hub)


async def test_the_schedule_itself_is_late_for_everyone_but_the_organisers_room(
    place: Place,
) -> None:
    began_s = time.monotonic()
    async with place.playing(), place.watching("SPECTATOR", "matches:all") as lobby:
        assert (await lobby.ask(op="join", room=ROOM))["code"] == "unknown_room"
        assert (await lobby.ask(op="history", room=ROOM))["code"] == "unknown_room"
        assert (await lobby.ask(op="presence", room=ROOM))["code"] == "unknown_room"
        for role in ("SPECTATOR", "ADMIN"):
            assert (await place.get("/api/v1/matches/final", role))[0] == 404
            assert (await place.get("/api/v1/matches", role))[1]["matches"] == []
        async with place.watching("ORGANIZER") as organiser:
            joined = await organiser.ask(op="join", room=ROOM)
            assert [each["type"] for each in joined["events"]] == ["match.scheduled"]
        event = await lobby.hear_op("event")
        assert event["type"] == "match.scheduled"
        assert time.monotonic() - began_s >= DELAY_S
        assert (await lobby.ask(op="join", room=ROOM))["op"] == "joined"
    await place.until_public()
    _, body = await place.get("/api/v1/matches")
    assert [(each["match_id"], each["delay_s"]) for each in body["matches"]] == [("final", DELAY_S)]


async def test_one_room_has_two_times_with_the_same_offsets(place: Place) -> None:
    async with place.playing() as sender:
        await place.until_public()
        overlay_token = mint(
            place.hub.settings, sub="obs", kind="overlay", subject=ROOM, role="SPECTATOR"
        )
        async with (
            place.watching("ORGANIZER", ROOM) as organiser,
            place.watching("PLAYER", ROOM) as player,
            viewer(place.hub.url, overlay_token, path=f"/ws/{ROOM.replace(':', '/')}") as overlay,
        ):
            overlay.passes_over = set()
            await sender.fact("match.started", "final")
            sent_s = time.monotonic()
            for n in range(5):
                assert await sender.live("live.kill", "final", {"kills": n}, n=n) == []
            now = [await organiser.hear_op("event") for _ in range(6)]
            assert time.monotonic() - sent_s < DELAY_S
            for late in (player, overlay):
                events = [await late.hear_op("event") for _ in range(6)]
                assert time.monotonic() - sent_s >= DELAY_S
                assert events == now


@pytest.mark.proof
async def test_a_late_joiner_and_a_resume_see_the_past_state(place: Place) -> None:
    async with place.playing() as sender, place.watching("ADMIN", ROOM) as admin:
        await place.until_public()
        await sender.fact("match.started", "final")
        await sender.live("live.kill", "final", {"kills": 1}, n=1)
        while (await admin.hear_op("event"))["type"] != "live.kill":
            pass
        first_s = time.monotonic()
        await asyncio.sleep(DELAY_S / 2)
        await sender.live("live.kill", "final", {"kills": 2}, n=2)
        newest = await admin.hear_op("event")
        epoch = (await admin.ask(op="join", room=ROOM))["epoch"]

        async def first_is_due() -> bool:
            return time.monotonic() > first_s + DELAY_S

        await eventually(first_is_due, timeout_s=10)
        async with place.watching("SPECTATOR") as spectator:
            joined = await spectator.ask(op="join", room=ROOM)
            assert joined["offset"] == newest["offset"] - 1
            numbers = [each["data"].get("n") for each in joined["events"]]
            assert 2 not in numbers
            # A position that only an organiser can know is answered with the past, not the gap.
            ahead = {"epoch": epoch, "offset": newest["offset"]}
            again = await spectator.ask(op="join", room=ROOM, since=ahead)
            assert again["recovered"] is False
            assert again["offset"] == newest["offset"] - 1
            history = await spectator.ask(op="history", room=ROOM, since=ahead)
            assert history["events"] == []
            event = await spectator.hear_op("event")
            assert (event["data"], event["offset"]) == ({"n": 2}, newest["offset"])


async def test_scores_and_results_reach_lobby_and_http_when_they_are_due(place: Place) -> None:
    async with place.playing(tournament_id="cup") as sender:
        await place.until_public()
        async with place.watching("ADMIN", "matches:all", "tournament:cup") as shared:
            await sender.fact("match.started", "final")
            await sender.live("match.score_updated", "final", scores={"red": 7, "blue": 0})
            sent_s = time.monotonic()
            result = {"winner_id": "red", "scores": {"red": 9, "blue": 1}}
            assert await sender.fact("match.completed", "final", played_at=_now(), **result) == []
            ending: dict[str, Any] = {"game": "chess", "placements": [{"place": 1, "id": "red"}]}
            assert (
                await sender.fact("tournament.completed", None, tournament_id="cup", **ending) == []
            )
            _, body = await place.get("/api/v1/matches/final", "ADMIN")
            assert body["status"] == "SCHEDULED"
            assert body["scores"] == {}
            seen: dict[str, list[str]] = {"matches:all": [], "tournament:cup": []}
            while "tournament.completed" not in seen["tournament:cup"]:
                event = await shared.hear_op("event")
                seen[event["room"]].append(event["type"])
                if event["type"] != "match.scheduled":
                    assert time.monotonic() - sent_s >= DELAY_S - 0.5
            assert time.monotonic() - sent_s >= DELAY_S
            ordered = [each for each in seen["tournament:cup"] if each != "match.scheduled"]
            assert sorted(ordered[:2]) == ["match.score_updated", "match.started"]
            assert ordered[2:] == ["match.completed", "tournament.completed"]
        _, body = await place.get("/api/v1/matches/final")
        assert (body["status"], body["scores"]) == ("COMPLETED", {"red": 9, "blue": 1})


async def test_the_end_of_a_tournament_waits_for_a_match_that_has_not_ended(place: Place) -> None:
    async with place.playing(tournament_id="cup") as sender:
        await sender.fact("match.started", "final")

        async def live() -> bool:
            return bool((await place.get("/api/v1/matches/final"))[1].get("status") == "LIVE")

        # Nothing waits any more when the end is sent, even before the result of its final.
        await eventually(live)
        async with place.watching("ADMIN", "tournament:cup") as cup:
            sent_s = time.monotonic()
            ending: dict[str, Any] = {"game": "chess", "placements": [{"place": 1, "id": "red"}]}
            await sender.fact("tournament.completed", None, tournament_id="cup", **ending)
            while (await cup.hear_op("event"))["type"] != "tournament.completed":
                pass
            assert time.monotonic() - sent_s >= DELAY_S


async def test_a_tournaments_end_that_names_a_match_is_not_shown_in_its_room(place: Place) -> None:
    async with place.playing() as sender, place.watching("ORGANIZER", ROOM) as organiser:
        other = {"game": "chess", "competitors": COMPETITORS, "delay_s": 1, "tournament_id": "cup"}
        await sender.fact("match.scheduled", "other", **other)
        ending: dict[str, Any] = {"game": "chess", "placements": [{"place": 1, "id": "red"}]}
        assert (
            await sender.fact("tournament.completed", "final", tournament_id="cup", **ending) == []
        )
        await sender.fact("match.started", "final")
        joined = await organiser.ask(op="history", room=ROOM, limit=10)
        assert "tournament.completed" not in [each["type"] for each in joined["events"]]
        # Its wait is another one than the match's delay, which it would have taken the place of.
        assert await delay_s(place.hub.hub.context.redis, ROOM) == DELAY_S


async def test_scheduling_again_does_not_tell_how_it_stands(place: Place) -> None:
    async with place.playing() as sender:
        await sender.fact("match.started", "final")
        result = {"winner_id": "red", "scores": {"red": 9, "blue": 1}}
        assert await sender.fact("match.completed", "final", played_at=_now(), **result) == []
        same = {"id": "final", "game": "chess", "competitors": COMPETITORS, "delay_s": DELAY_S}
        token = server_token(place.hub.settings, "another")
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
            http.post(f"{place.hub.url}/api/v1/matches", json=same) as answer,
        ):
            body = await answer.json()
        assert (answer.status, body["status"], body["scores"]) == (201, "SCHEDULED", {})


async def test_without_postgres_a_match_that_nobody_may_know_stays_unknown(
    database_url: str, redis_url: str
) -> None:
    async with (
        Wire(database_url) as postgres,
        running_hub(postgres.url, redis_url) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, user_token(hub.settings, "ORGANIZER", sub="orga")) as organiser,
        viewer(hub.url, user_token(hub.settings)) as spectator,
    ):
        for match, seconds in (("final", DELAY_S), ("hidden", 900)):
            sides = {"game": "chess", "competitors": COMPETITORS, "delay_s": seconds}
            assert await sender.fact("match.scheduled", match, **sides) == []
            await sender.fact("match.started", match)
            assert await sender.live("live.kill", match, {"kills": 1}, n=1) == []
        postgres.refuse()
        answers = [
            await spectator.ask(op="join", room=f"match:{match}")
            for match in ("hidden", "never-scheduled")
        ]
        assert [each["code"] for each in answers] == ["unavailable", "unavailable"]
        # Whoever sees the present, and what is due, goes on.
        assert (await organiser.ask(op="join", room="match:hidden"))["op"] == "joined"

        async def joined() -> bool:
            answer = await spectator.ask(op="join", room=ROOM)
            return bool(answer["op"] == "joined" and answer["offset"])

        await eventually(joined)


@pytest.mark.proof
async def test_a_fresh_token_of_a_lower_role_takes_the_present_away(place: Place) -> None:
    settings = place.hub.settings
    async with place.playing() as sender:
        await place.until_public()
        async with viewer(place.hub.url, user_token(settings, "ORGANIZER", sub="eva")) as raw:
            await raw.ask(op="join", room=ROOM)
            await raw.ask(op="auth", token=user_token(settings, "SPECTATOR", sub="eva"))
            await raw.hear_op("snapshot")
            sent_s = time.monotonic()
            await sender.fact("match.started", "final")
            await sender.live("live.kill", "final", {"kills": 1}, n=1)
            while (await raw.hear_op("event"))["type"] != "live.kill":
                pass
            assert time.monotonic() - sent_s >= DELAY_S
            await raw.ask(op="auth", token=user_token(settings, "ADMIN", sub="eva"))
            # What is sent before the present begins is in its state, not an event.
            await raw.hear_op("snapshot")
            sent_s = time.monotonic()
            await sender.live("live.kill", "final", {"kills": 2}, n=2)
            while (await raw.hear_op("event"))["data"].get("n") != 2:
                pass
            assert time.monotonic() - sent_s < DELAY_S


async def test_a_delay_cannot_be_asked_for_later(place: Place) -> None:
    async with place.playing() as sender:
        same = {"game": "chess", "competitors": COMPETITORS}
        assert await sender.fact("match.scheduled", "final", **same) == []
        (nack,) = await sender.fact("match.scheduled", "final", **same, delay_s=DELAY_S + 1)
        assert (nack["code"], nack["field"]) == ("invalid_transition", "delay_s")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
