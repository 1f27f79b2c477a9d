"""The AsyncAPI project's own parser reads the published document without a complaint."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from gamehub.contract import SERVED
from tests.servers import missing
from tests.sources import ROOT

PARSER = "@asyncapi/parser@3.6.3"
# Kept between runs, outside what git has: the parser and what it needs are 55 MB.
CACHE = Path(sys.prefix) / "node" / PARSER.replace("/", "-")
INSTALL_TIMEOUT_S = 240
CHECK = """
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';
const { diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'));
console.log(JSON.stringify(diagnostics));
"""
WARNING = 1  # 0 is an error; 2 and 3 are advice, such as to use a newer version

pytestmark = [pytest.mark.proof, pytest.mark.timeout(INSTALL_TIMEOUT_S + 60)]


async def run(*command: str, cwd: Path) -> str:
    """The command's output; fails with all that it said unless it ends well."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complained = await asyncio.wait_for(process.communicate(), INSTALL_TIMEOUT_S)
    assert process.returncode == 0, f"{command[0]}: {said.decode()}{complained.decode()}"
    return said.decode()


@pytest.fixture
async def parser() -> Path:
    """The folder with the parser; npm brings it when it is not there yet."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        missing("the AsyncAPI parser needs node and npm")
    script = CACHE / "check.mjs"
    if not script.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_text('{"private": true}')
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--loglevel=error")
        try:
            await run(npm, "install", *quiet, PARSER, cwd=CACHE)
        except (AssertionError, TimeoutError) as error:
            missing(f"npm cannot bring the AsyncAPI parser: {error}")
        script.write_text(CHECK)
    return script


async def complaints(script: Path, document: Path) -> list[str]:
    """What the parser finds wrong with a document."""
    said = await run("node", str(script), str(document), cwd=script.parent)
    return [
        f"{'/'.join(map(str, each['path']))}: {each['message']}"
        for each in json.loads(said)
        if each["severity"] <= WARNING
    ]


async def test_the_asyncapi_document_is_valid(parser: Path) -> None:
    assert await complaints(parser, ROOT / SERVED / "asyncapi.json") == []


async def test_a_wrong_document_would_be_seen(parser: Path, tmp_path: Path) -> None:
    whole = json.loads((ROOT / SERVED / "asyncapi.json").read_text("utf-8"))
    whole["operations"]["viewer.join"]["action"] = "shout"
    wrong = tmp_path / "asyncapi.json"
    wrong.write_text(json.dumps(whole))
    found = "\n".join(await complaints(parser, wrong))
    assert "operations/viewer.join/action" in found
