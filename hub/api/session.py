"""POST /api/v1/session/spectate: a short token for the hub's own pages."""

from __future__ import annotations

import time

from aiohttp import web
from msgspec import Struct

from domain.errors import Forbidden, RateLimited
from domain.times import time_text
from hub.api.bodies import answer
from hub.api.operations import Example, operation
from hub.auth import SPECTATOR_LIFE_S
from hub.context import CONTEXT

# A signature costs about a millisecond and needs no token, so a process gives only so many; over
# it: 429 with retry_after_ms.
TOKENS_PER_S = 100.0
TOKENS_BURST = 200.0


class Bucket:
    """A token bucket of one process; `now_s` is monotonic seconds."""

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._left = burst
        self._at_s = now_s

    def take(self, now_s: float) -> None:
        """Takes one; raises RateLimited when there is none."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if self._left < 1:
            raise RateLimited(
                "too many visitors at once; try again",
                retry_after_ms=round((1 - self._left) / self._rate_per_s * 1000) + 1,
            )
        self._left -= 1


class SpectatorToken(Struct, kw_only=True):
    """A token of a fresh subject, and when it ends."""

    token: str
    expires_at: str
    expires_in_s: int
    subject: str


@operation(
    tag="session",
    who="nobody",
    answers={200: SpectatorToken},
    errors=(Forbidden, RateLimited),
    example=Example(
        answer={
            "token": "<token>",
            "expires_at": "2026-03-01T18:12:10.000Z",
            "expires_in_s": SPECTATOR_LIFE_S,
            "subject": "spectator-5b1f0e8d2c114c3a",
        }
    ),
)
async def spectate(request: web.Request, bucket: Bucket) -> web.Response:
    """A 10-minute SPECTATOR token with a fresh subject, where PUBLIC_SPECTATING allows it.

    Else 403 forbidden_action (contract: Tokens).
    """
    context = request.app[CONTEXT]
    if context.settings.public_spectating:
        bucket.take(time.monotonic())
    token, expires_at_s, subject = context.auth.sign_spectator(time.time())
    return answer(
        {
            "token": token,
            "expires_at": time_text(expires_at_s * 1000),
            "expires_in_s": SPECTATOR_LIFE_S,
            "subject": subject,
        }
    )
