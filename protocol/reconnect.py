"""When and how a client comes back after its connection ended: the contract's table, pure."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from protocol.errors import ConnectionRefused
from protocol.outbound import CLOSE_DRAINING, CLOSE_POLICY, RECONNECT

# Full jitter: uniform between the floor and a ceiling that doubles up to the maximum, so that a
# crowd that lost its hub together does not return together (contract: Sockets for viewers).
BACKOFF_FLOOR_S = 0.5
BACKOFF_MAX_S = 20.0
# No delay that a hub asks for is obeyed beyond this.
ASKED_DELAY_MAX_S = 120.0
NO_CLOSE_CODE = 1006


@dataclass(frozen=True, slots=True)
class HubSaid:
    """The last `error` that a hub sent before it closed."""

    code: str
    message: str
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next: wait and come back, with a fresh token where asked."""

    delay_s: float
    fresh_token: bool = False


def backoff_s(attempt: int, dice: random.Random) -> float:
    """Seconds before try `attempt` (0 for the first one after a loss)."""
    ceiling = min(BACKOFF_MAX_S, BACKOFF_FLOOR_S * 2.0 ** min(attempt + 1, 16))
    return dice.uniform(BACKOFF_FLOOR_S, ceiling)


def after_close(
    close_code: int | None, reason: str, said: HubSaid | None, attempt: int, dice: random.Random
) -> Plan:
    """The plan after a closed connection; raises ConnectionRefused when the hub said no for good.

    `close_code` is None where the connection broke without a close frame.
    """
    code = NO_CLOSE_CODE if close_code is None else close_code
    rule = RECONNECT.get(code, "backoff")
    if rule == "no":
        text = (said.message if said else "") or reason or f"the hub closed with {code}"
        raise ConnectionRefused(said.code if said else "refused", text, close_code=code)
    delay_s = backoff_s(attempt, dice)
    if code == CLOSE_DRAINING:
        delay_s = _asked_s(reason, delay_s)
    elif code == CLOSE_POLICY:
        asked = "" if said is None or said.retry_after_ms is None else str(said.retry_after_ms)
        delay_s = _asked_s(asked, max(delay_s, 1.0))
    return Plan(delay_s, fresh_token=rule == "token")


def after_refusal(
    status: int, retry_after: str | None, attempt: int, dice: random.Random, *, known: bool
) -> Plan:
    """The plan after an HTTP answer instead of an upgrade; raises ConnectionRefused.

    401 and 403 are final. Other 4xx are final unless the hub was there before (`known`): a proxy
    answers so while a hub restarts. The rest is retried, after Retry-After where it is given.
    """
    if status in (401, 403) or (400 <= status < 500 and status != 429 and not known):
        codes = {401: "unauthenticated", 403: "forbidden_action"}
        text = f"the door answered HTTP {status}; is this the address of a gamehub?"
        raise ConnectionRefused(codes.get(status, "refused"), text)
    delay_s = backoff_s(attempt, dice)
    if retry_after is not None and retry_after.strip().isdigit():
        delay_s = max(delay_s, min(int(retry_after), ASKED_DELAY_MAX_S))
    return Plan(delay_s)


def _asked_s(text: str, otherwise: float) -> float:
    found = re.search(r"\d{1,9}", text)
    return otherwise if found is None else min(int(found[0]) / 1000, ASKED_DELAY_MAX_S)
