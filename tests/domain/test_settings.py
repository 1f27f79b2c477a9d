"""Settings: a pure parse, clear errors, no secrets shown."""

from __future__ import annotations

import pytest

from domain.errors import SettingsError
from domain.settings import Settings, default_data_dir, example


def test_the_defaults() -> None:
    settings = Settings.parse({"UNRELATED": "1", "GAMEHUB_PORT": "  "})
    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.public_spectating is False


def test_what_is_set_comes_back_for_a_child() -> None:
    settings = Settings.parse(
        {
            "GAMEHUB_PORT": "0",
            "PUBLIC_SPECTATING": "true",
            "DATABASE_URL": "postgresql://me:secret@db/x",
            "WS_AUTH_TIMEOUT_S": "0.5",
            "LOG_FORMAT": "CONSOLE",
        }
    )
    assert (settings.port, settings.public_spectating, settings.log_format) == (0, True, "console")
    assert Settings.parse(settings.environ()) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GAMEHUB_PORT", "70000"),
        ("GAMEHUB_PORT", "eight"),
        ("DATABASE_URL", "mysql://x"),
        ("REDIS_URL", "http://x"),
        ("PUBLIC_SPECTATING", "maybe"),
        ("LOG_LEVEL", "loud"),
        ("WS_AUTH_TIMEOUT_S", "nan"),
        ("DATABASE_POOL_MAX", "21"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        Settings.parse({name: value})
    assert error.value.field == name


@pytest.mark.parametrize(
    ("name", "url", "kept"),
    [
        ("DATABASE_URL", "postgresql://me:secret@db:5432/x", "db:5432"),
        ("DATABASE_URL", "postgresql://me:secret@/x?host=%2Frun%2Fpg", "host=%2Frun%2Fpg"),
        ("DATABASE_URL", "postgresql:///x?user=me&password=secret", "postgresql:///x?***"),
        ("REDIS_URL", "unix:///run/redis.sock?db=0&password=secret", "unix:///run/redis.sock?***"),
        ("REDIS_URL", "unix://:secret@/run/redis.sock?db=0", "unix://:***@/run/redis.sock?db=0"),
        ("REDIS_URL", "unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=0"),
    ],
)
def test_no_password_is_shown(name: str, url: str, kept: str) -> None:
    shown = str(Settings.parse({name: url}).describe())
    assert "secret" not in shown
    assert kept in shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://me:secret@db/x",
        "mysql://me:secret@db/x",
        "postgresql://me:secret[@db/x",
    ],
)
def test_a_bad_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"DATABASE_URL.*postgresql://") as error:
        Settings.parse({"DATABASE_URL": url})
    assert "secret" not in str(error.value)


def test_the_example_is_what_the_parser_reads() -> None:
    pairs = dict(
        line.split("=", 1) for line in example().splitlines() if "=" in line[:40] and line[0] != "#"
    )
    assert Settings.parse(pairs) == Settings()


def test_the_data_directory() -> None:
    assert default_data_dir({}, "/home/me") == "/home/me/.local/share/gamehub"
    assert default_data_dir({"XDG_DATA_HOME": "/data"}, "/home/me") == "/data/gamehub"
    assert default_data_dir({"XDG_DATA_HOME": "rel"}, "/home/me").startswith("/home/me")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WS_RATE_MSG_RPS", "0"),
        ("WS_RATE_MSG_RPS", "inf"),
        ("WS_RATE_MSG_BURST", "2.5"),
        ("WS_RATE_CONN_PER_IP", "-1"),
        ("WS_RATE_ROOM_MAX_MEMBERS", "matches=0"),
        ("WS_RATE_ROOM_MAX_MEMBERS", "2000,matches"),
        ("WS_RATE_ROOM_MAX_MEMBERS", "2000,matches=-1"),
        ("WS_RATE_ROOM_MAX_MEMBERS", "9999999"),
        ("WS_RATE_EXEMPT_CIDRS", "everyone"),
        ("WS_ALLOWED_ORIGINS", "play.example"),
        ("WS_ALLOWED_ORIGINS", "https://play.example/page"),
        ("WS_ALLOWED_ORIGINS", "https://"),
        ("GAMEHUB_ENV", "staging"),
        ("LIVE_SAMPLED_TYPES", "position"),
        ("LIVE_SAMPLED_TYPES", "live.position:"),
        ("LIVE_SAMPLED_TYPES", "live.state"),
        ("LIVE_SAMPLED_TYPES", "match.score_updated:match_id"),
        ("LIVE_SAMPLED_TYPES", ",".join(f"live.t{n}" for n in range(101))),
    ],
)
def test_a_bad_limit_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.parse({name: value})


def test_limits_are_kept_as_normal_text() -> None:
    settings = Settings.parse(
        {
            "WS_RATE_ROOM_MAX_MEMBERS": " 500 , matches=0,tournament=20000",
            "WS_ALLOWED_ORIGINS": "https://Play.Example/, http://localhost:3000",
        }
    )
    assert settings.room_caps() == {"": 500, "matches": 0, "tournament": 20_000}
    assert settings.ws_allowed_origins == "https://play.example,http://localhost:3000"
    assert Settings.parse(settings.environ()) == settings


def test_rooms_of_everyone_have_no_cap_by_default() -> None:
    assert Settings().room_caps() == {"": 2000, "matches": 0, "announce": 0}


def test_regions_are_groups_of_countries() -> None:
    settings = Settings.parse({"REGIONS": " eu = se,DE, de ; NA=US,CA;"})
    assert settings.regions == "EU=DE,SE;NA=CA,US"
    assert settings.region_groups() == {"EU": ("DE", "SE"), "NA": ("CA", "US")}
    assert Settings.parse(settings.environ()) == settings
    assert Settings().region_groups() == {}


@pytest.mark.parametrize("raw", ["EU", "EU=", "EU=DEU", "EU=DE;EU=FR", "E=DE", "e-u=DE"])
def test_regions_that_are_none(raw: str) -> None:
    with pytest.raises(SettingsError, match="REGIONS"):
        Settings.parse({"REGIONS": raw})


def test_the_default_game_is_an_id() -> None:
    assert Settings.parse({"DEFAULT_GAME": "cod/bo4"}).default_game == "cod/bo4"
    with pytest.raises(SettingsError, match="DEFAULT_GAME"):
        Settings.parse({"DEFAULT_GAME": "no id"})


def test_sampled_types_have_a_field_or_none() -> None:
    settings = Settings.parse({"LIVE_SAMPLED_TYPES": " live.position:player , live.camera,"})
    assert settings.sampled_types() == {"live.position": "player", "live.camera": ""}
    assert Settings.parse(settings.environ()) == settings
    assert Settings().sampled_types() == {}
