-- What is known of each match (storage/matches).
CREATE SCHEMA matches;

CREATE TABLE matches.matches (
    match_id text PRIMARY KEY,
    game text NOT NULL,
    competitors jsonb NOT NULL,
    status text NOT NULL
        CHECK (status IN ('SCHEDULED', 'LIVE', 'COMPLETED', 'FORFEIT', 'CANCELLED')),
    tournament_id text,
    title text,
    round text,
    best_of smallint,
    delay_s smallint NOT NULL DEFAULT 0,
    starts_at timestamptz,
    started_at timestamptz,
    played_at timestamptz,
    scores jsonb,
    outcome text CHECK (outcome IN ('win', 'draw', 'none')),
    winner_id text,
    result_hash bytea,
    holder_server text,
    holder_stream text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The part of the listing that shows the match, and its place in it.
    section text NOT NULL GENERATED ALWAYS AS (
        CASE status WHEN 'LIVE' THEN 'live' WHEN 'SCHEDULED' THEN 'scheduled' ELSE 'finished' END
    ) STORED,
    listed_at timestamptz NOT NULL GENERATED ALWAYS AS (
        coalesce(
            CASE status WHEN 'LIVE' THEN started_at WHEN 'SCHEDULED' THEN starts_at
                        ELSE played_at END,
            timestamptz '9999-12-31 00:00:00+00'
        )
    ) STORED
);
CREATE INDEX matches_listing ON matches.matches (section, listed_at, match_id);
CREATE INDEX matches_listing_of_game ON matches.matches (game, section, listed_at, match_id);
CREATE INDEX matches_tournament ON matches.matches (tournament_id) WHERE tournament_id IS NOT NULL;
