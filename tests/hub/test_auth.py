"""Tokens: what is accepted, what is refused and in which words, rotation of keys, the cache."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives import serialization

from domain.errors import Forbidden, TokenExpired, TokenInvalid, TokenRevoked
from domain.events import Principal, Role
from domain.overlays import Kind, Options, Overlay
from domain.settings import Settings
from domain.tokens import TOKEN_LIFE_MAX_S
from hub import auth, auth_keys
from hub.auth import Authenticator, token_from
from tests.hub.tokens import KEYS, NOW, Clock, claims, jwk, signed, write_jwks


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    write_jwks(path, jwk(KEYS[0], "a"))
    return path


@pytest.fixture
def door(jwks_file: Path, clock: Clock) -> Authenticator:
    settings = Settings(jwks=str(jwks_file))
    return Authenticator(settings, now=clock.now, monotonic=clock.monotonic)


# -- what a good token says -----------------------------------------------------------------------


async def test_a_users_token(door: Authenticator) -> None:
    who = await door.verify(signed())
    assert (who.subject, who.kind, who.role) == ("ana", "user", Role.PLAYER)
    assert (who.scope, who.games, who.overlay_room) == (frozenset(), None, None)
    assert (who.expires_at_s, who.token_id) == (NOW + 600, "j-1")


async def test_a_user_without_a_role_is_a_spectator(door: Authenticator) -> None:
    assert (await door.verify(signed(role=None))).role is Role.SPECTATOR


async def test_a_servers_token_acts_by_scope_and_its_role_counts_for_nothing(
    door: Authenticator,
) -> None:
    token = signed(kind="server", role="ADMIN", scope=["ingest", "import"], games=["cod", "q3"])
    who = await door.verify(token)
    assert who.role is Role.SPECTATOR
    assert who.scope == {"ingest", "import"}
    assert who.may_play("q3")
    assert not who.may_play("chess")


@pytest.mark.parametrize(
    ("subject", "room"),
    [("match:cup/1", "match:cup/1"), ("user:ana", "overlay:ana"), ("overlay:ana", "overlay:ana")],
)
async def test_an_overlays_token_shows_one_room(
    door: Authenticator, subject: str, room: str
) -> None:
    who = await door.verify(signed(kind="overlay", subject=subject, scope=["ingest"]))
    assert who.overlay_room == room
    assert who.scope == frozenset()


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"iss": "someone"}, "issuer"),
        ({"aud": "elsewhere"}, "audience"),
        ({"aud": None}, "aud"),
        ({"iss": None}, "iss"),
        ({"jti": None}, "jti"),
        ({"iat": None}, "iat"),
        ({"exp": None}, "exp"),
        ({"sub": None}, "sub"),
        ({"sub": "two words"}, "sub"),
        ({"jti": ""}, "jti"),
        ({"kind": None}, "kind"),
        ({"kind": "root"}, "kind"),
        ({"role": "GOD"}, "role"),
        ({"role": 4}, "role"),
        ({"scope": "ingest"}, "scope"),
        ({"scope": [1]}, "scope"),
        ({"scope": ["s"] * 33}, "scope"),
        ({"games": "cod"}, "games"),
        ({"games": [{"a": 1}]}, "games"),
        ({"kind": "overlay"}, "subject"),
        ({"kind": "overlay", "subject": "nowhere"}, "subject"),
        ({"kind": "overlay", "subject": 3}, "subject"),
        ({"exp": True}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"iat": NOW + 3600}, "not valid yet"),
        ({"nbf": NOW + 3600}, "not valid yet"),
        ({"nbf": "later"}, "nbf"),
    ],
)
async def test_a_bad_claim_is_named(door: Authenticator, change: dict[str, Any], word: str) -> None:
    with pytest.raises(TokenInvalid, match=word):
        await door.verify(signed(**change))


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "..", "é" * 20, "\ud800", "a" * 9000])
async def test_what_is_no_token_is_refused(door: Authenticator, text: str) -> None:
    with pytest.raises(TokenInvalid):
        await door.verify(text)


async def test_a_refusal_never_repeats_the_token(door: Authenticator) -> None:
    token = signed(KEYS[1], iss="a-very-peculiar-issuer")
    with pytest.raises(TokenInvalid) as caught:
        await door.verify(token)
    assert token[-40:] not in str(caught.value)
    assert "peculiar" not in str(caught.value)


async def test_the_public_key_used_as_a_shared_secret_is_refused(door: Authenticator) -> None:
    # The classic forgery: HS256 with the public key as the secret.
    pem = (
        KEYS[0]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )

    def part(value: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    head = part({"alg": "HS256", "kid": "a", "typ": "JWT"}) + b"." + part(claims())
    mark = base64.urlsafe_b64encode(hmac.new(pem, head, hashlib.sha256).digest()).rstrip(b"=")
    with pytest.raises(TokenInvalid, match="RS256"):
        await door.verify((head + b"." + mark).decode())


async def test_an_unsigned_token_is_refused(door: Authenticator) -> None:
    token = jwt.encode(claims(), "", algorithm="none", headers={"kid": "a"})
    with pytest.raises(TokenInvalid, match="RS256"):
        await door.verify(token)


async def test_other_rsa_algorithms_are_refused(door: Authenticator) -> None:
    token = jwt.encode(claims(), KEYS[0], algorithm="RS512", headers={"kid": "a"})
    with pytest.raises(TokenInvalid, match="RS256"):
        await door.verify(token)


async def test_a_signature_by_another_key_is_refused(door: Authenticator) -> None:
    with pytest.raises(TokenInvalid, match="signature"):
        await door.verify(signed(KEYS[1], "a"))


@pytest.mark.parametrize("kid", [None, "unknown"])
async def test_a_token_must_name_a_known_key(door: Authenticator, kid: str | None) -> None:
    with pytest.raises(TokenInvalid, match="key"):
        await door.verify(signed(kid=kid))


# -- time -----------------------------------------------------------------------------------------


async def test_the_leeway_is_sixty_seconds_on_both_sides(door: Authenticator, clock: Clock) -> None:
    await door.verify(signed(iat=NOW + 59))
    late = signed(exp=NOW - 59)
    await door.verify(late)
    clock.pass_s(1)
    with pytest.raises(TokenExpired):
        await door.verify(late)
    with pytest.raises(TokenExpired):
        await door.verify(signed(exp=NOW - 59, jti="another"))


async def test_a_remembered_token_ends_on_time(door: Authenticator, clock: Clock) -> None:
    token = signed()
    first = await door.verify(token)
    assert await door.verify(token) is first
    clock.pass_s(600 + 59)
    assert await door.verify(token) is first
    clock.pass_s(1)
    with pytest.raises(TokenExpired):
        await door.verify(token)


async def test_a_revoked_token_is_refused_fresh_and_remembered(
    jwks_file: Path, clock: Clock
) -> None:
    dead: set[str] = {"j-2"}

    def check(who: Principal) -> None:
        if who.token_id in dead:
            raise TokenRevoked("the token was revoked")

    settings = Settings(jwks=str(jwks_file))
    door = Authenticator(settings, check=check, now=clock.now, monotonic=clock.monotonic)
    assert (await door.verify(signed())).token_id == "j-1"
    with pytest.raises(TokenRevoked):
        await door.verify(signed(jti="j-2"))
    dead.add("j-1")
    for _ in range(2):
        with pytest.raises(TokenRevoked):
            await door.verify(signed())


async def test_no_token_lives_longer_than_revocations_are_kept(door: Authenticator) -> None:
    longest = signed(iat=NOW - 10, exp=NOW - 10 + TOKEN_LIFE_MAX_S)
    assert (await door.verify(longest)).expires_at_s == NOW - 10 + TOKEN_LIFE_MAX_S
    with pytest.raises(TokenInvalid, match="400 days"):
        await door.verify(signed(iat=NOW - 10, exp=NOW - 9 + TOKEN_LIFE_MAX_S))


async def test_the_cache_is_bounded(door: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "CACHE_MAX", 2)
    tokens = [signed(jti=f"j-{number}") for number in range(3)]
    first = [await door.verify(token) for token in tokens]
    assert await door.verify(tokens[2]) is first[2]
    assert await door.verify(tokens[0]) is not first[0]  # the oldest went


# -- spectators' tokens ---------------------------------------------------------------------------


@pytest.fixture
def signing_key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    path.write_bytes(
        KEYS[0].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


async def test_a_spectators_token_is_good_for_ten_minutes(
    tmp_path: Path, signing_key_file: Path, clock: Clock
) -> None:
    jwks = tmp_path / "jwks.json"
    write_jwks(jwks, jwk(KEYS[0], auth_keys.thumbprint(KEYS[0])))
    settings = Settings(
        jwks=str(jwks), jwt_signing_key_file=str(signing_key_file), public_spectating=True
    )
    door = Authenticator(settings, now=clock.now, monotonic=clock.monotonic)
    token, expires_at_s, subject = door.sign_spectator(NOW)
    who = await door.verify(token)
    assert expires_at_s == NOW + 600 == who.expires_at_s
    assert (who.subject, who.kind, who.role) == (subject, "user", Role.SPECTATOR)
    assert door.sign_spectator(NOW)[2] != subject


def test_no_spectators_token_unless_the_setting_says_so(signing_key_file: Path) -> None:
    with pytest.raises(Forbidden):
        Authenticator(Settings(jwt_signing_key_file=str(signing_key_file))).sign_spectator(NOW)
    with pytest.raises(Forbidden):
        Authenticator(Settings(public_spectating=True)).sign_spectator(NOW)


async def test_an_overlays_token_is_signed_once_with_each_key(
    tmp_path: Path, signing_key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lists 50 overlays again and again costs no 50 signatures each time."""
    signatures: list[str] = []
    encode = jwt.encode

    def counted(*args: Any, **more: Any) -> str:
        signatures.append(encode(*args, **more))
        return signatures[-1]

    monkeypatch.setattr(jwt, "encode", counted)
    monkeypatch.setattr(auth_keys, "SIGNED_MAX", 2)
    door = Authenticator(Settings(jwt_signing_key_file=str(signing_key_file)))
    one, two, three = (
        Overlay(
            overlay_id=name,
            owner="ann",
            kind=Kind.FEED,
            subject="match:m1",
            title=None,
            options=Options(),
            created_at_s=NOW,
            expires_at_s=NOW + 60,
        )
        for name in ("one", "two", "three")
    )
    first = door.sign_overlay(one)
    assert door.sign_overlay(one) == first != door.sign_overlay(two)
    assert len(signatures) == 2
    door.sign_overlay(three)  # the limit: `one` was used longest ago
    door.sign_overlay(two)
    assert len(signatures) == 3
    assert door.sign_overlay(one) == first
    assert len(signatures) == 4
    fresh = tmp_path / "fresh.pem"
    fresh.write_bytes(
        KEYS[1].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    fresh.replace(signing_key_file)
    kids = {jwt.get_unverified_header(each)["kid"] for each in (first, door.sign_overlay(one))}
    assert kids == {auth_keys.thumbprint(KEYS[0]), auth_keys.thumbprint(KEYS[1])}


# -- where a token is found -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "path", "found"),
    [
        ({}, "/", None),
        ({"Authorization": "Bearer abc"}, "/", "abc"),
        ({"Authorization": "bearer  abc "}, "/", "abc"),
        ({"Authorization": "Basic abc"}, "/", None),
        ({"Authorization": "Basic abc"}, "/?token=q", "q"),
        ({"Authorization": "Bearer"}, "/?token=q", "q"),
        ({"Sec-WebSocket-Protocol": "gamehub.v1+json, gamehub.token.a.b.c"}, "/", "a.b.c"),
        ({"Sec-WebSocket-Protocol": "gamehub.v1+json,gamehub.token."}, "/", None),
        ({"Sec-WebSocket-Protocol": "gamehub.v1+json, gamehub.token.s"}, "/?token=q", "s"),
        (
            {"Authorization": "Bearer h", "Sec-WebSocket-Protocol": "gamehub.token.s"},
            "/?token=q",
            "h",
        ),
        ({}, "/?token=", None),
    ],
)
def test_where_a_token_is_found(headers: dict[str, str], path: str, found: str | None) -> None:
    assert token_from(make_mocked_request("GET", path, headers=headers)) == found


async def test_the_clock_is_the_real_one_by_default(jwks_file: Path) -> None:
    door = Authenticator(Settings(jwks=str(jwks_file)))
    now = int(time.time())
    await door.verify(signed(iat=now, exp=now + 60))
    with pytest.raises(TokenExpired):
        await door.verify(signed(iat=now - 200, exp=now - 100))
