DROP INDEX history.matches_totals;
DROP SCHEMA overlays CASCADE;
