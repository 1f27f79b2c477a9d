"""Migrations: once, in order, all or nothing, and back again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from domain.errors import StartError, Unavailable
from storage import migrate
from storage.database import connection
from storage.migrate import Migration, MigrationStatus

# Everything that makes up a schema but the names of its files and the times of their application.
_SCHEMA = """
SELECT 'column ' || table_schema || '.' || table_name || '.' || column_name || ' ' || data_type
       || ' ' || is_nullable || ' ' || coalesce(column_default, generation_expression, '')
FROM information_schema.columns
WHERE table_schema NOT IN ('pg_catalog', 'information_schema', 'migrate')
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes
WHERE schemaname NOT IN ('pg_catalog', 'migrate')
UNION ALL
SELECT 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace
WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'migrate')
UNION ALL
SELECT 'function ' || pg_get_functiondef(p.oid)
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
WHERE nspname NOT IN ('pg_catalog', 'information_schema')
UNION ALL
SELECT 'view ' || viewname || ' ' || definition FROM pg_views
WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
UNION ALL
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_'
ORDER BY 1
"""


async def schema(url: str) -> list[str]:
    async with connection(url) as conn:
        return [row[0] for row in await conn.fetch(_SCHEMA)]


def step(name: str, up: str, down: str = "SELECT 1") -> Migration:
    return Migration(name, "post" if "_post_" in name else "pre", up, down)


ONE = step(
    "0001_pre_one", "CREATE TABLE one (id int); CREATE TABLE two (id int)", "DROP TABLE one, two"
)
BAD = step("0002_pre_bad", "CREATE TABLE bad (id int); SELECT 1 / 0")
POST = step("0002_post_tidy", "ALTER TABLE two RENAME TO three", "ALTER TABLE three RENAME TO two")
INDEX = step(
    "0003_pre_index",
    "-- gamehub: no-transaction\n-- a comment\n"
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON one (id);\n"
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS b ON one (id);\n",
    "-- gamehub: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS a;\n"
    "DROP INDEX CONCURRENTLY IF EXISTS b;\n",
)


async def test_every_migration_has_a_way_back(empty_database_url: str) -> None:
    """Each step back and forth leaves the same schema, and all the way back leaves nothing."""
    url = empty_database_url
    names = [each.name for each in migrate.load()]
    before = await schema(url)
    assert await migrate.up(url) == names
    whole = await schema(url)
    for steps in range(1, len(names) + 1):
        assert await migrate.down(url, steps=steps) == names[::-1][:steps]
        assert await migrate.up(url) == names[len(names) - steps :]
        assert await schema(url) == whole
    await migrate.down(url, steps=len(names))
    assert [each for each in await schema(url) if each != "schema migrate"] == before


async def test_again_is_nothing(database_url: str) -> None:
    assert await migrate.up(database_url) == []
    async with connection(database_url) as conn:
        assert await migrate.pending(conn) == []
        assert {each.state for each in await migrate.status(conn)} == {"applied"}


async def test_starters_do_not_race(empty_database_url: str) -> None:
    done = await asyncio.gather(*(migrate.up(empty_database_url) for _ in range(4)))
    assert sorted(len(each) for each in done) == [0, 0, 0, len(migrate.load())]


async def test_a_failing_migration_leaves_nothing_behind(empty_database_url: str) -> None:
    url = empty_database_url
    with pytest.raises(StartError, match="0002_pre_bad"):
        await migrate.up(url, migrations=[ONE, BAD, INDEX])
    async with connection(url) as conn:
        assert await conn.fetchval("SELECT to_regclass('bad')") is None
        assert await migrate.status(conn, [ONE, BAD]) == [
            MigrationStatus("0001_pre_one", "applied"),
            MigrationStatus("0002_pre_bad", "pending"),
        ]
    mended = step("0002_pre_bad", "CREATE TABLE bad (id int)")
    assert await migrate.up(url, migrations=[ONE, mended]) == ["0002_pre_bad"]


async def test_phases_and_what_readiness_asks(empty_database_url: str) -> None:
    url = empty_database_url
    async with connection(url) as conn:
        assert await migrate.pending(conn, [ONE, POST]) == ["0001_pre_one"]
        assert await migrate.up(url, phase="pre", migrations=[ONE, POST]) == ["0001_pre_one"]
        # The new code may run now; tidying up waits until the old code is gone.
        assert await migrate.pending(conn, [ONE, POST]) == []
        assert await migrate.up(url, migrations=[ONE, POST]) == ["0002_post_tidy"]


async def test_a_newer_database_is_named_and_left_alone(empty_database_url: str) -> None:
    url = empty_database_url
    await migrate.up(url, migrations=[ONE, POST])
    async with connection(url) as conn:
        assert await migrate.status(conn, [ONE]) == [
            MigrationStatus("0001_pre_one", "applied"),
            MigrationStatus("0002_post_tidy", "unknown"),
        ]
        assert await migrate.pending(conn, [ONE]) == []
    with pytest.raises(StartError, match="0002_post_tidy"):
        await migrate.down(url, migrations=[ONE])


async def test_a_changed_file_is_noticed(empty_database_url: str) -> None:
    url = empty_database_url
    await migrate.up(url, migrations=[ONE])
    changed = step("0001_pre_one", "CREATE TABLE one (id bigint)")
    with pytest.raises(StartError, match="has changed"):
        await migrate.up(url, migrations=[changed])
    async with connection(url) as conn:
        assert (await migrate.status(conn, [changed]))[0].state == "changed"


async def test_indexes_are_built_beside_running_transactions(empty_database_url: str) -> None:
    """Two starters and a reader: CREATE INDEX CONCURRENTLY must not wait for who waits for it."""
    url = empty_database_url
    await migrate.up(url, migrations=[ONE])
    done = await asyncio.gather(*(migrate.up(url, migrations=[ONE, INDEX]) for _ in range(3)))
    assert sum(len(each) for each in done) == 1
    async with connection(url) as conn:
        assert await conn.fetchval("SELECT to_regclass('b')") is not None
    assert await migrate.down(url, migrations=[ONE, INDEX]) == ["0003_pre_index"]
    async with connection(url) as conn:
        assert await conn.fetchval("SELECT to_regclass('a')") is None


async def test_a_half_built_index_is_not_taken_for_a_good_one(empty_database_url: str) -> None:
    url = empty_database_url
    await migrate.up(url, migrations=[ONE])
    async with connection(url) as conn:
        await conn.execute("INSERT INTO one VALUES (1), (1)")
        with pytest.raises(asyncpg.UniqueViolationError):
            await conn.execute("CREATE UNIQUE INDEX CONCURRENTLY a ON one (id)")
        with pytest.raises(StartError, match="DROP INDEX a"):
            await migrate.up(url, migrations=[ONE, INDEX])
        await conn.execute("DROP INDEX a")
    assert await migrate.up(url, migrations=[ONE, INDEX]) == ["0003_pre_index"]


async def test_a_database_that_is_away() -> None:
    with pytest.raises(Unavailable):
        await migrate.up("postgresql://nobody@127.0.0.1:1/nowhere")


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (["1_pre_short.sql"], "not named"),
        (["0001_pre_alone.sql"], "way back"),
        (
            [f"0001_pre_{n}{end}" for n in ("a", "b") for end in (".sql", ".down.sql")],
            "same number",
        ),
    ],
)
def test_a_folder_that_is_wrong(tmp_path: Path, files: list[str], text: str) -> None:
    for name in files:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(StartError, match=text):
        migrate.load(tmp_path)
