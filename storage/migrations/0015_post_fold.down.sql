-- The rows are made again from the log by the release before.
CREATE TABLE history.matches (
    subject_type text NOT NULL CHECK (subject_type IN ('team', 'user')),
    subject_id text NOT NULL,
    match_id text NOT NULL,
    game text NOT NULL,
    tournament_id text,
    played_at timestamptz NOT NULL,
    name text,
    team_id text,
    opponents jsonb NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('win', 'loss', 'draw', 'none')),
    decided_by text NOT NULL CHECK (decided_by IN ('play', 'forfeit', 'walkover')),
    scores jsonb NOT NULL,
    best_of smallint,
    duration_s int,
    map text,
    mode text,
    games_played smallint NOT NULL,
    stats jsonb NOT NULL,
    log_seq bigint NOT NULL,
    PRIMARY KEY (subject_type, subject_id, match_id)
);
CREATE INDEX matches_newest ON history.matches (subject_type, subject_id, played_at, match_id);
CREATE INDEX matches_match_id ON history.matches (match_id);
CREATE INDEX matches_totals ON history.matches (subject_id, tournament_id) INCLUDE (outcome)
WHERE subject_type = 'user';
