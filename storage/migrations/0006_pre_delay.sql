-- Spectator delay: facts that wait for their time, and what everyone may know of their matches.
CREATE TABLE log.pending (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    release_at timestamptz NOT NULL,
    delay_s int NOT NULL CHECK (delay_s > 0),
    event_id uuid NOT NULL UNIQUE,
    type text NOT NULL CHECK (length(type) <= 50),
    v smallint NOT NULL,
    subject text NOT NULL,
    tournament_id text,
    occurred_at timestamptz NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    payload bytea NOT NULL,
    match bytea
);
COMMENT ON TABLE log.pending IS 'facts of delayed matches: acked, appended to log.facts when due';
COMMENT ON COLUMN log.pending.match IS 'msgpack: the match as everyone may know it from then on';
CREATE INDEX pending_release ON log.pending (release_at, id);
CREATE INDEX pending_subject ON log.pending (subject, release_at);
CREATE INDEX pending_tournament ON log.pending (tournament_id, release_at)
    WHERE tournament_id IS NOT NULL;

-- Matches with a delay as they were that long ago; matches.matches has them as they are.
CREATE TABLE matches.shown (LIKE matches.matches INCLUDING ALL);
