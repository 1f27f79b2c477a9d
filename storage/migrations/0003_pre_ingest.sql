-- Streams of game servers, what became of each of their FACTs, and the refused ones.
CREATE SCHEMA ingest;

-- One row per spool of a server. A row with facts is kept for good: its numbers may not be reused.
CREATE TABLE ingest.streams (
    server text NOT NULL,
    stream text NOT NULL,
    connection_id text,
    fact_seq bigint NOT NULL DEFAULT 0 CHECK (fact_seq >= 0),
    last_heard_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (server, stream)
) WITH (fillfactor = 70);

CREATE TABLE ingest.receipts (
    server text NOT NULL,
    stream text NOT NULL,
    seq bigint NOT NULL,
    content_hash bytea NOT NULL,
    event_id uuid,
    code text,
    message text,
    field text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (server, stream, seq)
);
COMMENT ON COLUMN ingest.receipts.event_id IS 'the fact in the log; null: nacked or nothing changed';
COMMENT ON COLUMN ingest.receipts.code IS 'why it was nacked; null: acked';
CREATE INDEX receipts_age ON ingest.receipts (created_at);

CREATE TABLE ingest.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server text NOT NULL,
    stream text NOT NULL,
    seq bigint NOT NULL,
    content_hash bytea NOT NULL,
    type text NOT NULL,
    match_id text,
    sent_at_ms bigint NOT NULL,
    received_at timestamptz NOT NULL,
    data bytea NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    field text,
    scope jsonb NOT NULL,
    games jsonb,
    UNIQUE (server, stream, seq, content_hash)
);
CREATE INDEX quarantine_age ON ingest.quarantine (received_at);
