"""Keys and tokens: made once, readable by nobody else, and exactly the documented claims."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from domain.errors import SettingsError, StartError
from domain.settings import Settings
from gamehub import keys


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return keys.with_keys(Settings(), tmp_path)


def decoded(settings: Settings, token: str) -> dict[str, Any]:
    assert settings.jwks is not None
    key_set = jwt.PyJWKSet.from_dict(json.loads(Path(settings.jwks).read_text()))
    kid = jwt.get_unverified_header(token)["kid"]
    claims: dict[str, Any] = jwt.decode(
        token, key_set[kid], algorithms=["RS256"], audience="gamehub", issuer="gamehub"
    )
    return claims


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    signing, jwks = keys.ensure_keys(tmp_path)
    first = signing.read_bytes(), jwks.read_bytes()
    assert signing.stat().st_mode & 0o777 == 0o600
    assert signing.parent.stat().st_mode & 0o777 == 0o700
    assert keys.ensure_keys(tmp_path) == (signing, jwks)
    assert (signing.read_bytes(), jwks.read_bytes()) == first


def test_the_jwks_holds_no_private_part(tmp_path: Path) -> None:
    _, jwks = keys.ensure_keys(tmp_path)
    (key,) = json.loads(jwks.read_text())["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


def test_first_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    threads = [threading.Thread(target=keys.ensure_keys, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settings = keys.with_keys(Settings(), tmp_path)
    assert decoded(settings, keys.mint(settings, sub="me"))["sub"] == "me"
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"signing.pem", "jwks.json"}


def test_a_rotation_keeps_the_other_keys(tmp_path: Path) -> None:
    signing, jwks = keys.ensure_keys(tmp_path)
    signing.unlink()
    keys.ensure_keys(tmp_path)
    assert len(json.loads(jwks.read_text())["keys"]) == 2


def test_a_person_s_token_has_the_documented_claims(settings: Settings) -> None:
    claims = decoded(settings, keys.mint(settings, sub="ada", role="ORGANIZER", ttl_s=60))
    assert set(claims) == {"iss", "aud", "sub", "jti", "iat", "exp", "kind", "role", "scope"}
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 5
    assert (claims["sub"], claims["kind"], claims["role"]) == ("ada", "user", "ORGANIZER")
    assert claims["scope"] == []


def test_a_server_s_token_has_scopes_and_games(settings: Settings) -> None:
    token = keys.mint(
        settings, sub="eu-1", kind="server", scope=("ingest", "match:create"), games=("cod",)
    )
    claims = decoded(settings, token)
    assert claims["scope"] == ["ingest", "match:create"]
    assert claims["games"] == ["cod"]


def test_two_tokens_are_never_the_same(settings: Settings) -> None:
    assert keys.mint(settings, sub="ada") != keys.mint(settings, sub="ada")


@pytest.mark.parametrize(
    ("claims", "field"),
    [
        ({"sub": "no spaces please"}, "sub"),
        ({"sub": "ada", "role": "GOD"}, "role"),
        ({"sub": "ada", "kind": "robot"}, "kind"),
        ({"sub": "ada", "kind": "server", "scope": ("everything",)}, "scope"),
        ({"sub": "ada", "scope": ("ingest",)}, "scope"),
        ({"sub": "ada", "kind": "overlay"}, "subject"),
        ({"sub": "ada", "ttl_s": 0}, "ttl"),
        ({"sub": "ada", "ttl_s": keys.LONGEST_TTL_S + 1}, "ttl"),
    ],
)
def test_a_claim_of_another_form_is_named(
    settings: Settings, claims: dict[str, Any], field: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        keys.mint(settings, **claims)
    assert caught.value.field == field


def test_with_somebody_else_s_keys_nothing_is_made_or_minted(tmp_path: Path) -> None:
    settings = keys.with_keys(Settings(jwks="https://example.invalid/jwks.json"), tmp_path)
    assert not (tmp_path / "keys").exists()
    with pytest.raises(SettingsError, match="JWT_SIGNING_KEY_FILE"):
        keys.mint(settings, sub="ada")


def test_a_key_of_one_s_own_is_used(tmp_path: Path) -> None:
    signing, _ = keys.ensure_keys(tmp_path / "elsewhere")
    settings = keys.with_keys(Settings(jwt_signing_key_file=str(signing)), tmp_path / "data")
    assert decoded(settings, keys.mint(settings, sub="ada"))["sub"] == "ada"


def test_a_key_file_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("not a key")
    with pytest.raises(StartError, match="not an unencrypted private key"):
        keys.with_keys(Settings(jwt_signing_key_file=str(file)), tmp_path)
    with pytest.raises(StartError, match="cannot read the signing key"):
        keys.with_keys(Settings(jwt_signing_key_file=os.devnull + "/x"), tmp_path)


def test_inspect_says_why_a_token_is_not_valid(settings: Settings, tmp_path: Path) -> None:
    token = keys.mint(settings, sub="ada")
    assert keys.inspect(settings, token).problem is None
    assert keys.inspect(settings, token).claims["sub"] == "ada"

    header, payload, signature = token.split(".")
    forged = ".".join([header, payload, signature[:-8] + "AAAAAAAA"])
    assert "signature" in (keys.inspect(settings, forged).problem or "")

    other = keys.with_keys(Settings(), tmp_path / "other")
    assert "not in the JWKS" in (keys.inspect(other, token).problem or "")
    issuer = settings.with_(jwt_issuer="another")
    assert "issuer" in (keys.inspect(issuer, token).problem or "")
    audience = settings.with_(jwt_audience="another")
    assert "audience" in (keys.inspect(audience, token).problem or "")

    symmetric = jwt.encode({"sub": "ada"}, "x" * 32, algorithm="HS256")
    assert "only RS256" in (keys.inspect(settings, symmetric).problem or "")


def test_inspect_forgives_the_leeway_and_no_more(settings: Settings) -> None:
    assert settings.jwt_signing_key_file is not None
    pem = Path(settings.jwt_signing_key_file).read_text()
    base = jwt.decode(keys.mint(settings, sub="ada"), options={"verify_signature": False})
    kid = jwt.get_unverified_header(keys.mint(settings, sub="ada"))["kid"]
    for ended_s_ago, problem in ((30, None), (120, "its time is over")):
        claims = {**base, "exp": int(time.time()) - ended_s_ago}
        token = jwt.encode(claims, pem, algorithm="RS256", headers={"kid": kid})
        assert keys.inspect(settings, token).problem == problem


def test_inspect_refuses_what_is_no_token(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="not a token"):
        keys.inspect(settings, "hello")
