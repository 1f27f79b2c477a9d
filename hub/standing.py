"""What this node knows of tokens and people that changes while they are connected."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Protocol

import asyncpg
import structlog
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.events import NO_ROLES, Principal, Role, TournamentRoles
from domain.tokens import Revoked
from storage import tokens, tournaments
from storage.database import Connection, answering
from storage.ending import end
from storage.redis import AWAY, STANDING_CHANNEL, listening

log = structlog.get_logger(__name__)

# Postgres is asked every so often, and at once when Redis says so: with Redis away a revoked
# token's sockets are closed within 5 s, the query included (contract: Tokens).
POLL_S = 4.0
LOOK_TIMEOUT_S = 4.0
# Before the first answer no token is good, so that it is asked for sooner.
FIRST_POLL_S = 0.25
FIRST_LOOK_TIMEOUT_S = 2.0
FORGET_EVERY_S = 60.0
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 1.0
RETRY_AFTER_MS = 1000


class Holder(Protocol):
    """An open socket with a token."""

    @property
    def who(self) -> Principal | None:
        """Whose token it has now."""

    def standing_changed(self) -> None:
        """Its token may be revoked, or its user's roles have changed."""


class Standing:
    """Revoked tokens and roles within tournaments, whole in memory; one per hub process.

    Bounded by what services/tokens and services/tournaments let in. Until they were read for the
    first time no token is good; afterwards an outage of Postgres keeps what is known. `now` gives
    seconds since the epoch.
    """

    def __init__(
        self, pool: asyncpg.Pool, ear: Redis, *, now: Callable[[], float] = time.time
    ) -> None:
        self._now = now
        self._pool = pool
        self._ear = ear
        self._revoked = Revoked()
        self._roles: dict[str, TournamentRoles] = {}
        self._revoked_seq: int | None = None
        self._roles_seq = 0
        self._holders: set[Holder] = set()
        self._looking = asyncio.Lock()
        self._look_wanted = asyncio.Event()
        self._forget_at_s = 0.0
        self._failing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Reads everything once if Postgres answers soon, and goes on in the background."""
        await self._look_once(FIRST_LOOK_TIMEOUT_S)
        self._tasks = [
            asyncio.create_task(self._poll(), name="standing"),
            asyncio.create_task(self._listen(), name="standing-ear"),
        ]

    async def stop(self) -> None:
        """Stops both."""
        await end(self._tasks)

    # -- what doors and sockets ask ---------------------------------------------------------------

    def check(self, who: Principal) -> None:
        """Raises TokenRevoked, or Unavailable while nothing is known yet (fail closed)."""
        if self._revoked_seq is None:
            raise Unavailable(
                "it is not known yet which tokens are revoked; try again",
                retry_after_ms=RETRY_AFTER_MS,
            )
        self._revoked.check(who)

    def roles_of(self, who: Principal) -> TournamentRoles:
        """What a user is within tournaments, as of the last look; only users are anything."""
        return self._roles.get(who.subject, NO_ROLES) if who.kind == "user" else NO_ROLES

    def watch(self, holder: Holder) -> None:
        """Tells this socket when its token or its user's roles change."""
        self._holders.add(holder)

    def forget(self, holder: Holder) -> None:
        """The socket is gone."""
        self._holders.discard(holder)

    async def catch_up(self) -> None:
        """Something was changed here: this node knows it before it answers. Never raises."""
        await self._look_once(LOOK_TIMEOUT_S)

    @property
    def kept(self) -> int:
        """How many revocations are in memory."""
        return len(self._revoked)

    @property
    def watched(self) -> int:
        """How many sockets would hear of a change."""
        return len(self._holders)

    # -- looking ----------------------------------------------------------------------------------

    async def _poll(self) -> None:
        while True:
            known = self._revoked_seq is not None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if known else FIRST_POLL_S):
                    await self._look_wanted.wait()
            # What is asked for while this look is under way needs another one.
            self._look_wanted.clear()
            await self._look_once(LOOK_TIMEOUT_S)

    async def _look_once(self, timeout_s: float) -> None:
        """One look; a failure is logged when it is the first in a row."""
        try:
            with answering():
                async with asyncio.timeout(timeout_s):
                    await self.look()
        except Unavailable as error:
            if not self._failing:
                log.warning("standing_unknown", error=error.message)
            self._failing = True
        except Exception:
            # Not migrated yet, say: there must be a next look all the same.
            if not self._failing:
                log.exception("standing_unknown")
            self._failing = True
        else:
            self._succeeded()

    def _succeeded(self) -> None:
        if self._failing:
            log.info("standing_known", revoked=self.kept, sockets=self.watched)
        self._failing = False

    async def look(self) -> None:
        """Asks Postgres what is new, and tells the sockets that it is about; one at a time."""
        async with self._looking, self._pool.acquire() as conn:
            if self._revoked_seq is None:
                # Doors open with the revocations, and people should not be less than they are.
                await self._look_at_roles(conn)
                await self._look_at_revocations(conn)
            else:
                await self._look_at_revocations(conn)
                await self._look_at_roles(conn)
        now_s = self._now()
        if now_s >= self._forget_at_s:
            self._forget_at_s = now_s + FORGET_EVERY_S
            self._revoked.forget_ended(now_s)

    async def _look_at_revocations(self, conn: Connection) -> None:
        head, known = await tokens.head(conn), self._revoked_seq or 0
        if head < known:  # an older database came back; what is dead here stays dead
            known = 0
        token_ids: set[str | None] = set()
        subjects: set[str | None] = set()
        while known < head:
            rows = await tokens.since(conn, known)
            for row in rows:
                self._revoked.add(row)
                token_ids.add(row.token_id)
                subjects.add(row.subject)
            known = rows[-1].seq if len(rows) == tokens.READ_MAX else head
        self._revoked_seq = known
        self._tell(lambda who: who.token_id in token_ids or who.subject in subjects)

    async def _look_at_roles(self, conn: Connection) -> None:
        head, known = await tournaments.head(conn), self._roles_seq
        changed: dict[str, dict[str, Role | None]] = {}
        roles = self._roles
        if head < known:  # an older database came back: everything is read again
            changed, known, roles = {user_id: {} for user_id in self._roles}, 0, {}
        while known < head:
            rows = await tournaments.since(conn, known)
            for row in rows:
                changed.setdefault(row.user_id, {})[row.tournament_id] = row.role
            known = rows[-1].seq if len(rows) == tournaments.READ_MAX else head
        for user_id, news in changed.items():
            merged = {**roles.get(user_id, {}), **news}
            now = {name: role for name, role in merged.items() if role is not None}
            if now:
                roles[user_id] = now
            else:
                roles.pop(user_id, None)
        self._roles, self._roles_seq = roles, known
        self._tell(lambda who: who.kind == "user" and who.subject in changed)

    def _tell(self, concerns: Callable[[Principal], bool]) -> None:
        for holder in list(self._holders):
            if holder.who is not None and concerns(holder.who):
                holder.standing_changed()

    # -- listening --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                async with listening(self._ear, STANDING_CHANNEL) as pubsub:
                    while True:
                        # The first message confirms the subscription: what was said before it was
                        # missed, so that it means a look as well.
                        await pubsub.get_message(timeout=None)
                        self._look_wanted.set()
                        backoff_s = BACKOFF_FIRST_S
            except AWAY as error:
                log.warning("standing_ear_lost", error=f"{type(error).__name__}: {error}")
            except Exception:
                log.exception("standing_ear_failed")
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
