"""The signing key of this installation, made on first start, and the tokens signed with it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from domain.errors import SettingsError, StartError
from domain.events import Role
from domain.ids import is_id
from domain.settings import Settings
from gamehub.embedded_home import write_private

KEY_BITS = 2048  # RFC 7518, section 3.3: the least for RS256, and the quickest to verify
ALGORITHM = "RS256"  # the only one (contract: Tokens)
KINDS = ("user", "server", "overlay")
SERVER_SCOPES = ("ingest", "match:create", "import")
# A longer life has to be asked for again: a signed token cannot be changed, only revoked.
LONGEST_TTL_S = 366 * 86400
DEFAULT_TTL_S = {"user": 12 * 3600, "server": 30 * 86400, "overlay": 366 * 86400}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a token says and, when it is not valid here, why not."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    problem: str | None


def key_paths(data: Path) -> tuple[Path, Path]:
    """(private key, JWKS file) of a data directory, whether they exist or not."""
    return data / "keys" / "signing.pem", data / "keys" / "jwks.json"


def ensure_keys(data: Path) -> tuple[Path, Path]:
    """Make the key pair if there is none; (private key, JWKS file).

    Two first starts at once agree on one key. A JWKS file with more keys (a rotation) is kept and
    only completed. Raises StartError.
    """
    signing, jwks = key_paths(data)
    try:
        signing.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not signing.exists():
            _create_key(signing)
        _complete_jwks(jwks, public_jwk(_load_key(signing)))
    except OSError as error:
        raise StartError(f"cannot keep keys in {signing.parent}: {error.strerror}") from None
    return signing, jwks


def with_keys(settings: Settings, data: Path) -> Settings:
    """The settings with this data directory's keys where none are named; made if need be.

    With a JWKS of somebody else's and no signing key nothing is made: tokens come from there.
    """
    if settings.jwt_signing_key_file is None and settings.jwks is None:
        signing, jwks = ensure_keys(data)
        return settings.with_(jwt_signing_key_file=str(signing), jwks=str(jwks))
    if settings.jwks is None:
        _, jwks = key_paths(data)
        jwks.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        assert settings.jwt_signing_key_file is not None
        _complete_jwks(jwks, public_jwk(_load_key(Path(settings.jwt_signing_key_file))))
        return settings.with_(jwks=str(jwks))
    return settings


def public_jwk(key: RSAPrivateKey) -> dict[str, Any]:
    """The public half as a JWK; its kid is the thumbprint of RFC 7638."""
    members = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    needed = {name: members[name] for name in ("e", "kty", "n")}
    canonical = json.dumps(needed, separators=(",", ":"), sort_keys=True).encode()
    kid = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    return {**needed, "kid": kid, "use": "sig", "alg": ALGORITHM}


def mint(
    settings: Settings,
    *,
    sub: str,
    kind: str = "user",
    role: str = "SPECTATOR",
    scope: Sequence[str] = (),
    games: Sequence[str] | None = None,
    subject: str | None = None,
    ttl_s: int | None = None,
) -> str:
    """A signed token with the claims of contract.md, "Tokens".

    Raises SettingsError naming the field when a claim is not of the documented form or when there
    is no signing key.
    """
    _check_claims(sub, kind, role, scope, subject)
    life_s = DEFAULT_TTL_S[kind] if ttl_s is None else ttl_s
    if not 1 <= life_s <= LONGEST_TTL_S:
        raise SettingsError(f"ttl must be from 1 to {LONGEST_TTL_S} seconds", field="ttl")
    if settings.jwt_signing_key_file is None:
        raise SettingsError(
            "JWT_SIGNING_KEY_FILE is not set but JWKS is: tokens come from whoever owns its keys",
            field="JWT_SIGNING_KEY_FILE",
        )
    key = _load_key(Path(settings.jwt_signing_key_file))
    issued_at = int(time.time())
    claims: dict[str, Any] = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": sub,
        "jti": uuid.uuid4().hex,
        "iat": issued_at,
        "exp": issued_at + life_s,
        "kind": kind,
        "role": role,
        "scope": list(scope),
    }
    if games is not None:
        claims["games"] = list(games)
    if subject is not None:
        claims["subject"] = subject
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": public_jwk(key)["kid"]})


def inspect(settings: Settings, token: str) -> Inspection:
    """Read a token and check it the way the hub does, against a JWKS file or URL.

    Raises SettingsError when the text is not a token at all.
    """
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError as error:
        raise SettingsError(f"this is not a token: {error}", field="token") from None
    return Inspection(header, claims, _problem(settings, token, header))


def _problem(settings: Settings, token: str, header: Mapping[str, Any]) -> str | None:
    if header.get("alg") != ALGORITHM:
        return f"its algorithm is {header.get('alg')}, only {ALGORITHM} is accepted"
    try:
        key = _verification_key(settings, header.get("kid"))
        jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            leeway=settings.jwt_leeway_s,
            options={"require": ["iss", "aud", "sub", "jti", "iat", "exp"]},
        )
    except jwt.ExpiredSignatureError:
        return "its time is over"
    except jwt.InvalidAudienceError:
        return f"its audience is not {settings.jwt_audience}"
    except jwt.InvalidIssuerError:
        return f"its issuer is not {settings.jwt_issuer}"
    except jwt.InvalidSignatureError:
        return "its signature does not match the key it names"
    except (jwt.PyJWTError, OSError, ValueError) as error:
        return str(error)
    return None


def _verification_key(settings: Settings, kid: object) -> jwt.PyJWK:
    if settings.jwks is None:
        raise ValueError("there are no keys to check it with (JWKS)")
    if settings.jwks.startswith(("http://", "https://")):
        keys = jwt.PyJWKClient(settings.jwks, timeout=5).get_signing_keys()
    else:
        keys = jwt.PyJWKSet.from_dict(json.loads(Path(settings.jwks).read_text())).keys
    for key in keys:
        if key.key_id == kid:
            return key
    raise ValueError(f"its key {kid} is not in the JWKS")


def _check_claims(
    sub: str, kind: str, role: str, scope: Sequence[str], subject: str | None
) -> None:
    if kind not in KINDS:
        raise SettingsError(f"kind must be one of {', '.join(KINDS)}", field="kind")
    if role not in Role.__members__:
        raise SettingsError(f"role must be one of {', '.join(Role.__members__)}", field="role")
    if not is_id(sub):
        raise SettingsError("sub must be an id (letters, digits, '.', '_', '-')", field="sub")
    if kind == "server" and (unknown := [s for s in scope if s not in SERVER_SCOPES]):
        raise SettingsError(
            f"scope must be of {', '.join(SERVER_SCOPES)}, not {unknown[0]}", field="scope"
        )
    if kind != "server" and scope:
        raise SettingsError("scope is for server tokens (kind server)", field="scope")
    if kind == "overlay" and not subject:
        raise SettingsError(
            "an overlay token needs a subject: the one room (kind:id) or user:ID it shows",
            field="subject",
        )


def _load_key(path: Path) -> RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise StartError(f"cannot read the signing key {path}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise StartError(f"{path} is not an unencrypted private key (PEM): {error}") from None
    if not isinstance(key, RSAPrivateKey):
        raise StartError(f"{path} is not an RSA key; {ALGORITHM} needs one")
    return key


def _create_key(path: Path) -> None:
    key = generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file, name = tempfile.mkstemp(dir=path.parent, prefix=".signing-")  # made with 0600
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            path.hardlink_to(name)  # unlike a rename it never replaces another start's key
        except FileExistsError:
            return
    finally:
        Path(name).unlink()


def _complete_jwks(path: Path, jwk: Mapping[str, Any]) -> None:
    keys: list[Any] = []
    if path.exists():
        try:
            keys = json.loads(path.read_text())["keys"]
        except (ValueError, KeyError, TypeError):
            raise StartError(f"{path} is not a JWKS; remove it to have it made anew") from None
    if any(key.get("kid") == jwk["kid"] for key in keys):
        return
    write_private(path, json.dumps({"keys": [*keys, jwk]}, indent=1) + "\n")
