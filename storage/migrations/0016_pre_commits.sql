-- A group commit in one call (storage/commits.py, docs/decisions/0016-one-call-per-commit.md).

-- A column of a batch comes as one text: cells with U+001F between them, U+001E alone is null.
CREATE FUNCTION ingest.cells(joined text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT string_to_array(joined, E'\x1f', E'\x1e') $$;

-- Stores what a batch of FACTs does, if what it was decided from still holds: streams have the
-- last number and are as closed as they were, rows of matches are the version (xmin) that was
-- read. Otherwise raises GH001 and stores nothing. Answers the version of every row it wrote.
-- Receipts name their stream and their fact by place. Matches that are new come first and have no
-- version; of others nothing changes but how far they have come.
-- The locks are those of services/ingest, in its order: streams, matches, new rows, log.head last.
-- No block here may have an EXCEPTION part: its rows would get the xmin of a subtransaction.
CREATE FUNCTION ingest.commit_batch(
    servers text, streams text, seqs_before text, closed_before text, seqs_after text,
    receipt_streams text, receipt_seqs text, receipt_hashes text, receipt_facts text,
    advanced int, match_ids text, versions text, statuses text, started_ms text, played_ms text, scores text,
    outcomes text, winners text, result_hashes text, holder_servers text, holder_streams text,
    games text, competitors text, tournaments text, titles text, rounds text, best_ofs text,
    starts_ms text,
    fact_ids uuid[], types text, vs text, subjects text, occurred_ms text, payloads bytea[]
) RETURNS text LANGUAGE plpgsql
-- Plans are made once, and find every row by its key however small the tables were then.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    server_cells text[] := ingest.cells(servers);
    stream_cells text[] := ingest.cells(streams);
    found bigint;
    base bigint;
BEGIN
    UPDATE ingest.streams s
    SET fact_seq = k.seq_after,
        last_heard_at = CASE WHEN s.closed THEN s.last_heard_at ELSE clock_timestamp() END
    FROM (SELECT * FROM unnest(server_cells, stream_cells, ingest.cells(seqs_before)::bigint[],
                               ingest.cells(closed_before)::boolean[],
                               ingest.cells(seqs_after)::bigint[])
              AS r(server, stream, seq_before, closed_before, seq_after)
          ORDER BY r.server, r.stream LIMIT cardinality(server_cells)) AS k
    WHERE s.server = k.server AND s.stream = k.stream
      AND s.fact_seq = k.seq_before AND s.closed = k.closed_before;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found <> cardinality(server_cells) THEN
        RAISE EXCEPTION 'a stream has changed' USING ERRCODE = 'GH001';
    END IF;

    IF advanced > 0 THEN
        UPDATE matches.matches m
        SET status = k.status, started_at = timestamptz 'epoch' + k.started_ms * interval '1 ms',
            played_at = timestamptz 'epoch' + k.played_ms * interval '1 ms',
            scores = k.scores, outcome = k.outcome, winner_id = k.winner,
            result_hash = decode(k.result_hash, 'hex'), holder_server = k.holder_server,
            holder_stream = k.holder_stream, updated_at = clock_timestamp()
        FROM (SELECT *
              FROM unnest(ingest.cells(match_ids), ingest.cells(versions)::xid[],
                          ingest.cells(statuses), ingest.cells(started_ms)::bigint[],
                          ingest.cells(played_ms)::bigint[], ingest.cells(scores)::jsonb[],
                          ingest.cells(outcomes), ingest.cells(winners),
                          ingest.cells(result_hashes), ingest.cells(holder_servers),
                          ingest.cells(holder_streams))
                  AS r(match_id, version, status, started_ms, played_ms, scores, outcome, winner,
                       result_hash, holder_server, holder_stream)
              WHERE r.version IS NOT NULL ORDER BY r.match_id LIMIT advanced) AS k
        WHERE m.match_id = k.match_id AND m.xmin = k.version;
        GET DIAGNOSTICS found = ROW_COUNT;
        IF found <> advanced THEN
            RAISE EXCEPTION 'a match has changed' USING ERRCODE = 'GH001';
        END IF;
    END IF;

    INSERT INTO ingest.receipts (server, stream, seq, content_hash, event_id)
    SELECT server_cells[r.stream], stream_cells[r.stream], r.seq, decode(r.hash, 'hex'),
           fact_ids[r.fact]
    FROM unnest(ingest.cells(receipt_streams)::int[], ingest.cells(receipt_seqs)::bigint[],
                ingest.cells(receipt_hashes), ingest.cells(receipt_facts)::int[])
        AS r(stream, seq, hash, fact);

    IF games IS NOT NULL THEN
        INSERT INTO matches.matches
            (match_id, game, competitors, status, tournament_id, title, round, best_of,
             starts_at, started_at, played_at, scores, outcome, winner_id, result_hash,
             holder_server, holder_stream)
        SELECT r.match_id, r.game, r.competitors, r.status, r.tournament_id, r.title, r.round,
               r.best_of, timestamptz 'epoch' + r.starts_ms * interval '1 ms',
               timestamptz 'epoch' + r.started_ms * interval '1 ms',
               timestamptz 'epoch' + r.played_ms * interval '1 ms',
               r.scores, r.outcome, r.winner, decode(r.result_hash, 'hex'), r.holder_server,
               r.holder_stream
        FROM unnest(ingest.cells(match_ids), ingest.cells(versions), ingest.cells(games),
                    ingest.cells(competitors)::jsonb[], ingest.cells(statuses),
                    ingest.cells(tournaments), ingest.cells(titles), ingest.cells(rounds),
                    ingest.cells(best_ofs)::smallint[], ingest.cells(starts_ms)::bigint[],
                    ingest.cells(started_ms)::bigint[], ingest.cells(played_ms)::bigint[],
                    ingest.cells(scores)::jsonb[], ingest.cells(outcomes), ingest.cells(winners),
                    ingest.cells(result_hashes), ingest.cells(holder_servers),
                    ingest.cells(holder_streams))
            AS r(match_id, version, game, competitors, status, tournament_id, title, round,
                 best_of, starts_ms, started_ms, played_ms, scores, outcome, winner, result_hash,
                 holder_server, holder_stream)
        WHERE r.version IS NULL;
    END IF;

    IF types IS NOT NULL THEN
        UPDATE log.head SET seq = seq + cardinality(fact_ids) WHERE shard = 0
        RETURNING seq - cardinality(fact_ids) INTO base;
        INSERT INTO log.facts
            (seq, event_id, type, v, subject, root_id, occurred_at, payload)
        SELECT base + r.n, r.fact_id, r.type, r.v, r.subject, r.fact_id,
               timestamptz 'epoch' + r.occurred_ms * interval '1 ms', r.payload
        FROM unnest(fact_ids, ingest.cells(types), ingest.cells(vs)::smallint[],
                    ingest.cells(subjects), ingest.cells(occurred_ms)::bigint[], payloads)
            WITH ORDINALITY AS r(fact_id, type, v, subject, occurred_ms, payload, n);
    END IF;
    RETURN pg_current_xact_id()::xid::text;
END
$$;
