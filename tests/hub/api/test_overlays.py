"""/api/v1/overlays: made, listed with the same address each time, taken away; by whom."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from yarl import URL

from domain.overlays import OVERLAYS_MAX
from hub.auth import Authenticator
from services import overlays as keeping
from tests.hub.api.serving import Client, bearer, serving

PLAYER = {"role": "PLAYER", "sub": "ann"}


async def made(client: Client, *, status: int = 201, **body: Any) -> dict[str, Any]:
    wish = {"kind": "scoreboard", "match": "cup/final", **body}
    async with client.post("/api/v1/overlays", json=wish, headers=bearer(**PLAYER)) as answer:
        assert answer.status == status, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def listed(client: Client, **claims: Any) -> list[dict[str, Any]]:
    async with client.get("/api/v1/overlays", headers=bearer(**{**PLAYER, **claims})) as answer:
        assert answer.status == 200
        found: list[dict[str, Any]] = (await answer.json())["overlays"]
        return found


async def test_made_and_listed(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        first = await made(client, title="Final", options={"theme": "light", "scale": 1.25})
        second = await made(client, kind="feed")
        mine = await made(client, kind="player", match=None)
        assert await listed(client) == [mine, second, first]
        assert await listed(client, sub="bob") == []

        url = URL(first["url"], encoded=True)
        assert url.raw_path == "/overlay/scoreboard/cup%2Ffinal"
        assert (url.query["theme"], url.query["scale"]) == ("light", "1.25")
        assert str(url).endswith(first["path"])
        assert first["preview_path"] == first["path"] + "&preview=1"
        assert mine["path"].startswith("/overlay/player/ann?")

        door = client.server.app  # type: ignore[attr-defined]
        auth: Authenticator = next(v.auth for v in door.values() if hasattr(v, "auth"))
        who = await auth.verify(url.query["token"])
        assert (who.kind, who.subject, who.token_id) == ("overlay", "ann", first["id"])
        assert who.overlay_room == "match:cup/final"
        assert who.expires_at_s - who.issued_at_s == 365 * 86_400


async def test_taken_away(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        first, second = await made(client), await made(client, kind="feed")
        path = f"/api/v1/overlays/{first['id']}"
        for claims, status in [
            ({"role": "PLAYER", "sub": "bob"}, 404),
            ({"role": "SPECTATOR", "sub": "ann"}, 403),
            (PLAYER, 200),
            (PLAYER, 404),
        ]:
            async with client.delete(path, headers=bearer(**claims)) as answer:
                assert answer.status == status
                body = await answer.json()
                assert status != 404 or body["error"]["code"] == "unknown_overlay"
        assert [each["id"] for each in await listed(client)] == [second["id"]]
        admin = bearer(role="ADMIN", sub="eve")
        async with client.delete(f"/api/v1/overlays/{second['id']}", headers=admin) as answer:
            assert answer.status == 200
        assert await listed(client) == []
    async with pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT actor, role, action, target_id FROM audit.entries WHERE action LIKE 'overlay.%'"
        )
    assert sorted(map(tuple, rows)) == sorted(
        [
            ("user:ann", "PLAYER", "overlay.created", first["id"]),
            ("user:ann", "PLAYER", "overlay.created", second["id"]),
            ("user:ann", "PLAYER", "overlay.revoked", first["id"]),
            ("user:eve", "ADMIN", "overlay.revoked", second["id"]),
        ]
    )
    async with pool.acquire() as conn:
        revoked = await conn.fetch("SELECT token_id, revoked_by FROM tokens.revocations")
    assert sorted(map(tuple, revoked)) == sorted(
        [(first["id"], "user:ann"), (second["id"], "user:eve")]
    )


async def test_what_is_no_id_is_refused_before_anyone_looks(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        for path in ("%00", "a%2F%2Fb", "%7B%7D"):
            url = URL(f"/api/v1/overlays/{path}", encoded=True)
            async with client.delete(url, headers=bearer(**PLAYER)) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]["field"] == "id"


@pytest.mark.parametrize(
    "claims",
    [
        {"role": "SPECTATOR"},
        {"kind": "server", "scope": ["ingest", "match:create"]},
        {"kind": "overlay", "subject": "match:cup/final"},
    ],
    ids=["spectator", "server", "overlay"],
)
async def test_who_may_not(pool: asyncpg.Pool, claims: dict[str, Any]) -> None:
    wish = {"kind": "scoreboard", "match": "cup/final"}
    async with serving(pool) as client:
        headers = bearer(**claims)
        async with client.post("/api/v1/overlays", json=wish, headers=headers) as answer:
            assert answer.status == 403
        async with client.get("/api/v1/overlays", headers=headers) as answer:
            assert answer.status == 403
        assert await listed(client) == []


async def test_the_next_over_the_limit_is_refused_however_they_come(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        for _ in range(OVERLAYS_MAX - 1):
            await made(client)

        async def one() -> int:
            wish = {"kind": "feed", "match": "m1"}
            headers = bearer(**PLAYER)
            async with client.post("/api/v1/overlays", json=wish, headers=headers) as answer:
                return answer.status

        assert sorted(await asyncio.gather(one(), one(), one())) == [201, 409, 409]
        assert len(await listed(client)) == OVERLAYS_MAX


async def test_nobody_fills_the_revocations_by_making_and_taking_away(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have one limit for everyone: at it no token at all could be revoked any more."""
    monkeypatch.setattr(keeping, "GONE_MAX", 3)
    async with serving(pool) as client:

        async def take_away(overlay: dict[str, Any]) -> int:
            path = f"/api/v1/overlays/{overlay['id']}"
            async with client.delete(path, headers=bearer(**PLAYER)) as answer:
                return answer.status

        kept = await made(client)
        for _ in range(3):
            assert await take_away(await made(client)) == 200
        refused = await made(client, status=409)
        assert refused["error"]["code"] == "limit_reached"
        assert await take_away(kept) == 200  # what is there can always be taken away
        for claims in ({"sub": "bob"}, {"role": "ADMIN"}):
            headers = bearer(**{**PLAYER, **claims})
            wish = {"kind": "feed", "match": "m1"}
            async with client.post("/api/v1/overlays", json=wish, headers=headers) as answer:
                assert answer.status == 201
        async with pool.acquire() as conn:
            await conn.execute("UPDATE tokens.revocations SET kept_until = clock_timestamp()")
        await made(client)


async def test_without_a_signing_key_nothing_is_stored(pool: asyncpg.Pool) -> None:
    async with serving(pool, jwt_signing_key_file=None) as client:
        refused = await made(client, status=403)
        assert "JWT_SIGNING_KEY_FILE" in refused["error"]["message"]
        assert await listed(client) == []


async def test_an_overlay_reads_its_own_match_and_no_other(pool: asyncpg.Pool) -> None:
    async with serving(pool) as client:
        for match in ("cup/final", "cup/other"):
            body = {"id": match, "game": "go", "competitors": [{"id": "a", "name": "A"},
                    {"id": "b", "name": "B"}]}  # fmt: skip
            headers = bearer(role="ORGANIZER")
            async with client.post("/api/v1/matches", json=body, headers=headers) as answer:
                assert answer.status == 201
        token = bearer(kind="overlay", subject="match:cup/final")
        for path, status in [
            ("/api/v1/matches/cup%2Ffinal", 200),
            ("/api/v1/matches/cup/final", 200),
            ("/api/v1/matches/cup%2Fother", 403),
            ("/api/v1/matches/none", 403),
            ("/api/v1/matches", 403),
        ]:
            async with client.get(URL(path, encoded=True), headers=token) as answer:
                assert answer.status == status, path
