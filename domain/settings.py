"""All settings: one frozen value, a pure parse of a mapping of environment variables."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from domain.errors import SettingsError
from domain.setting_forms import game, networks, number, origins, regions, room_caps, sampled_types

# This machine alone: what `gamehub demo` and `gamehub bench` exempt from limits.
LOOPBACK = "127.0.0.0/8,::1/128"
_LOG_LEVELS = ("debug", "info", "warning", "error")
_LOG_FORMATS = ("json", "console")


def _text(raw: str) -> str:
    return raw


def _optional(raw: str) -> str | None:
    return raw or None


def _flag(raw: str) -> bool:
    lowered = raw.lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("must be true or false")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        try:
            value = int(raw)
        except ValueError:
            raise ValueError(f"must be a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return value

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return raw.lower()

    return parse


def _url(*schemes: str) -> Callable[[str], str | None]:
    def parse(raw: str) -> str | None:
        if not raw:
            return None
        # Nothing of the value is shown, not even what urlsplit says of it: it may hold a password.
        with contextlib.suppress(ValueError):
            if urlsplit(raw).scheme in schemes:
                return raw
        starts = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"must be a URL that starts with {starts}")

    return parse


def _setting(env: str, parse: Callable[[str], Any], default: Any, doc: str) -> Any:
    """A field of Settings with its environment name, parser and one line of documentation."""
    return field(default=default, metadata={"env": env, "parse": parse, "doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set; `Settings.parse(os.environ)` at start, never read again."""

    environment: str = _setting(
        "GAMEHUB_ENV",
        _one_of("development", "production"),
        "development",
        "development or production; production checks where sockets' pages come from.",
    )
    host: str = _setting("GAMEHUB_HOST", _text, "127.0.0.1", "Address that the hub listens on.")
    port: int = _setting("GAMEHUB_PORT", _whole(0, 65535), 8000, "Port of the hub; 0 = any free.")
    processes: int = _setting(
        "GAMEHUB_PROCESSES",
        _whole(1, 64),
        1,
        "Hub processes that share the port; the Nth also listens on the port + N, for its metrics.",
    )
    data_dir: str | None = _setting(
        "GAMEHUB_DATA", _optional, None, "Data directory; empty = the user's data folder."
    )
    trusted_proxies: str = _setting(
        "TRUSTED_PROXIES",
        networks,
        "",
        "CIDRs whose X-Forwarded-For is believed; empty = none, the socket's peer is the client.",
    )
    database_url: str | None = _setting(
        "DATABASE_URL",
        _url("postgresql", "postgres"),
        None,
        "An existing Postgres (15 or newer); empty = an embedded one.",
    )
    redis_url: str | None = _setting(
        "REDIS_URL",
        _url("redis", "rediss", "unix", "redis+cluster", "rediss+cluster"),
        None,
        "An existing Redis or Valkey (7.0 or newer); empty = an embedded one. A cluster: "
        "redis+cluster://host:port,host:port.",
    )
    database_pool_max: int = _setting(
        "DATABASE_POOL_MAX", _whole(3, 20), 10, "Postgres connections per process (DB-04: 20)."
    )
    jwt_issuer: str = _setting("JWT_ISSUER", _text, "gamehub", "Issuer that tokens must name.")
    jwt_audience: str = _setting("JWT_AUDIENCE", _text, "gamehub", "Audience they must name.")
    jwt_leeway_s: int = _setting(
        "JWT_LEEWAY_SECONDS", _whole(0, 300), 60, "Clock skew that is forgiven (WSA-04)."
    )
    jwks: str | None = _setting(
        "JWKS", _optional, None, "JWKS file or URL with the public keys; empty = the local key."
    )
    jwt_signing_key_file: str | None = _setting(
        "JWT_SIGNING_KEY_FILE",
        _optional,
        None,
        "Private key (PEM) for tokens that gamehub itself gives out; empty = the local key.",
    )
    public_spectating: bool = _setting(
        "PUBLIC_SPECTATING", _flag, False, "Pages may fetch a 10-minute SPECTATOR token."
    )
    ws_max_payload_bytes: int = _setting(
        "WS_MAX_PAYLOAD_BYTES",
        _whole(1024, 1_048_576),
        16384,
        "Largest message from a viewer; over it: close 4009 (RATE-05).",
    )
    ws_allowed_origins: str = _setting(
        "WS_ALLOWED_ORIGINS",
        origins,
        "",
        "Sites whose pages may open sockets in production; empty = the hub's own, * = all.",
    )
    ws_rate_msg_rps: float = _setting(
        "WS_RATE_MSG_RPS",
        number(0.1, 10_000),
        10.0,
        "Messages per second of one user over all sockets; over it they are dropped (RATE-01).",
    )
    ws_rate_msg_burst: int = _setting(
        "WS_RATE_MSG_BURST",
        _whole(1, 100_000),
        20,
        "Messages that may come at once; the third refused one within 10 s closes 4008.",
    )
    ws_rate_conn_per_user: int = _setting(
        "WS_RATE_CONN_PER_USER",
        _whole(0, 100_000),
        3,
        "Sockets of one user over all hubs; 0 = any number; over it: close 4008 (RATE-02).",
    )
    ws_rate_conn_per_ip: int = _setting(
        "WS_RATE_CONN_PER_IP",
        _whole(0, 1_000_000),
        10,
        "Sockets from one address (IPv6: one /64) over all hubs; behind a proxy see "
        "TRUSTED_PROXIES (RATE-03).",
    )
    ws_rate_conn_per_overlay: int = _setting(
        "WS_RATE_CONN_PER_OVERLAY",
        _whole(0, 100_000),
        20,
        "Sockets with one overlay token over all hubs; over it: close 4008.",
    )
    ws_rate_conn_per_server: int = _setting(
        "WS_RATE_CONN_PER_SERVER",
        _whole(0, 100_000),
        64,
        "Sockets at /ingest of one game server's name (its token's sub) over all hubs; 0 = any "
        "number; over it: close 4008.",
    )
    ws_admit_rps: float = _setting(
        "WS_ADMIT_RPS",
        number(0, 100_000),
        2000.0,
        "New sockets per second and hub, a second's worth at once; over it they wait for up to "
        "2 s, then 503. 0 = any number.",
    )
    ws_rate_room_max_members: str = _setting(
        "WS_RATE_ROOM_MAX_MEMBERS",
        room_caps,
        "2000,matches=0,announce=0",
        "Members of a room over all hubs, then kind=number where it differs; 0 = any number; "
        "over it: room_full (RATE-04).",
    )
    ws_rate_server_msg_rps: float = _setting(
        "WS_RATE_SERVER_MSG_RPS",
        number(1, 1_000_000),
        1000.0,
        "Messages per second of one game server's socket; over it the hub reads slower (RATE-17).",
    )
    ws_rate_exempt_cidrs: str = _setting(
        "WS_RATE_EXEMPT_CIDRS",
        networks,
        "",
        "CIDRs without caps on sockets and messages, for load tests; rooms keep their caps.",
    )
    ws_heartbeat_s: float = _setting(
        "WS_HEARTBEAT_S", _seconds(1, 300), 20.0, "Ping every so often; no pong in half: closed."
    )
    ws_idle_timeout_s: float = _setting(
        "WS_IDLE_TIMEOUT_S",
        _seconds(1, 86400),
        120.0,
        "A socket in no room that sends nothing for so long is closed.",
    )
    ws_auth_timeout_s: float = _setting(
        "WS_AUTH_TIMEOUT_S", _seconds(0.1, 60), 5.0, "Time to send a token; then close 4001."
    )
    ws_send_queue_bytes: int = _setting(
        "WS_SEND_QUEUE_BYTES",
        _whole(16384, 16_777_216),
        262_144,
        "Unsent bytes per socket; over it events are thinned, later close 4011.",
    )
    live_sampled_types: str = _setting(
        "LIVE_SAMPLED_TYPES",
        sampled_types,
        "",
        "LIVE types of which a reader that lagged gets the newest, each with the field of its data "
        "that tells apart what moves: live.position:player,live.camera.",
    )
    ws_tick_max_ms: int = _setting(
        "WS_TICK_MAX_MS",
        _whole(0, 1000),
        5,
        "A busy room gathers events for at most so long; 0 = every event is sent at once.",
    )
    default_game: str | None = _setting(
        "DEFAULT_GAME",
        game,
        None,
        "Game of boards that are asked for without one; empty = the one with most rated players.",
    )
    regions: str = _setting(
        "REGIONS",
        regions,
        "",
        "Groups of countries with boards of their own besides each country's: EU=DE,FR;NA=US,CA.",
    )
    drain_timeout_s: float = _setting(
        "DRAIN_TIMEOUT_S", _seconds(0, 600), 15.0, "Longest time from SIGTERM to exit."
    )
    drain_spread_ms: int = _setting(
        "DRAIN_SPREAD_MS",
        _whole(0, 600_000),
        2000,
        "Clients are told to return after a random delay up to this (close 4010).",
    )
    audit_kept_days: int = _setting(
        "AUDIT_KEPT_DAYS",
        _whole(0, 36_500),
        365,
        "Days that audit rows are kept; whole months go at once (AUD-10). 0 = for ever.",
    )
    log_level: str = _setting("LOG_LEVEL", _one_of(*_LOG_LEVELS), "info", "Least level logged.")
    log_format: str = _setting(
        "LOG_FORMAT", _one_of(*_LOG_FORMATS), "json", "json for machines, console for people."
    )

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from environment variables; unset or empty means the default.

        Raises SettingsError naming the variable and what was expected (FLAG-02).
        """
        values: dict[str, Any] = {}
        for spec in fields(cls):
            raw = environ.get(spec.metadata["env"], "").strip()
            if not raw:
                continue
            try:
                values[spec.name] = spec.metadata["parse"](raw)
            except ValueError as error:
                env = spec.metadata["env"]
                given = "" if spec.name.endswith("_url") else f", not {raw[:80]!r}"
                raise SettingsError(f"{env} {error}{given}", field=env) from None
        return cls(**values)

    def with_(self, **changes: Any) -> Settings:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def room_caps(self) -> dict[str, int]:
        """Kind of room -> most members, 0 = any number; "" stands for all other kinds (RATE-04)."""
        first, *others = self.ws_rate_room_max_members.split(",")
        pairs = (each.partition("=") for each in others)
        return {"": int(first)} | {kind: int(cap) for kind, _, cap in pairs}

    def sampled_types(self) -> dict[str, str]:
        """LIVE type -> field of its data that is part of the key, "" without one."""
        pairs = (each.partition(":") for each in self.live_sampled_types.split(",") if each)
        return {name: field for name, _, field in pairs}

    def region_groups(self) -> dict[str, tuple[str, ...]]:
        """Group -> its ISO 3166 countries (CF-33)."""
        pairs = (each.partition("=") for each in self.regions.split(";") if each)
        return {name: tuple(countries.split(",")) for name, _, countries in pairs}

    def environ(self) -> dict[str, str]:
        """The same settings as environment variables, for child processes."""
        out: dict[str, str] = {}
        for spec in fields(self):
            value = getattr(self, spec.name)
            if value is not None:
                text = str(value).lower() if isinstance(value, bool) else f"{value}"
                out[spec.metadata["env"]] = text
        return out

    def describe(self) -> dict[str, object]:
        """The settings by environment name, without secrets, for logs and `doctor`."""
        shown: dict[str, object] = {}
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name.endswith("_url") and isinstance(value, str):
                value = _without_password(value)
            shown[spec.metadata["env"]] = value
        return shown


def example() -> str:
    """The text of `.env.example`: every setting with its documentation and default."""
    lines = [
        "# Every setting of gamehub: environment variables (docker compose reads .env by itself).",
        "# Empty means the default.",
        "",
    ]
    for spec in fields(Settings):
        default = spec.default
        text = str(default).lower() if isinstance(default, bool) else default
        lines += [f"# {spec.metadata['doc']}", f"{spec.metadata['env']}={_shown(text)}", ""]
    return "\n".join(lines)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_password(url: str) -> str:
    address, mark, query = url.partition("?")
    if "password" in query.lower():  # of a socket file, as redis-py and libpq take it
        url = f"{address}{mark}***"
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def default_data_dir(environ: Mapping[str, str], home: str) -> str:
    """The user's data folder for gamehub (XDG base directory specification)."""
    base = PurePath(environ.get("XDG_DATA_HOME", ""))
    folder = base if base.is_absolute() else PurePath(home, ".local", "share")
    return str(folder / "gamehub")
