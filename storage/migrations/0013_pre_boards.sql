-- Nightly pictures of boards and cards (SNAP-01, SNAP-02), inboxes (NOTF-08), who shows what of
-- themselves (STAT-06, LB-02), and the clock's ticks (contract: The fold).
CREATE SCHEMA leaderboards;
CREATE TABLE leaderboards.snapshots (
    game text NOT NULL,
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    taken_on date NOT NULL,
    rank int NOT NULL,
    subjects int NOT NULL,
    rating int NOT NULL,
    tier text NOT NULL,
    percentile real NOT NULL,
    kda real,
    streak int NOT NULL,
    best_streak int NOT NULL,
    PRIMARY KEY (game, subject_type, subject_id, taken_on)
);
COMMENT ON COLUMN leaderboards.snapshots.subjects IS 'how many the board had that night';
CREATE INDEX snapshots_taken_on_idx ON leaderboards.snapshots (taken_on);

CREATE SCHEMA notifications;
CREATE TABLE notifications.inbox (
    notification_id uuid PRIMARY KEY,
    user_id text NOT NULL,
    type text NOT NULL,
    group_key text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    data jsonb NOT NULL,
    count int NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    log_seq bigint NOT NULL,
    read_at timestamptz
);
COMMENT ON COLUMN notifications.inbox.count IS 'so many alike ones, told as one (NOTF-04)';
COMMENT ON COLUMN notifications.inbox.log_seq IS 'the last fact that it tells of';
CREATE INDEX inbox_newest ON notifications.inbox (user_id, log_seq, notification_id);
-- One unread notice per group and user: alike ones join it.
CREATE UNIQUE INDEX inbox_groups ON notifications.inbox (user_id, type, group_key)
WHERE read_at IS NULL;

-- What users say of themselves. No row: no country, public.
CREATE SCHEMA profiles;
CREATE TABLE profiles.profiles (
    user_id text PRIMARY KEY,
    display_name text CHECK (length(display_name) <= 100),
    country text CHECK (country ~ '^[A-Z]{2}$'),
    is_public boolean NOT NULL DEFAULT true,
    updated_at timestamptz NOT NULL
);
CREATE INDEX profiles_country_idx ON profiles.profiles (country) WHERE country IS NOT NULL;

-- Each tick of each job happens once: its row is written in the job's own transaction.
CREATE SCHEMA clock;
CREATE TABLE clock.ticks (
    job text NOT NULL,
    due_at timestamptz NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome jsonb,
    PRIMARY KEY (job, due_at)
);
COMMENT ON COLUMN clock.ticks.outcome IS 'what the job said of it';
