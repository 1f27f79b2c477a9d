"""The measurement of the limits' cost: it counts what it says, on a real hub."""

from __future__ import annotations

import pytest

from gamehub import bench_limits
from tests.hubs import running_hub, user_token


@pytest.mark.proof
async def test_a_round_counts_messages_and_leases(database_url: str, redis_url: str) -> None:
    exempt = f"{bench_limits.EXEMPT}/32"
    async with running_hub(
        database_url, redis_url, ws_rate_exempt_cidrs=exempt, ws_rate_conn_per_ip=0
    ) as hub:
        tokens = [user_token(hub.settings, sub=f"bench-{number}") for number in range(5)]
        for limited in (True, False):
            cost = await bench_limits.measure(
                hub.url, redis_url, tokens, limited=limited, rate=8.0, seconds=1.0
            )
            assert cost.messages > 20
            assert cost.refused == 0
            assert (cost.leases > 0) is limited


def test_a_session_alone_takes_some_time() -> None:
    assert bench_limits.session_alone_us(exempt=True) > 0
    assert bench_limits.session_alone_us(exempt=False) > 0
