-- Stream overlays and who they belong to (RT-13), and users' totals over their history (STAT-10).
CREATE SCHEMA overlays;

-- The token is not kept: it is signed again from these columns whenever its owner asks for it.
CREATE TABLE overlays.overlays (
    overlay_id text PRIMARY KEY,
    owner text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('scoreboard', 'feed', 'player')),
    subject text NOT NULL,
    title text,
    options jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at)
);
COMMENT ON COLUMN overlays.overlays.overlay_id IS 'the jti of its token';
CREATE INDEX overlays_owner ON overlays.overlays (owner, created_at, overlay_id);

-- Everything that a user's totals need, so that counting them reads no rows.
CREATE INDEX matches_totals ON history.matches (subject_id, tournament_id) INCLUDE (outcome)
WHERE subject_type = 'user';
