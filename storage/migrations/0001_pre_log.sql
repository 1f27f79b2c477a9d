-- The log of facts, its head and its cursors (contract: The log).
CREATE SCHEMA log;

-- One row per shard; locked from the numbering to the commit, hence always on one page (HOT).
CREATE TABLE log.head (
    shard smallint PRIMARY KEY DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0 CHECK (seq >= 0)
) WITH (fillfactor = 10);
INSERT INTO log.head DEFAULT VALUES;

CREATE TABLE log.facts (
    seq bigint PRIMARY KEY CHECK (seq > 0),
    shard smallint NOT NULL DEFAULT 0,
    event_id uuid NOT NULL UNIQUE,
    type text NOT NULL CHECK (length(type) <= 50),
    v smallint NOT NULL,
    subject text,
    cause_id uuid,
    root_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    payload bytea NOT NULL
);
COMMENT ON COLUMN log.facts.payload IS 'msgpack; the view log.facts_json shows it as JSON';
CREATE INDEX facts_subject ON log.facts (subject, seq) WHERE subject IS NOT NULL;
CREATE INDEX facts_root_id ON log.facts (root_id) WHERE cause_id IS NOT NULL;

CREATE TABLE log.cursors (
    pipeline text PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0 CHECK (seq >= 0),
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- An unsigned big-endian integer of n bytes.
CREATE FUNCTION log.msgpack_uint(data bytea, pos int, n int) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    value numeric := 0;
BEGIN
    FOR i IN 0 .. n - 1 LOOP
        value := value * 256 + get_byte(data, pos + i);
    END LOOP;
    RETURN value;
END
$$;

-- An IEEE 754 number of 4 or 8 bytes; what JSON has no number for becomes text.
CREATE FUNCTION log.msgpack_float(data bytea, pos int, n int) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    raw numeric := log.msgpack_uint(data, pos, n);
    mantissa_bits int := CASE n WHEN 4 THEN 23 ELSE 52 END;
    exponent_max int := CASE n WHEN 4 THEN 255 ELSE 2047 END;
    sign float8 := CASE WHEN get_byte(data, pos) >= 128 THEN -1 ELSE 1 END;
    scale numeric := power(2::numeric, mantissa_bits);
    mantissa numeric := mod(raw, scale);
    exponent int := mod(div(raw, scale), exponent_max + 1);
    number float8;
BEGIN
    IF exponent = exponent_max THEN
        RETURN to_jsonb(CASE WHEN mantissa > 0 THEN 'NaN' WHEN sign < 0 THEN '-Infinity'
                             ELSE 'Infinity' END);
    END IF;
    IF exponent = 0 THEN
        exponent := 1;
    ELSE
        mantissa := mantissa + scale;
    END IF;
    IF mantissa = 0 THEN
        RETURN to_jsonb(0);
    END IF;
    exponent := exponent - exponent_max / 2 - mantissa_bits;
    -- In two steps: 2^exponent alone may be too small for a float8.
    IF exponent < -1000 THEN
        number := mantissa::float8 * power(2::float8, -52) * power(2::float8, exponent + 52);
    ELSE
        number := mantissa::float8 * power(2::float8, exponent);
    END IF;
    RETURN to_jsonb(sign * number);
END
$$;

-- One msgpack value that starts at `pos` (0-based); `pos` comes back behind it. Binary becomes
-- 'base64:...', and so does text with a NUL, which jsonb cannot hold.
CREATE FUNCTION log.msgpack_value(data bytea, INOUT pos int, OUT value jsonb)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    tag int := get_byte(data, pos);
    kind text;
    size int;
    item record;
    keys text[] := '{}';
    items jsonb[] := '{}';
    bytes bytea;
BEGIN
    pos := pos + 1;
    CASE
        WHEN tag <= 127 THEN value := to_jsonb(tag);
        WHEN tag >= 224 THEN value := to_jsonb(tag - 256);
        WHEN tag <= 143 THEN kind := 'map'; size := tag - 128;
        WHEN tag <= 159 THEN kind := 'array'; size := tag - 144;
        WHEN tag <= 191 THEN kind := 'text'; size := tag - 160;
        WHEN tag = 192 THEN value := 'null'::jsonb;
        WHEN tag = 194 THEN value := 'false'::jsonb;
        WHEN tag = 195 THEN value := 'true'::jsonb;
        WHEN tag IN (196, 197, 198) THEN kind := 'binary'; size := 2 ^ (tag - 196);
        WHEN tag IN (199, 200, 201) THEN kind := 'extension'; size := 2 ^ (tag - 199);
        WHEN tag = 202 THEN value := log.msgpack_float(data, pos, 4); pos := pos + 4;
        WHEN tag = 203 THEN value := log.msgpack_float(data, pos, 8); pos := pos + 8;
        WHEN tag IN (204, 205, 206, 207) THEN
            size := 2 ^ (tag - 204);
            value := to_jsonb(log.msgpack_uint(data, pos, size));
            pos := pos + size;
        WHEN tag IN (208, 209, 210, 211) THEN
            size := 2 ^ (tag - 208);
            value := to_jsonb(log.msgpack_uint(data, pos, size)
                - CASE WHEN get_byte(data, pos) < 128 THEN 0
                       ELSE trunc(power(256::numeric, size)) END);
            pos := pos + size;
        WHEN tag IN (212, 213, 214, 215, 216) THEN kind := 'fixed'; size := 2 ^ (tag - 212);
        WHEN tag IN (217, 218, 219) THEN kind := 'text'; size := 2 ^ (tag - 217);
        WHEN tag IN (220, 221) THEN kind := 'array'; size := 2 ^ (tag - 219);
        WHEN tag IN (222, 223) THEN kind := 'map'; size := 2 ^ (tag - 221);
        ELSE RAISE EXCEPTION 'not msgpack: byte % at %', tag, pos - 1;
    END CASE;
    IF kind IS NULL THEN
        RETURN;
    END IF;
    -- From here on `size` is the width of the length where the tag did not hold the length itself.
    IF tag >= 196 AND kind <> 'fixed' THEN
        pos := pos + size;
        size := log.msgpack_uint(data, pos - size, size);
    END IF;
    IF kind IN ('extension', 'fixed') THEN
        pos := pos + 1;
        kind := 'binary';
    END IF;
    IF kind IN ('text', 'binary') THEN
        bytes := substring(data FROM pos + 1 FOR size);
        pos := pos + size;
        IF kind = 'text' AND position('\x00'::bytea IN bytes) = 0 THEN
            value := to_jsonb(convert_from(bytes, 'UTF8'));
        ELSE
            value := to_jsonb('base64:' || translate(encode(bytes, 'base64'), E'\n', ''));
        END IF;
        RETURN;
    END IF;
    FOR i IN 1 .. size LOOP
        IF kind = 'map' THEN
            item := log.msgpack_value(data, pos);
            pos := item.pos;
            keys := array_append(keys, item.value #>> '{}');
        END IF;
        item := log.msgpack_value(data, pos);
        pos := item.pos;
        items := array_append(items, item.value);
    END LOOP;
    IF kind = 'array' THEN
        value := to_jsonb(items);
    ELSE
        SELECT coalesce(jsonb_object_agg(coalesce(k, 'null'), v), '{}') INTO value
        FROM unnest(keys, items) AS entry(k, v);
    END IF;
END
$$;

CREATE FUNCTION log.msgpack_json(data bytea) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT value FROM log.msgpack_value(data, 0) $$;

-- For operators: the log with readable payloads.
CREATE VIEW log.facts_json AS
SELECT seq, shard, event_id, type, v, subject, cause_id, root_id, occurred_at, recorded_at,
       log.msgpack_json(payload) AS payload
FROM log.facts;
