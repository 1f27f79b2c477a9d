"""Which tokens are dead: by jti, by subject and time, in whatever order it was heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import TokenRevoked
from domain.events import Principal, Role, TokenKind
from domain.tokens import KEPT_LONGER_S, TOKEN_LIFE_MAX_S, Revocation, Revoked, kept_until_s

NAMES = st.sampled_from(["a", "b", "c"])
TIMES = st.integers(0, 20)
BY_JTI = st.builds(
    lambda seq, jti: Revocation(seq=seq, token_id=jti, kept_until_s=99), TIMES, NAMES
)
BY_SUBJECT = st.builds(
    lambda seq, sub, until: Revocation(
        seq=seq, subject=sub, issued_until_s=until + 0.5, kept_until_s=99
    ),
    TIMES,
    NAMES,
    TIMES,
)


def token(subject: str, jti: str, iat: int, kind: TokenKind = "user") -> Principal:
    return Principal(subject=subject, kind=kind, role=Role.SPECTATOR, issued_at_s=iat, token_id=jti)


def dead(revoked: Revoked, who: Principal) -> bool:
    try:
        revoked.check(who)
    except TokenRevoked:
        return True
    return False


@given(st.lists(BY_JTI | BY_SUBJECT, max_size=12), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_say_the_same(heard: list[Revocation], random: object) -> None:
    once, again = Revoked(), Revoked()
    shuffled = [*heard, *heard]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for each in heard:
        once.add(each)
    for each in shuffled:
        again.add(each)
    for subject in "abc":
        for jti in "abc":
            for iat in range(22):
                who = token(subject, jti, iat)
                expected = any(
                    each.token_id == jti or (each.subject == subject and iat <= each.issued_until_s)
                    for each in heard
                )
                assert dead(once, who) is dead(again, who) is expected
    assert len(once) == len(again) <= 6


@pytest.mark.parametrize("kind", ["user", "server", "overlay"])
def test_a_subject_s_tokens_are_dead_whatever_their_kind(kind: TokenKind) -> None:
    revoked = Revoked()
    revoked.add(Revocation(seq=1, subject="ann", issued_until_s=100.2, kept_until_s=1e9))
    assert dead(revoked, token("ann", "x", 100, kind))
    assert not dead(revoked, token("ann", "x", 101, kind))
    assert not dead(revoked, token("bob", "x", 100, kind))


def test_what_has_ended_is_forgotten_and_nothing_else() -> None:
    revoked = Revoked()
    for name, kept in (("old", 10.0), ("new", 20.0)):
        revoked.add(Revocation(seq=1, token_id=name, kept_until_s=kept))
        revoked.add(Revocation(seq=1, subject=name, issued_until_s=5, kept_until_s=kept))
    revoked.forget_ended(10.0)
    assert len(revoked) == 2
    assert dead(revoked, token("x", "new", 9))
    assert dead(revoked, token("new", "x", 5))
    assert not dead(revoked, token("old", "old", 5))


@given(st.integers(0, 2**33), st.none() | st.integers(0, 2**34))
def test_a_revocation_is_kept_for_longer_than_its_token_lives(now: int, ends: int | None) -> None:
    longest = now + TOKEN_LIFE_MAX_S
    kept = kept_until_s(now, ends)
    assert kept == min(longest, longest if ends is None else ends) + KEPT_LONGER_S
