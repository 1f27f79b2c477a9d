"""Which tokens are dead before their time: revoked ones, as every hub keeps them in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from domain.errors import TokenRevoked
from domain.events import Principal

# No token may live longer than this from iat to exp, leeway left out. So a revocation need not be
# kept for ever: after this time and KEPT_LONGER_S nothing that it is about can still be valid.
TOKEN_LIFE_MAX_S = 400 * 86_400
# More than the largest JWT_LEEWAY_SECONDS, and room for clocks that differ.
KEPT_LONGER_S = 3600
# Revocations in force at once; the next is refused: revoke users rather than tokens one by one, or
# replace the signing key. A hub keeps about 250 bytes of each.
REVOCATIONS_MAX = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One token (`token_id`, its jti), or all of a subject's with iat <= issued_until_s.

    By subject means every token with that `sub`, of whatever kind. Times are s since the epoch.
    """

    seq: int
    token_id: str | None = None
    subject: str | None = None
    issued_until_s: float = 0.0
    kept_until_s: float = 0.0


@dataclass(slots=True)
class Revoked:
    """All revocations in force: at most REVOCATIONS_MAX."""

    _tokens: dict[str, float] = field(default_factory=dict)
    _subjects: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._tokens) + len(self._subjects)

    def add(self, revocation: Revocation) -> None:
        """Takes one in; what is dead stays dead, in whatever order they come."""
        if revocation.token_id is not None:
            kept = self._tokens.get(revocation.token_id, 0.0)
            self._tokens[revocation.token_id] = max(kept, revocation.kept_until_s)
        if revocation.subject is not None:
            until, kept = self._subjects.get(revocation.subject, (float("-inf"), 0.0))
            self._subjects[revocation.subject] = (
                max(until, revocation.issued_until_s),
                max(kept, revocation.kept_until_s),
            )

    def check(self, who: Principal) -> None:
        """Raises TokenRevoked when this token, or its subject at that time, was revoked.

        Only the token at hand counts: a session that goes on with a fresh one lives on
        (contract: Tokens).
        """
        if who.token_id in self._tokens:
            raise TokenRevoked("the token was revoked")
        until = self._subjects.get(who.subject)
        if until is not None and who.issued_at_s <= until[0]:
            raise TokenRevoked("this subject's tokens were revoked")

    def forget_ended(self, now_s: float) -> None:
        """Drops what is about tokens that have all ended."""
        self._tokens = {name: kept for name, kept in self._tokens.items() if kept > now_s}
        self._subjects = {name: times for name, times in self._subjects.items() if times[1] > now_s}


def kept_until_s(now_s: float, token_ends_at_s: float | None = None) -> float:
    """Until when a revocation made now is needed: the token's end where that is known."""
    longest_s = now_s + TOKEN_LIFE_MAX_S
    ends_s = longest_s if token_ends_at_s is None else min(token_ends_at_s, longest_s)
    return ends_s + KEPT_LONGER_S
