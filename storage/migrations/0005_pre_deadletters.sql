-- Facts that a pipeline could not apply (EVT-03).
CREATE SCHEMA deadletters;

CREATE TABLE deadletters.letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    seq bigint NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    error_type text NOT NULL,
    error_text text NOT NULL,
    attempts int NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (pipeline, seq)
);
