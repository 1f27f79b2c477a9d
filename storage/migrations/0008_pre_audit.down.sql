DROP INDEX log.facts_recorded_at;
DROP INDEX log.facts_type;
DROP SCHEMA audit CASCADE;
