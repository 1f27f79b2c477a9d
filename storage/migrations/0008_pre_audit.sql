-- The audit log: who did what, from where (AUD-09). One partition per month, so that what is old
-- goes as a whole table (AUD-10); nothing else ever changes or removes a row.
CREATE SCHEMA audit;

CREATE SEQUENCE audit.entry_ids;

CREATE TABLE audit.entries (
    id bigint NOT NULL DEFAULT nextval('audit.entry_ids'),
    occurred_at timestamptz(3) NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL CHECK (length(actor) <= 160),
    role text NOT NULL CHECK (length(role) <= 32),
    action text COLLATE "C" NOT NULL CHECK (action ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$'
                                            AND length(action) <= 64),
    target_type text CHECK (length(target_type) <= 32),
    target_id text CHECK (length(target_id) <= 256),
    tournament_id text CHECK (length(tournament_id) <= 128),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (octet_length(metadata::text) <= 8192),
    ip inet,
    user_agent text CHECK (length(user_agent) <= 256),
    trace_id text CHECK (length(trace_id) <= 64),
    PRIMARY KEY (occurred_at, id)
) PARTITION BY RANGE (occurred_at);
ALTER SEQUENCE audit.entry_ids OWNED BY audit.entries.id;
COMMENT ON TABLE audit.entries IS
    'append-only; partitions entries_YYYY_MM, and entries_rest for what no month was made for';

CREATE INDEX entries_actor ON audit.entries (actor, occurred_at, id);
CREATE INDEX entries_action ON audit.entries (action, occurred_at, id);
CREATE INDEX entries_target ON audit.entries (target_type, target_id, occurred_at, id)
    WHERE target_id IS NOT NULL;
CREATE INDEX entries_tournament ON audit.entries (tournament_id, occurred_at, id)
    WHERE tournament_id IS NOT NULL;

CREATE FUNCTION audit.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

-- For statements that name the table itself, whether they would meet a row or not ...
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse();
-- ... and for those that name a partition: Postgres gives this one to every partition.
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON audit.entries
    FOR EACH ROW EXECUTE FUNCTION audit.refuse();
-- Also where session_replication_role = replica turns ordinary triggers off.
ALTER TABLE audit.entries ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit.entries ENABLE ALWAYS TRIGGER append_only_rows;

-- TRUNCATE knows no row triggers, so every partition gets its own.
CREATE FUNCTION audit.seal(partition regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only BEFORE TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse()', partition);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', partition);
END
$$;

-- What no month was made for: nothing is ever refused for want of a partition.
CREATE FUNCTION audit.make_rest() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE audit.entries_rest PARTITION OF audit.entries DEFAULT;
    PERFORM audit.seal('audit.entries_rest');
END
$$;

-- Makes the partitions of this month and of `ahead` months after it, where they are missing; answers
-- how many were made. A month that has rows in entries_rest already stays there.
CREATE FUNCTION audit.make_months(ahead int) RETURNS int LANGUAGE plpgsql
SET timezone = 'UTC' AS $$
DECLARE
    first timestamptz;
    name text;
    made int := 0;
BEGIN
    FOR i IN 0 .. ahead LOOP
        first := date_trunc('month', now()) + make_interval(months => i);
        name := 'entries_' || to_char(first, 'YYYY_MM');
        CONTINUE WHEN to_regclass('audit.' || name) IS NOT NULL OR EXISTS (
            SELECT FROM audit.entries_rest
            WHERE occurred_at >= first AND occurred_at < first + interval '1 month');
        EXECUTE format('CREATE TABLE audit.%I PARTITION OF audit.entries '
                       'FOR VALUES FROM (%L) TO (%L)', name, first, first + interval '1 month');
        PERFORM audit.seal(('audit.' || name)::regclass);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Drops the months that ended at or before `cutoff`, and entries_rest when all in it is older;
-- answers their names.
CREATE FUNCTION audit.drop_months(cutoff timestamptz) RETURNS SETOF text LANGUAGE plpgsql
SET timezone = 'UTC' AS $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'audit.entries'::regclass AND c.relname ~ '^entries_\d{4}_\d{2}$'
          AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= cutoff
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE audit.%I', name);
        RETURN NEXT name;
    END LOOP;
    IF (SELECT max(occurred_at) FROM audit.entries_rest) < cutoff THEN
        DROP TABLE audit.entries_rest;
        PERFORM audit.make_rest();
        RETURN NEXT 'entries_rest';
    END IF;
END
$$;

SELECT audit.make_rest();
SELECT audit.make_months(3);

-- For operators: the facts of one type without reading the others (gamehub log, EVT-04).
CREATE INDEX facts_type ON log.facts (type COLLATE "C", seq);
-- For counting by the hour: what was recorded since.
CREATE INDEX facts_recorded_at ON log.facts USING brin (recorded_at);
