"""POST /api/v1/session/spectate: a short token for the hub's own pages."""

from __future__ import annotations

import time
from collections import OrderedDict

from aiohttp import web
from msgspec import Struct

from domain.errors import Forbidden, RateLimited
from domain.times import time_text
from hub.api.bodies import answer
from hub.api.operations import Example, operation
from hub.auth import SPECTATOR_LIFE_S
from hub.bucket import Bucket
from hub.context import CONTEXT
from hub.peer import client_ip, is_in, network_of, networks

# A signature costs about a millisecond and needs no token, so a process gives only so many; over
# it: 429 with retry_after_ms.
TOKENS_PER_S = 100.0
TOKENS_BURST = 200.0
# The same for one address (IPv6: one network), unless it is in WS_RATE_EXEMPT_CIDRS, so that one
# visitor cannot take what all the others need. The address that asked longest ago is forgotten.
ADDRESS_TOKENS_PER_S = 2.0
ADDRESS_TOKENS_BURST = 30.0
ADDRESSES_MAX = 10_000


class Visitors:
    """How many tokens this process gives: to everyone together, and to each address.

    An address that asks for the first time in a while has its whole burst.
    """

    def __init__(self, now_s: float) -> None:
        self._all = Bucket(TOKENS_PER_S, TOKENS_BURST, now_s)
        self._each: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, ip: str | None, now_s: float) -> None:
        """Takes one for this address (None: exempt); raises RateLimited when there is none."""
        buckets = [self._all] if ip is None else [self._of(ip, now_s), self._all]
        for bucket in buckets:
            if not bucket.take(now_s):
                raise RateLimited(
                    "too many visitors at once; try again", retry_after_ms=bucket.wait_ms(now_s)
                )

    def _of(self, ip: str, now_s: float) -> Bucket:
        own = self._each.pop(ip, None) or Bucket(ADDRESS_TOKENS_PER_S, ADDRESS_TOKENS_BURST, now_s)
        self._each[ip] = own
        if len(self._each) > ADDRESSES_MAX:
            self._each.popitem(last=False)
        return own


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
async def spectate(request: web.Request, visitors: Visitors) -> web.Response:
    """A 10-minute SPECTATOR token with a fresh subject, where PUBLIC_SPECTATING allows it.

    Else 403 forbidden_action (contract: Tokens).
    """
    context = request.app[CONTEXT]
    if context.settings.public_spectating:
        ip = client_ip(request)
        exempt = is_in(ip, networks(context.settings.ws_rate_exempt_cidrs))
        visitors.take(None if exempt else network_of(ip), time.monotonic())
    token, expires_at_s, subject = context.auth.sign_spectator(time.time())
    return answer(
        {
            "token": token,
            "expires_at": time_text(expires_at_s * 1000),
            "expires_in_s": SPECTATOR_LIFE_S,
            "subject": subject,
        }
    )
