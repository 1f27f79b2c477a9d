"""docker-compose.yml and the Dockerfile, checked without Docker: what they name must exist."""

from __future__ import annotations

import dataclasses
import re
import shlex
from typing import Any

import pytest
import typer.testing
import yaml

from domain.settings import Settings
from tests.sources import LAYERS, ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = {each.metadata["env"] for each in dataclasses.fields(Settings)}
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
# Of the Compose specification, what this file uses; anything else is a slip of the pen.
KEYS = {
    "build", "command", "depends_on", "environment", "healthcheck", "image", "ports", "restart",
    "stop_grace_period", "volumes",
}  # fmt: skip
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(:\?[^}]*)?\}")


def test_it_is_the_small_installation_of_the_documentation() -> None:
    assert set(SERVICES) == {"hub-a", "hub-b", "worker", "migrate", "postgres", "redis"}
    assert [service["command"] for service in OURS.values()] == [
        ["hub"],
        ["hub"],
        ["worker"],
        ["migrate", "up"],
    ]
    assert not {key for key in COMPOSE if not key.startswith("x-")} - {
        "name",
        "services",
        "volumes",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_whole(name: str) -> None:
    service = SERVICES[name]
    assert not set(service) - KEYS
    assert service["image"] == "gamehub:local" or ":" in service["image"]
    health = service["healthcheck"]
    assert health.get("disable") is True or health["test"][0] == "CMD"
    for port in service.get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d{4}:8000", port), "published to this machine only"
    for volume in service.get("volumes", ()):
        assert volume.split(":")[0] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_waits_for_can_come_true(name: str) -> None:
    for other, wish in SERVICES[name].get("depends_on", {}).items():
        awaited = SERVICES[other]
        if wish["condition"] == "service_healthy":
            assert "test" in awaited["healthcheck"]
        else:
            assert wish["condition"] == "service_completed_successfully"
            assert awaited["restart"] in ("no", "on-failure")


@pytest.mark.parametrize("name", OURS)
def test_its_settings_exist_and_parse(name: str) -> None:
    environment = {key: str(value) for key, value in OURS[name]["environment"].items()}
    assert not set(environment) - SETTINGS
    filled = {key: _VARIABLE.sub("filled", value) for key, value in environment.items()}
    settings = Settings.parse(filled)
    assert settings.database_url is not None
    assert "@postgres:5432/" in settings.database_url
    assert settings.redis_url == "redis://redis:6379/0"


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key:
                assert _VARIABLE.fullmatch(value), f"{name} {key}"
    assert set(_VARIABLE.findall(text)) == {("POSTGRES_PASSWORD", ":?set it in .env")}


def test_a_drain_is_not_cut_short() -> None:
    for name in ("hub-a", "hub-b"):
        grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace_s > Settings().drain_timeout_s + 5


@pytest.mark.parametrize("name", OURS)
def test_its_command_is_one_of_ours(name: str) -> None:
    from gamehub.cli import app

    answer = typer.testing.CliRunner().invoke(app, [*OURS[name]["command"], "--help"])
    assert answer.exit_code == 0, answer.output


def test_the_image_holds_every_layer_and_runs_without_root() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") for word in shlex.split(line)[1:-1]
    }
    assert set(LAYERS) <= copied
    assert all((ROOT / name).exists() for name in copied - {"README.md"})
    assert "USER gamehub" in lines
