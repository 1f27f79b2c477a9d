"""A client's own pace: never over its share of the hub's limit, and in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.bucket import Bucket
from protocol.client import Viewer
from protocol.pace import Pace
from tests.hubs import running_hub, user_token
from tests.protocol.fake_hub import FakeHub, NoWait, token

LIMITS = {"messages_per_s": 10.0, "message_burst": 20}


@given(st.lists(st.floats(0, 1), max_size=80), st.floats(0.5, 50), st.integers(1, 40))
def test_the_pace_never_breaks_the_limit(gaps: list[float], rate: float, burst: int) -> None:
    pace, bucket = Pace(rate, burst), Bucket(rate, burst + 1e-6, 0.0)
    now_s = sent_s = 0.0
    for gap_s in gaps:
        now_s += gap_s
        before_s, sent_s = sent_s, now_s + pace.wait_s(now_s)
        assert sent_s >= before_s - 1e-9
        assert bucket.take(sent_s + 1e-6) == 1


@pytest.mark.parametrize("limits", [None, {}, {"messages_per_s": "x"}, {"messages_per_s": 10}, 7])
def test_without_limits_everything_goes_at_once(limits: Any) -> None:
    pace = Pace.of(limits)
    assert [pace.wait_s(0.0) for _ in range(100)] == [0.0] * 100


def test_the_share_of_a_socket() -> None:
    pace = Pace.of(LIMITS)
    waits = [pace.wait_s(0.0) for _ in range(12)]
    assert waits[:10] == [0.0] * 10
    assert waits[10:] == pytest.approx([0.2, 0.4])


async def test_many_rooms_are_joined_at_the_hubs_pace(fake_hub: FakeHub) -> None:
    fake_hub.limits = {"messages_per_s": 40.0, "message_burst": 4}
    async with Viewer(fake_hub.url, token("u1"), dice=NoWait()) as watch:
        began_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(watch.join(f"match:m{number}") for number in range(6)))
        # Two at once, then twenty a second: the sixth comes at 0.2 s. uvloop counts whole ms.
        took_s = asyncio.get_running_loop().time() - began_s
        assert round(took_s * 1000) >= 199


async def test_a_viewer_of_many_rooms_is_never_refused(database_url: str, redis_url: str) -> None:
    async with (
        running_hub(database_url, redis_url, ws_rate_exempt_cidrs="", ws_rate_msg_rps=100.0) as hub,
        Viewer(hub.url, user_token(hub.settings)) as watch,
    ):
        for number in range(30):
            await watch.join(f"tournament:t{number}")
        counts = hub.hub.gate.caps.counts
        assert sum(each.startswith("room:") for each in counts) == 30
