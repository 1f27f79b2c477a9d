DROP FUNCTION ingest.commit_batch;
DROP FUNCTION ingest.cells;
