-- What makes "exactly once" checkable: who was counted before (dedup), what became of every event (ledger, duplicates,
-- dead letters, breaks), and the coarser levels of the rollups.
--
-- Everything a flush writes is still one transaction with the move of the cursor.
--
-- From here on an offset in these tables is a *position*: generation of the log * 2^40 + offset in the log. The generation is
-- raised only when a person accepts that a log was truncated or replaced (log_break), so positions grow for ever although the
-- offsets of a new log start again at 0. While nothing like that happened, position and offset are the same number.

alter table rollup_cursor
    -- The log's own time at next_offset, Unix milliseconds: what expires, expires by it and never by a clock.
    add column log_ms bigint not null default 0,
    -- Last seen by the owner: the readable range of the log, as positions.
    add column log_low bigint,
    add column log_high bigint,
    add column watermarks_at timestamptz,
    -- Why counting stopped until a person decides; null while all is well.
    add column broken_reason text,
    add column broken_at timestamptz,
    add check ((broken_reason is null) = (broken_at is null));

-- Who shares the partitions at the moment. Written with every renewal of the leases.
create table rollup_worker (
    owner uuid primary key,
    -- What it can take at most: others take the rest.
    partitions_max int not null,
    alive_until timestamptz not null
)
with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Batches of each producer that were counted: a sliding window over its sequence numbers.
create table dedup_window (
    log_partition int not null,
    project_id bigint not null,
    producer uuid not null,
    -- The highest number heard of; a u64 in two's complement, like every number of a batch.
    high_seq bigint not null,
    -- The number it began with. Batches up to it, but 0, are uncertain: what was before may have been forgotten.
    begun_seq bigint not null,
    -- Bit n % 8 of byte n / 8: whether high_seq - n was counted. Zeros at the end are left out.
    seen bytea not null,
    -- Requests of several records of which some are missing still; null when there are none.
    partial bytea,
    -- The log's time when the producer was last heard of. A day later it is forgotten.
    last_ms bigint not null,
    -- Position of the record that was last heard of it: who was heard of longest ago goes first when there are too many.
    last_offset bigint not null,
    primary key (log_partition, project_id, producer)
)
with (fillfactor = 60);

-- Batches that came again: not counted, but not forgotten either.
create table duplicate_batch (
    log_partition int not null,
    log_offset bigint not null,
    project_id bigint not null,
    producer uuid not null,
    seq bigint not null,
    part int not null,
    events int not null,
    recorded_at timestamptz not null default now(),
    primary key (log_partition, log_offset)
);
create index duplicate_batch_recorded on duplicate_batch (recorded_at);

alter table dead_letter
    -- What is needed to send it again.
    add column key_id bigint,
    add column received_ms bigint,
    add column replayed_at timestamptz,
    -- When the log took the record: which minute of the books the letter belongs to.
    add column appended_at timestamptz;
-- "What of mine went wrong lately."
create index dead_letter_project on dead_letter (project_id, recorded_at);

-- The books: one row for each flush. Ranges of a partition follow one another without a gap, except over a log_break.
create table ledger (
    log_partition int not null,
    from_offset bigint not null,
    to_offset bigint not null,
    epoch bigint not null,
    owner uuid not null,
    records bigint not null,
    -- Of those: could not be read, so nobody knows how many events they held. Dead letters with all their bytes.
    records_unreadable bigint not null,
    -- Events, as the records announce them.
    accepted bigint not null,
    rolled_up bigint not null,
    dead_lettered bigint not null,
    duplicate bigint not null,
    -- Of rolled_up: events of clients that send no identity, so that a retry of theirs cannot be recognised.
    unidentified bigint not null,
    -- Of rolled_up: events of producers that were unknown but did not begin at 0, so that an earlier try may have been forgotten.
    uncertain bigint not null,
    -- Of rolled_up: events in an `(other)` series because the project has too many.
    folded bigint not null,
    -- Of the record before to_offset.
    fingerprint bytea,
    -- When the log took the last record of the range.
    appended_at timestamptz not null,
    recorded_at timestamptz not null default now(),
    primary key (log_partition, to_offset, appended_at),
    check (from_offset >= 0 and records > 0 and to_offset = from_offset + records),
    check (accepted = rolled_up + dead_lettered + duplicate),
    check (least(records_unreadable, rolled_up, dead_lettered, duplicate, unidentified, uncertain, folded) >= 0),
    check (unidentified + uncertain <= rolled_up and folded <= rolled_up and records_unreadable <= records)
) partition by range (appended_at);

-- The same by project and by the minute in which the log took the records.
create table ledger_project (
    project_id bigint not null,
    minute timestamptz not null,
    log_partition int not null,
    to_offset bigint not null,
    accepted bigint not null,
    rolled_up bigint not null,
    dead_lettered bigint not null,
    duplicate bigint not null,
    unidentified bigint not null,
    uncertain bigint not null,
    folded bigint not null,
    primary key (project_id, minute, log_partition, to_offset),
    check (accepted = rolled_up + dead_lettered + duplicate),
    check (least(rolled_up, dead_lettered, duplicate, unidentified, uncertain, folded) >= 0),
    check (unidentified + uncertain <= rolled_up and folded <= rolled_up)
) partition by range (minute);

-- And what was rolled up by the day (UTC) in which the events happened: what the rollups of that day must add up to.
create table ledger_day (
    project_id bigint not null,
    day date not null,
    log_partition int not null,
    rolled_up bigint not null check (rolled_up >= 0),
    primary key (project_id, day, log_partition)
)
with (fillfactor = 60);
-- What was counted before there were books.
insert into ledger_day (project_id, day, log_partition, rolled_up)
select project_id, (bucket at time zone 'UTC')::date, log_partition, sum(count) from rollup_10s group by 1, 2, 3;

-- A person accepted that a log is not the one that was counted, and what that costs.
create table log_break (
    log_break_id bigint generated always as identity primary key,
    log_partition int not null,
    -- The cursor before and after. The generation in position_after is higher by one.
    position_before bigint not null,
    position_after bigint not null,
    kind text not null check (kind in ('expired', 'truncated', 'replaced')),
    -- Records that were acknowledged and will never be counted; null when nobody can know.
    records_lost bigint check (records_lost >= 0),
    reason text not null,
    accepted_by text not null,
    accepted_at timestamptz not null default now(),
    check (position_after > position_before)
);

-- Which series of a project have a place of their own on a partition: what stands between a client that puts ids into routes
-- and a database full of series. Only ever added to, so that a series costs a few bytes once a day and not its whole project
-- with every flush; rows of days before the last two are swept.
create table series_budget (
    log_partition int not null,
    -- Days since 1970 by the log's time.
    day int not null,
    project_id bigint not null,
    -- The flush.
    up_to_offset bigint not null,
    -- Series seen for the first time on that day: sorted 8-byte hashes, big-endian.
    hashes bytea not null check (length(hashes) > 0 and length(hashes) % 8 = 0),
    primary key (log_partition, day, project_id, up_to_offset)
);
alter table series_budget alter column hashes set storage external;

-- Where the series went that found no place: names the part of the route that should have been a template.
create table series_overflow (
    project_id bigint not null,
    service text not null,
    -- '/api/orders/*': everything up to the part with too many values.
    segment text not null,
    log_partition int not null,
    -- Different values seen, estimated.
    distinct_values bigint not null,
    events bigint not null,
    example text not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    primary key (project_id, service, segment, log_partition)
);

-- Coarser levels, made from the level below: its columns, and when exactly the last of the events happened.
create table rollup_1m (like rollup_10s including defaults including storage,
    -- Start of the last ten seconds that had events: "last seen" is as exact as in the finest level.
    last_10s timestamptz not null,
    primary key (project_id, bucket, series_id, log_partition, up_to_offset)) partition by range (bucket);
create table rollup_1h (like rollup_10s including defaults including storage,
    last_10s timestamptz not null,
    primary key (project_id, bucket, series_id, log_partition, up_to_offset)) partition by range (bucket);

-- How far each level is made: every piece of the level below with up_to_offset <= done_offset is in it.
create table rollup_level (
    log_partition int not null,
    level text not null check (level in ('1m', '1h')),
    done_offset bigint not null default 0,
    updated_at timestamptz not null default now(),
    primary key (log_partition, level)
)
with (fillfactor = 50);

-- Which buckets of the next level have pieces that are not in it yet: written with the pieces, removed when they are.
create table rollup_touched (
    -- The level the pieces are in.
    level text not null check (level in ('10s', '1m')),
    log_partition int not null,
    up_to_offset bigint not null,
    project_id bigint not null,
    -- Starts of minutes (level 10s) or hours (level 1m), Unix seconds, ascending.
    buckets bigint[] not null check (cardinality(buckets) > 0),
    -- How many events the pieces hold: whoever merges them must find exactly as many.
    events bigint not null check (events > 0),
    primary key (level, log_partition, up_to_offset, project_id)
)
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
-- For a reader, who asks about one project.
create index rollup_touched_project on rollup_touched (project_id, level);

-- Pieces that were counted before there were levels.
insert into rollup_touched (level, log_partition, up_to_offset, project_id, buckets, events)
select '10s', log_partition, up_to_offset, project_id,
    array_agg(distinct floor(extract(epoch from bucket) / 60)::bigint * 60), sum(count)
from rollup_10s group by log_partition, up_to_offset, project_id;

-- Since when each level holds every event. Pieces of earlier buckets go to the next level at once, so a partition below the
-- line gets no new rows and can be dropped as soon as what it has is in the next level. Moves forward only, under the
-- exclusive side of the advisory lock whose shared side every flush holds.
create table rollup_horizon (
    level text primary key check (level in ('10s', '1m', '1h')),
    since timestamptz not null
);
insert into rollup_horizon (level, since) values ('10s', 'epoch'), ('1m', 'epoch'), ('1h', 'epoch');
