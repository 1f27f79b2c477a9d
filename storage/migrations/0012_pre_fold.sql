-- What follows from results (contract: The fold): every table here is made from the log alone, and
-- `gamehub rebuild fold` makes it again. Indexes carry the names that Postgres gives them, so that
-- a table made beside a live one has the same.

-- What a pipeline has done, counted where its cursor moves.
ALTER TABLE log.cursors
    ADD COLUMN batches bigint NOT NULL DEFAULT 0,
    ADD COLUMN facts bigint NOT NULL DEFAULT 0,
    ADD COLUMN busy_ms double precision NOT NULL DEFAULT 0,
    ADD COLUMN last_ms double precision NOT NULL DEFAULT 0,
    ADD COLUMN failures bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN log.cursors.failures IS 'batches that failed and were tried again';

-- What a game declares of itself (game.configured); games that declare nothing have the defaults.
CREATE SCHEMA games;
CREATE TABLE games.games (
    game text PRIMARY KEY,
    title text,
    rating jsonb NOT NULL,
    stats jsonb NOT NULL,
    log_seq bigint NOT NULL
);

-- Seasons in the order of their start (season.started); game NULL: the global one.
CREATE SCHEMA seasons;
CREATE TABLE seasons.seasons (
    season_id text PRIMARY KEY,
    game text,
    number int NOT NULL,
    name text,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    xp_per_tier int NOT NULL,
    rewards jsonb NOT NULL,
    rating jsonb,
    log_seq bigint NOT NULL
);

CREATE SCHEMA statistics;
CREATE TABLE statistics.lifetime (
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    game text NOT NULL,
    played int NOT NULL,
    won int NOT NULL,
    lost int NOT NULL,
    drawn int NOT NULL,
    games int NOT NULL,
    seconds bigint NOT NULL,
    stats jsonb NOT NULL,
    streak int NOT NULL,
    best_streak int NOT NULL,
    tournaments int NOT NULL,
    first_played_at timestamptz NOT NULL,
    last_played_at timestamptz NOT NULL,
    PRIMARY KEY (subject_type, subject_id, game)
);
COMMENT ON COLUMN statistics.lifetime.played IS 'won + lost + drawn + those without outcome';
-- Days by season; weeks and seasons are sums of them, so they cannot disagree.
CREATE TABLE statistics.days (
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    game text NOT NULL,
    season_id text NOT NULL,
    day date NOT NULL,
    played int NOT NULL,
    won int NOT NULL,
    lost int NOT NULL,
    drawn int NOT NULL,
    games int NOT NULL,
    seconds bigint NOT NULL,
    stats jsonb NOT NULL,
    PRIMARY KEY (subject_type, subject_id, game, season_id, day)
);
-- A user over all games: what achievements count.
CREATE TABLE statistics.careers (
    user_id text PRIMARY KEY,
    counters jsonb NOT NULL
);
-- Who took part in which tournament, and for which team (STAT-08, ACH-04).
CREATE TABLE statistics.entered (
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    tournament_id text NOT NULL,
    team_id text,
    PRIMARY KEY (subject_type, subject_id, tournament_id)
);
CREATE INDEX entered_tournament_id_team_id_idx ON statistics.entered (tournament_id, team_id);

-- Which users played for which teams, ever.
CREATE TABLE statistics.played_for (
    user_id text NOT NULL,
    team_id text NOT NULL,
    PRIMARY KEY (user_id, team_id)
);

-- Tournaments whose final standing counted: each ends once, whoever says so again.
CREATE TABLE statistics.ended (
    tournament_id text PRIMARY KEY,
    log_seq bigint NOT NULL
);

CREATE SCHEMA ratings;
CREATE TABLE ratings.current (
    game text NOT NULL,
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    name text,
    system text NOT NULL,
    rating int NOT NULL CHECK (rating BETWEEN 100 AND 3000),
    peak int NOT NULL,
    rated int NOT NULL,
    won int NOT NULL,
    deviation double precision NOT NULL,
    volatility double precision NOT NULL,
    exact double precision NOT NULL,
    reached_minute int NOT NULL,
    reached_at timestamptz NOT NULL,
    last_rated_at timestamptz NOT NULL,
    -- The subject first: one index fewer to write, for it finds a subject's games too.
    PRIMARY KEY (subject_type, subject_id, game)
);
COMMENT ON COLUMN ratings.current.rated IS 'matches that were rated';
COMMENT ON COLUMN ratings.current.reached_minute IS
    'whole minutes since 2015 of the match that brought this rating (contract: Rating arithmetic)';
-- The order of boards, for reads that Redis cannot answer and for making its sets again.
CREATE INDEX current_game_subject_type_rating_won_reached_minute_subject_id_idx
    ON ratings.current
    (game, subject_type, rating DESC, won DESC, reached_minute, subject_id COLLATE "C");

-- One row per user and per team per match (HIST-01). What else the match was stands in its fact in
-- the log, by `log_seq`: players, scores, duration, map.
-- The history of the release before stands beside it until that release is gone (0015).
CREATE TABLE history.entries (
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    match_id text NOT NULL,
    log_seq bigint NOT NULL,
    game text NOT NULL,
    tournament_id text,
    team_id text,
    side smallint,
    played_at timestamptz NOT NULL,
    outcome text NOT NULL,
    decided_by text NOT NULL,
    rating_before smallint,
    rating_after smallint,
    -- What differs most comes first: rows of a match lie together, and sorting compares few bytes.
    PRIMARY KEY (match_id, subject_type, subject_id)
);
COMMENT ON COLUMN history.entries.side IS 'of the competitors, from 0; NULL: played for none';
COMMENT ON COLUMN history.entries.rating_before IS 'NULL: the match was not rated';
CREATE INDEX entries_subject_id_subject_type_played_at_match_id_idx ON history.entries
    (subject_id, subject_type, played_at, match_id);

-- Season XP by user; level, tier and what is missing to the next are derived (XP-04, XP-06, XP-07).
CREATE SCHEMA battlepass;
CREATE TABLE battlepass.progress (
    user_id text NOT NULL,
    season_id text NOT NULL,
    xp bigint NOT NULL,
    PRIMARY KEY (user_id, season_id)
);

-- Achievements by user (ACH-02); progress is read from statistics.careers.
CREATE SCHEMA achievements;
CREATE TABLE achievements.earned (
    user_id text NOT NULL,
    code text NOT NULL,
    earned_at timestamptz NOT NULL,
    match_id text,
    log_seq bigint NOT NULL,
    PRIMARY KEY (user_id, code)
);

-- -- making all of it again, beside the live tables -------------------------------------------------
CREATE SCHEMA rebuild;

CREATE TABLE rebuild.tables (
    position smallint PRIMARY KEY,
    schema_name name NOT NULL,
    table_name name NOT NULL
);
COMMENT ON TABLE rebuild.tables IS 'what the fold writes, and nobody else';
INSERT INTO rebuild.tables (position, schema_name, table_name) VALUES
    (1, 'games', 'games'),
    (2, 'seasons', 'seasons'),
    (3, 'statistics', 'lifetime'),
    (4, 'statistics', 'days'),
    (5, 'statistics', 'careers'),
    (6, 'statistics', 'entered'),
    (7, 'statistics', 'played_for'),
    (8, 'ratings', 'current'),
    (9, 'history', 'entries'),
    (10, 'battlepass', 'progress'),
    (11, 'achievements', 'earned'),
    (12, 'statistics', 'ended');

-- Empty tables rebuild_next.<schema>__<table> without indexes; what an earlier rebuild left is gone.
CREATE FUNCTION rebuild.begin() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    each record;
BEGIN
    DROP SCHEMA IF EXISTS rebuild_next CASCADE;
    CREATE SCHEMA rebuild_next;
    FOR each IN SELECT * FROM rebuild.tables ORDER BY position LOOP
        EXECUTE format('CREATE TABLE rebuild_next.%I (LIKE %I.%I INCLUDING ALL EXCLUDING INDEXES)',
                       each.schema_name || '__' || each.table_name,
                       each.schema_name, each.table_name);
    END LOOP;
END
$$;

-- The indexes that the live table has, on the new one, under the same names.
CREATE FUNCTION rebuild.add_indexes(of_schema name, of_table name) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    live regclass := format('%I.%I', of_schema, of_table)::regclass;
    next text := format('rebuild_next.%I', of_schema || '__' || of_table);
    each record;
BEGIN
    FOR each IN
        SELECT i.indexrelid::regclass AS index, pg_get_indexdef(i.indexrelid) AS definition,
               c.conname AS constraint_name, pg_get_constraintdef(c.oid) AS constraint_definition
        FROM pg_index i
        LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid
        WHERE i.indrelid = live
        ORDER BY i.indexrelid
    LOOP
        IF each.constraint_name IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', next, each.constraint_name,
                           each.constraint_definition);
        ELSE
            EXECUTE replace(each.definition, format(' ON %I.%I ', of_schema, of_table),
                            format(' ON %s ', next));
        END IF;
    END LOOP;
    EXECUTE format('ANALYZE %s', next);
END
$$;

-- How the new tables differ from the live ones: at most `most` rows of each side and table.
CREATE FUNCTION rebuild.differences(most int)
RETURNS TABLE (in_table text, side text, contents jsonb) LANGUAGE plpgsql AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT * FROM rebuild.tables ORDER BY position LOOP
        RETURN QUERY EXECUTE format(
            'SELECT %1$L, ''live'', to_jsonb(d) FROM ('
            'SELECT * FROM %2$s EXCEPT SELECT * FROM %3$s LIMIT %4$s) AS d',
            each.schema_name || '.' || each.table_name,
            format('%I.%I', each.schema_name, each.table_name),
            format('rebuild_next.%I', each.schema_name || '__' || each.table_name), most);
        RETURN QUERY EXECUTE format(
            'SELECT %1$L, ''rebuilt'', to_jsonb(d) FROM ('
            'SELECT * FROM %3$s EXCEPT SELECT * FROM %2$s LIMIT %4$s) AS d',
            each.schema_name || '.' || each.table_name,
            format('%I.%I', each.schema_name, each.table_name),
            format('rebuild_next.%I', each.schema_name || '__' || each.table_name), most);
    END LOOP;
END
$$;

-- Nobody else reads or writes the live tables until the transaction ends.
CREATE FUNCTION rebuild.lock() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    each record;
BEGIN
    -- Pictures of several tables at one moment hold this one (storage.rebuild.picture).
    LOCK TABLE rebuild.tables IN ACCESS EXCLUSIVE MODE;
    FOR each IN SELECT * FROM rebuild.tables ORDER BY position LOOP
        EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', each.schema_name,
                       each.table_name);
    END LOOP;
END
$$;

-- The new tables take the places, the owners and the rights of the live ones.
CREATE FUNCTION rebuild.swap() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    each record;
    given record;
    next text;
    owner name;
BEGIN
    FOR each IN SELECT * FROM rebuild.tables ORDER BY position LOOP
        next := each.schema_name || '__' || each.table_name;
        SELECT pg_get_userbyid(relowner) INTO owner FROM pg_class
        WHERE oid = format('%I.%I', each.schema_name, each.table_name)::regclass;
        IF owner <> current_user THEN
            EXECUTE format('ALTER TABLE rebuild_next.%I OWNER TO %I', next, owner);
        END IF;
        FOR given IN
            SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS to_role,
                   a.privilege_type AS right_name,
                   CASE WHEN a.is_grantable AND a.grantee <> c.relowner
                        THEN 'WITH GRANT OPTION' ELSE '' END AS further
            FROM pg_class c
            CROSS JOIN aclexplode(c.relacl) AS a
            LEFT JOIN pg_roles r ON r.oid = a.grantee
            WHERE c.oid = format('%I.%I', each.schema_name, each.table_name)::regclass
        LOOP
            EXECUTE format('GRANT %s ON rebuild_next.%I TO %s %s', given.right_name, next,
                           given.to_role, given.further);
        END LOOP;
        EXECUTE format('DROP TABLE %I.%I', each.schema_name, each.table_name);
        EXECUTE format('ALTER TABLE rebuild_next.%I RENAME TO %I', next, each.table_name);
        EXECUTE format('ALTER TABLE rebuild_next.%I SET SCHEMA %I', each.table_name,
                       each.schema_name);
    END LOOP;
    DROP SCHEMA rebuild_next;
END
$$;
