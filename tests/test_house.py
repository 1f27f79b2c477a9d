"""The laws of the house (docs/architecture.md), read from the sources."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.sources import LAYERS, ROOT, Source, imports, modules, python_files, tracked_files

# -- who may import whom --------------------------------------------------------------------------

MAY_IMPORT = {
    "gamehub": {"hub", "workers", "services", "storage", "domain", "loadtest", "protocol"},
    "hub": {"services", "storage", "domain", "protocol"},
    "workers": {"services", "storage", "domain"},
    "services": {"storage", "domain"},
    "storage": {"domain"},
    "loadtest": {"protocol"},
    "protocol": {"domain"},
    "domain": set[str](),
}
# Of domain, the wire contract knows only what is said on the wire.
PROTOCOL_MAY_IMPORT = {"domain.ids", "domain.events", "domain.errors"}

# Within these folders files are strangers, but for ground files that anyone may import and for
# wiring that imports everyone.
GROUND = {
    "domain": {
        "ids",
        "times",
        "money",
        "counters",
        "deliveries",
        "errors",
        "events",
        "events_derived",
        "examples",
        "facts",
        "payloads",
        "payloads_derived",
        "results",
        "settings",
        "setting_forms",
    },
    "storage": {"database", "redis", "log", "wallet"},
    "services": set[str](),
    "workers": {"broker", "pace", "pipeline"},
    "hub/api": {"errors", "bodies", "figures", "operations", "samples"},
    "hub/pages": set[str](),
}
WIRING = {"workers/app.py", "hub/api/routes.py", "hub/live/routes.py"}
# hub/ itself: what its parts may use of one another besides the ground of the folder.
HUB_GROUND = {
    "hub.audit", "hub.auth", "hub.auth_keys", "hub.background", "hub.bucket", "hub.context",
    "hub.metrics", "hub.peer", "hub.standing",
}  # fmt: skip
HUB_PARTS = {
    "api": set[str](),
    "live": {"sessions", "wire"},
    "pages": set[str](),
    "sessions": {"wire"},
    "wire": set[str](),
}

PRODUCT = python_files(*LAYERS)
PYTHON = python_files(*LAYERS, "tests", "examples")


def complain(faults: Iterator[str] | list[str]) -> None:
    """Fails with one fault per line."""
    found = sorted(set(faults))
    assert not found, "\n" + "\n".join(found)


def test_layers_import_only_downwards() -> None:
    complain(
        f"{source.path} imports {name}"
        for source in PRODUCT
        for name in imports(source)
        if (layer := name.partition(".")[0]) != source.layer
        and layer not in MAY_IMPORT[source.layer]
    )


def test_protocol_knows_little_of_the_domain() -> None:
    complain(
        f"{source.path} imports {name}"
        for source in python_files("protocol")
        for name in imports(source)
        if name.startswith("domain") and name not in PROTOCOL_MAY_IMPORT
    )


@pytest.mark.parametrize("folder", GROUND)
def test_nouns_of_a_layer_are_strangers(folder: str) -> None:
    package = folder.replace("/", ".")

    def noun(module: str) -> str:
        return module.removeprefix(f"{package}.").partition(".")[0]

    complain(
        f"{source.path} imports {name}"
        for source in python_files(folder)
        if source.path not in WIRING
        for name in imports(source)
        if name.startswith(f"{package}.")
        and noun(name) != noun(source.module)
        and noun(name) not in GROUND[folder]
    )


def test_the_parts_of_the_hub_meet_only_on_its_ground() -> None:
    def faults() -> Iterator[str]:
        for source in python_files("hub"):
            part = source.path.split("/")[1]
            if part not in HUB_PARTS:
                continue
            for name in imports(source):
                if not name.startswith("hub.") or name in HUB_GROUND:
                    continue
                if name.split(".")[1] not in {part, *HUB_PARTS[part]} and not _api_ground(name):
                    yield f"{source.path} imports {name}"

    complain(faults())


def _api_ground(name: str) -> bool:
    """POST /api/v1/ingest answers errors and bodies like every other URL."""
    return name in {f"hub.api.{noun}" for noun in GROUND["hub/api"]}


def test_no_circle_of_imports() -> None:
    edges = {
        source.module: set(imports(source, types_too=False)) - {source.module} for source in PRODUCT
    }
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> Iterator[str]:
        if module in path:
            yield " -> ".join([*path[path.index(module) :], module])
            return
        if module in done:
            return
        for name in sorted(edges.get(module, ())):
            yield from visit(name, [*path, module])
        done.add(module)

    complain(fault for module in sorted(modules()) for fault in visit(module, []))


# -- the pure part --------------------------------------------------------------------------------

PURE_HUB = {
    "hub/bucket.py",
    "hub/sessions/limits.py",
    "hub/sessions/session.py",
    "hub/wire/frames.py",
    "hub/wire/handshake.py",
    "hub/wire/mask.py",
    "hub/wire/receiver.py",
}
PURE = [
    *python_files("domain"),
    *(source for source in python_files("hub") if source.path in PURE_HUB),
]
IMPURE_MODULES = {
    "asyncio", "http", "io", "logging", "pathlib", "random", "secrets", "shutil", "socket",
    "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib.request",
}  # fmt: skip
IMPURE_CALLS = re.compile(
    r"\b(datetime\.(now|utcnow|today)|date\.today|os\.(environ|getenv|urandom|open)|open|print"
    r"|uuid\.uuid[14]|uuid[14])\b\s*[\(\[.]"
)


def test_the_pure_part_neither_waits_nor_looks_around() -> None:
    complain(fault for source in PURE for fault in _impurities(source))


def _impurities(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        where = f"{source.path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"{where} waits"
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name in IMPURE_MODULES or name.name.split(".")[0] in IMPURE_MODULES:
                    yield f"{where} imports {name.name}"
        elif isinstance(node, ast.ImportFrom) and node.module in IMPURE_MODULES:
            if {name.name for name in node.names} != {"PurePath"}:
                yield f"{where} imports {node.module}"
        elif isinstance(node, ast.Call | ast.Subscript) and IMPURE_CALLS.match(ast.unparse(node)):
            yield f"{where} says {ast.unparse(node)[:40]}"


# The arithmetic of team ratings is another's; it neither waits nor looks around either.
DOMAIN_MAY_USE = {"domain/ratings/plackett_luce.py": {"openskill"}}


def test_the_domain_needs_nothing_but_the_standard_library_and_msgspec() -> None:
    needed = sys.stdlib_module_names | {"msgspec", "domain"}

    def faults() -> Iterator[str]:
        for source in python_files("domain"):
            allowed = needed | DOMAIN_MAY_USE.get(source.path, set())
            for node in ast.walk(source.tree):
                names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                for name in names:
                    if name.partition(".")[0] not in allowed:
                        yield f"{source.path} imports {name}"

    complain(faults())


# -- the form of a file ---------------------------------------------------------------------------

FILE_LINES_MAX = 400
TEST_LINES_MAX = 500  # a longer test says that its module is two modules
FUNCTION_LINES_MAX = 70
# A ratchet: what is longer may only shrink. Empty is how it should be.
LONGER_FILES: dict[str, int] = {}
LONGER_FUNCTIONS: dict[str, int] = {}

_VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|misc|common)($|_)")


def test_every_file_opens_with_one_sentence() -> None:
    def faults() -> Iterator[str]:
        for source in PYTHON:
            first = (ast.get_docstring(source.tree, clean=False) or "").partition("\n")[0]
            if not source.text.startswith('"""') or not first.strip():
                yield f"{source.path} does not begin with a sentence"
            elif not first.endswith(".") or re.search(r"[.!?] [A-Z]", first):
                yield f"{source.path} begins with {first!r}: one sentence, on one line"

    complain(faults())


def test_annotations_are_never_evaluated() -> None:
    complain(
        f"{source.path} lacks `from __future__ import annotations`"
        for source in PYTHON
        if len(source.tree.body) > 1 and "from __future__ import annotations\n" not in source.text
    )


def test_files_are_short() -> None:
    complain(
        f"{source.path} has {lines} lines"
        for source in PYTHON
        if (lines := source.text.count("\n")) > LONGER_FILES.get(source.path, _lines_max(source))
    )


def _lines_max(source: Source) -> int:
    return TEST_LINES_MAX if source.layer == "tests" else FILE_LINES_MAX


def test_functions_fit_a_screen() -> None:
    complain(
        f"{source.path} {node.name} has {lines} lines"
        for source in PYTHON
        for node in _functions(source)
        if (lines := (node.end_lineno or 0) - node.lineno + 1)
        > LONGER_FUNCTIONS.get(f"{source.path} {node.name}", FUNCTION_LINES_MAX)
    )


def test_the_ratchets_hold_no_slack() -> None:
    lengths = {source.path: source.text.count("\n") for source in PYTHON}
    assert {path: lengths.get(path) for path in LONGER_FILES} == LONGER_FILES
    functions = {
        f"{source.path} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for source in PYTHON
        for node in _functions(source)
    }
    assert {name: functions.get(name) for name in LONGER_FUNCTIONS} == LONGER_FUNCTIONS


def test_names_say_what_a_thing_is() -> None:
    def faults() -> Iterator[str]:
        for source in PYTHON:
            if _VAGUE.search(PurePosixPath(source.path).stem):
                yield source.path
            for node in ast.walk(source.tree):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).lower()
                    if _VAGUE.search(words):
                        yield f"{source.path} {node.name}"

    complain(faults())


def test_public_functions_are_described() -> None:
    complain(
        f"{source.path} {node.name}"
        for source in PRODUCT
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and node in _top_level(source)
        and ast.get_docstring(node) is None
    )


def _functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _top_level(source: Source) -> set[ast.AST]:
    """Definitions of the module and of its public classes, nested functions left out."""
    found: set[ast.AST] = set(source.tree.body)
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found.update(node.body)
    return found


# -- where things may be said ---------------------------------------------------------------------

_SQL = re.compile(
    r"\s*(SELECT\s|INSERT INTO\s|UPDATE\s+[\w.]+\s+SET\s|DELETE FROM\s|TRUNCATE\s|WITH\s+\w+\s+AS\s"
    r"|LISTEN\s|NOTIFY\s|COPY\s+\w|ALTER TABLE\s|CREATE (TABLE|INDEX|SCHEMA)\s|LOCK TABLE\s)"
)


# The load test may import nothing of storage, and counts what Postgres did in all.
_ASKS_POSTGRES_TOO = {"loadtest/postgres.py"}


def test_sql_is_written_in_storage_alone() -> None:
    complain(
        f"{source.path}:{node.lineno} {node.value.strip()[:50]!r}"
        for source in PRODUCT
        if source.layer != "storage" and source.path not in _ASKS_POSTGRES_TOO
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value)
    )


def test_the_environment_is_read_by_the_command_line_alone() -> None:
    complain(
        f"{source.path}:{node.lineno}"
        for source in PRODUCT
        if source.layer != "gamehub" and source.path != "loadtest/options.py"  # its command line
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node) in ("os.environ", "os.getenv", "environb", "os.putenv")
    )


# Folders of one machine, and hosts that packages came from: neither belongs into a project.
_LOCAL = re.compile(
    r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)/\w"
    r"|\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|pkg\.dev|artifactory|nexus\.)"
    r"|--(?:extra-)?index-url|--find-links|--trusted-host"
)


def test_no_trace_of_one_machine() -> None:
    def faults() -> Iterator[str]:
        for name in tracked_files():
            if name == "tests/test_house.py":
                continue
            try:
                text = (ROOT / name).read_text("utf-8")
            except UnicodeDecodeError:
                continue
            for number, line in enumerate(text.splitlines(), 1):
                if found := _LOCAL.search(line):
                    yield f"{name}:{number} {found.group()}"

    complain(faults())
