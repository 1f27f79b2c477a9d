"""Answers with an ETag: who has the answer already is told so, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from hub.api.bodies import answer
from tests.hub.api.serving import Client, serving


async def tagged(request: web.Request) -> web.Response:
    return answer({"said": request.query.get("say", "")}, etag=True, max_age_s=7)


async def untagged(_request: web.Request) -> web.Response:
    return answer({"said": ""})


async def gone(_request: web.Request) -> web.Response:
    return answer({"said": ""}, status=404, etag=True)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    more = [
        web.get("/tagged", tagged),
        web.get("/untagged", untagged),
        web.get("/gone", gone),
        web.post("/tagged", tagged),
    ]
    async with serving(more=more) as opened:
        yield opened


async def etag_of(client: Client, path: str) -> str:
    response = await client.get(path)
    return response.headers["ETag"]


async def test_an_answer_names_itself_and_its_age(client: Client) -> None:
    response = await client.get("/tagged?say=a")
    assert response.status == 200
    assert response.headers["Cache-Control"] == "private, max-age=7"
    assert response.headers["Vary"] == "Authorization"
    assert response.headers["ETag"] == await etag_of(client, "/tagged?say=a")
    assert response.headers["ETag"] != await etag_of(client, "/tagged?say=b")


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
async def test_who_has_it_gets_304(client: Client, form: str) -> None:
    etag = await etag_of(client, "/tagged")
    response = await client.get("/tagged", headers={"If-None-Match": form.format(etag)})
    assert (response.status, await response.read()) == (304, b"")
    assert response.headers["ETag"] == etag
    assert response.headers["Cache-Control"] == "private, max-age=7"
    assert "X-Request-ID" in response.headers


@pytest.mark.parametrize("given", ['"other"', "nonsense", ""])
async def test_who_has_another_gets_the_answer(client: Client, given: str) -> None:
    response = await client.get("/tagged", headers={"If-None-Match": given})
    assert (response.status, await response.json()) == (200, {"said": ""})


async def test_only_reads_that_went_well_are_told_so(client: Client) -> None:
    any_of_it = {"If-None-Match": "*"}
    assert (await client.get("/untagged", headers=any_of_it)).status == 200
    assert (await client.get("/gone", headers=any_of_it)).status == 404
    assert (await client.post("/tagged", headers=any_of_it)).status == 200
    assert (await client.head("/tagged", headers=any_of_it)).status == 304
