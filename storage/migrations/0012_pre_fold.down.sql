-- The rows can be made again from the log by either release.
DROP SCHEMA IF EXISTS rebuild_next CASCADE;
DROP SCHEMA rebuild CASCADE;
DROP SCHEMA achievements CASCADE;
DROP SCHEMA battlepass CASCADE;
DROP SCHEMA ratings CASCADE;
DROP SCHEMA statistics CASCADE;
DROP SCHEMA seasons CASCADE;
DROP SCHEMA games CASCADE;
DROP TABLE history.entries;
DELETE FROM log.cursors WHERE pipeline IN ('fold', 'boards', 'notifications');
DELETE FROM deadletters.letters WHERE pipeline IN ('fold', 'boards', 'notifications');
ALTER TABLE log.cursors DROP COLUMN batches, DROP COLUMN facts, DROP COLUMN busy_ms,
    DROP COLUMN last_ms, DROP COLUMN failures;
