"""A result tells its users what they have reached: on their own socket and on their overlay."""

from __future__ import annotations

from tests.facts import TEAMS, now_text
from tests.hubs import HubProcess, running_hub, server_token, settings_for, user_token
from tests.sockets import server, viewer


async def test_totals_reach_users_and_overlays_on_two_hubs(
    database_url: str, redis_url: str
) -> None:
    async with (
        running_hub(database_url, redis_url) as first,
        running_hub(database_url, redis_url) as second,
        HubProcess(settings_for(database_url, redis_url), "worker"),
        server(first.url, server_token(first.settings)) as sender,
        viewer(first.url, user_token(first.settings, "PLAYER", "ann")) as near,
        viewer(second.url, user_token(second.settings, "PLAYER", "ann")) as far,
        viewer(second.url, user_token(second.settings, "ADMIN", "eve")) as admin,
    ):
        for own in (near, far):
            assert (await own.ask(op="join", room="user:ann"))["op"] == "joined"
            assert (await own.ask(op="join", room="user:bob"))["code"] == "forbidden_action"
        assert (await admin.ask(op="join", room="overlay:bob"))["op"] == "joined"

        assert not await sender.fact("match.started", "m1", game="chess", competitors=TEAMS)
        assert not await sender.fact("match.completed", "m1", played_at=now_text(), winner_id="red")

        shown = [await each.hear_op("event") for each in (near, far, admin)]
    for event in shown:
        assert event["type"] == "stats.updated"
        assert event["data"]["stats"] == {
            "tournaments_played": 0,
            "matches_won": 1,
            "current_rank": None,
        }
    assert shown[0] == shown[1]
    assert shown[0]["data"]["user"] == {"username": "ann", "display_name": "ann"}
    assert shown[2]["data"]["user"] == {"username": "bob", "display_name": "bob"}
