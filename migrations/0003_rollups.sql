-- Where the rollup writes: how far each partition of the event log has been counted, and the counts.
--
-- The rule behind all of it: everything one flush writes, and the move of the cursor, is one transaction.
-- Rows and cursor can therefore never disagree, whatever crashes.

-- One row per partition of the event log. `next_offset` is the truth; owner, epoch and lease only decide
-- who works on it.
create table rollup_cursor (
    log_partition int primary key check (log_partition >= 0),
    -- The first offset whose events are not in the tables below.
    next_offset bigint not null default 0 check (next_offset >= 0),
    -- Raised whenever the partition changes hands, also from a worker to itself after a failure: live
    -- frames of a lower epoch are void from the cursor on.
    epoch bigint not null default 0,
    -- Random per start of a process: after a failover to a lagging replica an epoch could be handed out
    -- twice, a random owner cannot.
    owner uuid,
    lease_until timestamptz,
    -- Length and first bytes (checksum included) of the record at next_offset - 1: finds a log that was
    -- truncated or replaced under the same name.
    fingerprint bytea,
    updated_at timestamptz not null default now(),
    check ((owner is null) = (lease_until is null))
)
-- Updated every two seconds by the lease and at each flush: room for heap-only updates, vacuum by count.
with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The exact dimensions of a rollup, once, so that a rollup row carries 8 bytes instead of five columns.
create table series (
    series_id bigint generated always as identity primary key,
    project_id bigint not null,
    service text not null,
    env text not null,
    route text not null,
    -- '' and 0 instead of null: a unique constraint must see two unknowns as equal.
    method text not null default '',
    status smallint not null default 0,
    -- env before service: almost every question names the environment. At most about 750 bytes, well below
    -- the 2.7 kB an index entry may have.
    unique (project_id, env, service, route, method, status)
);

-- Ten-second windows, as insert-only pieces: each flush adds one row for every series and window it has
-- news of, and the reader adds them up (counts and histograms merge exactly). A late event is simply one
-- more piece in its own window. Upserts would be 1.4 times as dear, would leave dead rows behind, and would
-- need the open windows kept in memory.
create table rollup_10s (
    bucket timestamptz not null,
    project_id bigint not null,
    series_id bigint not null,
    log_partition int not null,
    -- The cursor after the flush that wrote the piece: a reader that stitches live data knows exactly which
    -- events a piece holds.
    up_to_offset bigint not null,
    count bigint not null,
    errors bigint not null,
    -- Events with a duration: the population of the histogram.
    latency_count bigint not null,
    sum_us bigint not null,
    min_us bigint,
    max_us bigint,
    -- HdrHistogram V2, plain (not deflated); null when no event had a duration.
    histogram bytea,
    -- Project and time first: a question is always about one project and a range of time. No foreign keys:
    -- each would cost an index look-up per row, and the only writer takes its ids from `series`.
    primary key (project_id, bucket, series_id, log_partition, up_to_offset)
) partition by range (bucket);

-- Histograms are dense bytes of variable-length integers: compressing them costs many times the write.
alter table rollup_10s alter column histogram set storage external;

-- A sample of the events themselves, for a short time. `weight` says how many events a row stands for.
create table raw_event (
    ts timestamptz not null,
    received_at timestamptz not null,
    project_id bigint not null,
    service text not null,
    env text not null,
    route text not null,
    method text not null,
    status smallint,
    duration_us bigint,
    error text,
    host text,
    version text,
    bytes_in bigint,
    bytes_out bigint,
    trace_id bytea,
    span_id bytea,
    source text not null,
    attrs jsonb,
    weight real not null,
    -- Where the event lies in the log; unique, though no index enforces it.
    log_partition int not null,
    log_offset bigint not null,
    event_index int not null
) partition by range (ts);

-- Block ranges instead of a b-tree: rows arrive nearly in order of time, and a b-tree costs the database
-- three times the whole insert.
create index raw_event_ts on raw_event using brin (ts) with (pages_per_range = 32);

-- Events and records that could not be counted, each with its reason: nothing is ever only a log line.
create table dead_letter (
    log_partition int not null,
    log_offset bigint not null,
    -- Position of the first affected event in its record, 0 for a whole record.
    event_index int not null,
    reason text not null,
    -- null when the record's header could not be trusted.
    project_id bigint,
    -- How many events this row stands for; null when not even that is readable.
    events int,
    -- The event, or the whole record, as it lay in the log.
    bytes bytea not null,
    recorded_at timestamptz not null default now(),
    primary key (log_partition, log_offset, event_index)
);

-- For the sweep by age, and "what went wrong lately".
create index dead_letter_recorded on dead_letter (recorded_at);

-- Makes sure that `parent` has a partition of `width` for each start. Partitions are named by their start,
-- `rollup_10s_20261120_00` (UTC). Safe from several processes at once. Answers how many were made.
create function time_partition_ensure(parent text, starts timestamptz[], width interval) returns int
language plpgsql as $$
declare
    start timestamptz;
    child text;
    made int := 0;
    locked boolean := false;
begin
    foreach start in array starts loop
        child := parent || to_char(start at time zone 'UTC', '_YYYYMMDD_HH24');
        continue when to_regclass(quote_ident(child)) is not null;
        if not locked then
            perform pg_advisory_xact_lock(hashtextextended('peep time partitions of ' || parent, 0));
            locked := true;
            -- Somebody may have made it while we waited.
            continue when to_regclass(quote_ident(child)) is not null;
        end if;
        -- `create table … partition of` would shut out every reader of the parent; attaching a ready-made
        -- empty table does not. Rows up to 8 kB stay in one piece (the default cuts them at 2 kB).
        execute format('create table %I (like %I including all) with (toast_tuple_target = 8160)', child, parent);
        execute format('alter table %I attach partition %I for values from (%L) to (%L)',
            parent, child, start, start + width);
        made := made + 1;
    end loop;
    return made;
end $$;

-- The partitions of `parent` by their names, with what became of them: 'attached', 'detaching' (a detach
-- that was interrupted) or 'detached' (to be dropped).
create function time_partition_list(parent text) returns table (child text, starts timestamptz, state text)
language sql stable as $$
    select c.relname::text,
        to_timestamp(right(c.relname, 11) || '+00', 'YYYYMMDD_HH24TZH'),
        case when i.inhrelid is null then 'detached' when i.inhdetachpending then 'detaching' else 'attached' end
    from pg_class p
    join pg_class c on c.relnamespace = p.relnamespace and c.relkind = 'r'
        and c.relname ~ ('^' || parent || '_[0-9]{8}_[0-9]{2}$')
    left join pg_inherits i on i.inhrelid = c.oid and i.inhparent = p.oid
    where p.oid = to_regclass(quote_ident(parent))
$$;
