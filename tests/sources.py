"""The project's own sources, parsed once, for the tests that keep the house tidy."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("gamehub", "hub", "workers", "services", "storage", "domain", "loadtest", "protocol")


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, dotted name, text and tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def layer(self) -> str:
        """The top folder."""
        return self.path.partition("/")[0]

    @property
    def module(self) -> str:
        """The dotted name that it is imported by."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def python_files(*folders: str) -> tuple[Source, ...]:
    """All Python files under the folders, in order."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            name = path.relative_to(ROOT).as_posix()
            found.append(Source(name, text, ast.parse(text, name)))
    return tuple(found)


@cache
def tracked_files() -> tuple[str, ...]:
    """What git has or would take, or, outside a checkout, every file that is no cache."""
    if shutil.which("git") and (ROOT / ".git").exists():
        done = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            names = done.stdout.decode().split("\0")
            return tuple(sorted(name for name in names if name and (ROOT / name).is_file()))
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return tuple(
        sorted(
            path.as_posix()
            for path in paths
            if not any(part.startswith(".venv") or part == "__pycache__" for part in path.parts)
        )
    )


def _type_checking_only(tree: ast.Module) -> set[ast.AST]:
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for part in node.body:
                inside.update(ast.walk(part))
    return inside


def imports(source: Source, *, types_too: bool = True) -> Iterator[str]:
    """Dotted names of our own modules that the file imports, wherever in the file.

    `types_too`: also those under `if TYPE_CHECKING`.
    """
    known = modules()
    skipped = set() if types_too else _type_checking_only(source.tree)
    for node in ast.walk(source.tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.partition(".")[0] in LAYERS:
                    yield name.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.partition(".")[0] not in LAYERS:
                continue
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in known else node.module


@cache
def modules() -> frozenset[str]:
    """Dotted names of all our modules."""
    return frozenset(source.module for source in python_files(*LAYERS))
