-- Facts that wait were acked: they may not go with the table.
DO $$
BEGIN
    IF EXISTS (SELECT FROM log.pending) THEN
        RAISE EXCEPTION 'facts of delayed matches still wait in log.pending'
            USING HINT = 'Stop the hubs and let a worker run until all are due.';
    END IF;
END
$$;
DROP TABLE matches.shown;
DROP TABLE log.pending;
