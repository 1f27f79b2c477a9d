-- Revoked tokens and people (storage/tokens), roles within tournaments (storage/tournaments). Each
-- change takes the next number of its head, which is locked until the commit: whoever reads
-- `seq > what I know` misses nothing.
CREATE SCHEMA tokens;

CREATE TABLE tokens.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL DEFAULT 0
);
INSERT INTO tokens.head DEFAULT VALUES;

CREATE TABLE tokens.revocations (
    seq bigint PRIMARY KEY,
    -- One token, or everything that a subject was given up to a time.
    token_id text UNIQUE CHECK (length(token_id) <= 128),
    subject text UNIQUE CHECK (length(subject) <= 128),
    issued_until timestamptz,
    revoked_by text NOT NULL CHECK (length(revoked_by) <= 160),
    revoked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Every token that it is about has ended by then.
    kept_until timestamptz NOT NULL,
    CHECK ((token_id IS NULL) <> (subject IS NULL)),
    CHECK ((subject IS NULL) = (issued_until IS NULL))
);
CREATE INDEX revocations_kept_until ON tokens.revocations (kept_until);

CREATE SCHEMA tournaments;

CREATE TABLE tournaments.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL DEFAULT 0
);
INSERT INTO tournaments.head DEFAULT VALUES;

-- A role that was taken back stays as a row without one, so that every hub hears of it.
CREATE TABLE tournaments.roles (
    tournament_id text NOT NULL CHECK (length(tournament_id) <= 128),
    user_id text NOT NULL CHECK (length(user_id) <= 128),
    role text CHECK (role IN ('PLAYER', 'ORGANIZER', 'ADMIN')),
    granted_by text NOT NULL CHECK (length(granted_by) <= 160),
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seq bigint NOT NULL UNIQUE,
    PRIMARY KEY (tournament_id, user_id)
);
CREATE INDEX roles_user ON tournaments.roles (user_id) WHERE role IS NOT NULL;
