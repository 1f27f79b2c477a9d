"""The documentation against the code: links lead somewhere, and lists are complete."""

from __future__ import annotations

import dataclasses
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from domain import errors
from domain.achievements import CATALOGUE, COUNTERS, coins_of
from domain.events import EVENT_TYPES, ROOM_KINDS
from domain.settings import Settings
from hub.api.routes import routes
from hub.metrics import Metrics
from protocol import inbound, outbound
from tests.sources import LAYERS, ROOT, python_files, tracked_files

PAGES = [name for name in tracked_files() if name.endswith(".md")]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SNIPPET = re.compile(r"<!-- (examples/[a-z_]+\.py) -->\n+```python\n(.*?)```", re.DOTALL)


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in _LINK.findall(text_of(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        assert place.exists(), f"{page} links to {target}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place.resolve().relative_to(ROOT).as_posix()), target


def test_every_page_is_reachable_from_the_index() -> None:
    seen: set[str] = set()
    waiting = ["docs/index.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in _LINK.findall(text_of(page)):
            place = ((ROOT / page).parent / target.partition("#")[0]).resolve()
            if place.is_dir() and (place / "README.md").exists():
                place /= "README.md"
            if place.suffix == ".md" and place.is_relative_to(ROOT):
                waiting.append(place.relative_to(ROOT).as_posix())
    assert not {page for page in PAGES if page.startswith("docs/")} - seen


def test_every_metric_is_documented() -> None:
    page = text_of("docs/operations.md")
    families = text_string_to_metric_families(Metrics().render().decode())
    ours = {each.name + ("_total" if each.type == "counter" else "") for each in families}
    ours = {name for name in ours if name.startswith("gamehub_")}
    assert set(re.findall(r"^\| `(gamehub_\w+)`", page, re.MULTILINE)) == ours


def test_every_close_code_operation_and_room_is_documented() -> None:
    page = text_of("docs/protocol.md")
    assert set(map(int, re.findall(r"^\| (4\d{3}) \|", page, re.MULTILINE))) == set(
        outbound.RECONNECT
    )
    operations = {each.__struct_config__.tag for each in inbound.Inbound.__args__}
    sockets = page.partition("## Sockets for viewers")[2].partition("| the hub sends |")[0]
    assert set(re.findall(r"^\| `([a-z]+)[ `]", sockets, re.MULTILINE)) == operations
    for kind in ROOM_KINDS:
        assert f"`{kind}:" in page, kind
    for name, declared in EVENT_TYPES.items():
        if declared.by_servers and not name.startswith("live."):
            assert f"`{name}`" in page, name


def test_every_code_of_a_nack_is_documented() -> None:
    page = text_of("docs/protocol.md")
    nacks = [errors.InvalidSchema, errors.PayloadTooLarge, errors.Forbidden]
    nacks += errors.IngestRefusal.__subclasses__()
    for each in nacks:
        assert f"`{each.code}`" in page, each.code


def test_every_url_is_documented() -> None:
    page = text_of("docs/protocol.md")
    for route in routes():
        path = re.sub(r"/\{.*", "", route.path)
        assert path in page, path


def test_settings_named_in_the_documentation_exist() -> None:
    known = {each.metadata["env"] for each in dataclasses.fields(Settings)}
    families = (
        r"\b((?:AUDIT|GAMEHUB|JWT|WS|DRAIN|LOG|DATABASE|REDIS)_[A-Z_]+|JWKS|PUBLIC_SPECTATING)\b"
    )
    for page in PAGES:
        for name in re.findall(families, text_of(page)):
            assert name in known or name.startswith("GAMEHUB_TEST_"), f"{page} names {name}"


def test_every_limit_is_documented_with_its_default() -> None:
    page = text_of("docs/limits.md")
    told = dict(re.findall(r"^\| `(WS_\w+)` \| (\S+) \|", page, re.MULTILINE))
    limits = {
        each.metadata["env"]: each.default
        for each in dataclasses.fields(Settings)
        if each.metadata["env"].startswith("WS_RATE_")
        or each.metadata["env"] in ("WS_MAX_PAYLOAD_BYTES", "WS_ALLOWED_ORIGINS", "WS_ADMIT_RPS")
    }
    assert len(limits) == 12
    for name, default in limits.items():
        shown = f"{default:g}" if isinstance(default, int | float) else f"`{default}`"
        assert told[name] == ("empty" if default == "" else shown)


def test_capabilities_name_real_places() -> None:
    rows = re.findall(
        r"^\| (\w+) \| .* \| ([\w, ]+) \|$", text_of("docs/capabilities.md"), re.MULTILINE
    )
    rows = [(noun, where) for noun, where in rows if noun != "noun"]
    assert [noun for noun, _ in rows] == sorted(noun for noun, _ in rows)
    files = [source.path for source in python_files(*LAYERS)]
    for noun, where in rows:
        for layer in where.split(", "):
            assert (
                any(
                    path.startswith(f"{layer}/") and noun in path.removeprefix(layer)
                    for path in files
                )
                or (ROOT / layer / noun).is_dir()
            ), f"{layer} has nothing named {noun}"


def test_snippets_are_parts_of_the_examples() -> None:
    found = _SNIPPET.findall(text_of("README.md"))
    assert found
    for path, snippet in found:
        assert snippet.strip() in text_of(path), f"README.md differs from {path}"


def test_every_achievement_is_described() -> None:
    rows = re.findall(
        r"^\| `([A-Z0-9_]+)` \| (\w+) \| (\w+) \| (.+?) \| (\d*) ?\|$",
        text_of("docs/progression.md"),
        re.MULTILINE,
    )
    assert rows == [
        (
            each.code,
            each.category,
            each.rarity,
            each.description.removesuffix("."),
            str(coins_of(each.reward) or ""),
        )
        for each in CATALOGUE
    ]


def test_every_counter_of_a_career_is_described() -> None:
    page = text_of("docs/progression.md")
    assert not {name for name in COUNTERS if f"`{name}`" not in page}
