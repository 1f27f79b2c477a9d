"""One client's way to a hub: the address, the token, one connection at a time, when to retry."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from domain.errors import InvalidSchema
from protocol.errors import ConnectionRefused
from protocol.reconnect import HubSaid, Plan, after_close, after_refusal, backoff_s

TokenSource = str | Callable[[], str | Awaitable[str]]

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 3.0
# A hub that does not answer a WebSocket ping for so long is taken for gone.
PING_INTERVAL_S = 5.0
PING_TIMEOUT_S = 10.0
# Largest message taken from a hub: a `joined` with a full history of large events.
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
# What may go wrong on the way without being final.
LOST = (ConnectionClosed, InvalidHandshake, OSError, EOFError, TimeoutError)


def socket_url(url: str, path: str) -> str:
    """`http://host:8000` or `ws://...` -> the socket's address; raises InvalidSchema."""
    parts = urlsplit(url)
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise InvalidSchema(f"url must look like http://host:8000, not {url!r}", field="url")
    base = parts.path.rstrip("/")
    whole = base if base.endswith(path) else base + path
    return urlunsplit((schemes[parts.scheme], parts.netloc, whole, "", ""))


class Link:
    """Connects to `path` of a hub. `token`: text, or a function (async or not) that gives one.

    A token function may raise OSError or TimeoutError for "try again"; what else it raises ends the
    client.
    """

    def __init__(
        self,
        url: str,
        path: str,
        token: TokenSource,
        *,
        subprotocols: Sequence[str] = (),
        ping_timeout_s: float = PING_TIMEOUT_S,
        dice: random.Random | None = None,
    ) -> None:
        self.url = socket_url(url, path)
        self.said: HubSaid | None = None
        self.last_problem = "nothing was tried yet"
        self._token = token
        self._subprotocols = [Subprotocol(name) for name in subprotocols]
        self._ping_timeout_s = ping_timeout_s
        self._dice = dice or random.Random()
        self._attempt = 0
        self._known = False

    async def connect(self) -> ClientConnection:
        """One try; raises one of LOST, to be handed to `failed`."""
        token = self._token
        if not isinstance(token, str):
            made = token()
            token = await made if inspect.isawaitable(made) else made
        self.said = None
        return await connect(
            self.url,
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=self._subprotocols or None,
            compression=None,
            proxy=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=self._ping_timeout_s,
            max_size=MESSAGE_BYTES_MAX,
        )

    def welcomed(self) -> None:
        """The hub greeted: later losses are retried from the shortest delay."""
        self._attempt = 0
        self._known = True

    def heard_error(self, message: dict[str, Any]) -> None:
        """Remembers an `error` message: it explains the close that may follow."""
        after = message.get("retry_after_ms")
        self.said = HubSaid(
            str(message.get("code", "refused")),
            str(message.get("message", "")),
            after if isinstance(after, int) else None,
        )

    def failed(self, error: Exception) -> Plan:
        """What to do after one of LOST; raises ConnectionRefused when trying again is pointless."""
        attempt, self._attempt = self._attempt, self._attempt + 1
        if isinstance(error, ConnectionClosed):
            closed = error.rcvd
            code, reason = (closed.code, closed.reason) if closed else (None, "")
            self.last_problem = f"closed with {code}: {reason}" if code else "connection lost"
            plan = after_close(code, reason, self.said, attempt, self._dice)
        elif isinstance(error, InvalidStatus):
            response = error.response
            self.last_problem = f"HTTP {response.status_code}"
            plan = after_refusal(
                response.status_code,
                response.headers.get("Retry-After"),
                attempt,
                self._dice,
                known=self._known,
            )
        else:
            self.last_problem = str(error) or type(error).__name__
            plan = Plan(backoff_s(attempt, self._dice))
        if plan.fresh_token and isinstance(self._token, str):
            raise ConnectionRefused("token_expired", "the token has ended", close_code=4002)
        return plan
