-- The durable log on a single machine: what Kafka is in a cluster. `log` is the only crate that touches
-- these objects.
--
-- Offsets are handed out under the lock of the partition's row. A sequence would be faster and wrong: it
-- hands out 7 before 6 has committed, and a reader that has seen 7 never comes back for 6. With the row
-- lock, commit order is offset order and there are no gaps.

create table log_partition (
    topic text not null,
    log_partition int not null check (log_partition >= 0),
    -- The offset the next record gets (the high watermark).
    next_offset bigint not null default 0,
    -- The oldest offset that is still kept (the low watermark).
    low_offset bigint not null default 0,
    -- Where records go now, see log_segment.
    segment bigint not null,
    -- Time never runs backwards within a partition, whatever the machine's clock does.
    appended_at timestamptz not null default '-infinity',
    primary key (topic, log_partition),
    check (0 <= low_offset and low_offset <= next_offset)
)
-- One update per commit of every writer: leave room so that each is a heap-only update, and let vacuum
-- come by count and not by share of this tiny table.
with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Records are kept in segments, as Kafka does it, and one segment is one partition of the table. Removing
-- old records is then dropping a table: no dead rows, no vacuum, and space returns to the disk at once.
-- The alternative, partitions by time created ahead, bounds age but not bytes (a fast hour is one huge
-- partition) and refuses appends when the creator has been down for too long. A segment is closed by age
-- or by size, and the current one always exists.
create sequence log_segment_id as bigint;

create table log_segment (
    topic text not null,
    log_partition int not null,
    segment bigint not null,
    -- The first offset of this partition in the segment: finds the segment of an offset, and gives the
    -- low watermark when the segment before is dropped.
    first_offset bigint not null,
    opened_at timestamptz not null default clock_timestamp(),
    primary key (topic, log_partition, segment)
);

create table log_record (
    segment bigint not null,
    log_partition int not null,
    log_offset bigint not null,
    appended_at timestamptz not null,
    payload bytea not null,
    primary key (segment, log_partition, log_offset)
) partition by list (segment);

-- Payloads are compact binary already: an attempt to compress them costs more than writing them.
alter table log_record alter column payload set storage external;

-- Opens the next segment of a topic, unless somebody else already did: `after` is the segment the caller
-- believes to be current (null for a topic that has none yet).
create function log_rotate(in_topic text, after bigint) returns bigint
language plpgsql as $$
declare
    fresh bigint;
    current_segment bigint;
begin
    -- One rotation per topic at a time, without holding up appends while the table is made.
    perform pg_advisory_xact_lock(hashtextextended('peep log ' || in_topic, 0));
    select max(segment) into current_segment from log_segment where topic = in_topic;
    if current_segment is distinct from after then
        return current_segment;
    end if;
    fresh := nextval('log_segment_id');
    -- `create table … partition of` would lock out all readers and writers of all topics; attaching a
    -- ready-made empty table does not. Rows up to 8 kB stay in one piece (the default cuts them at 2 kB). Vacuum
    -- would only read and write what is never updated and soon dropped.
    execute format(
        'create table %I (like log_record including defaults including constraints including storage) '
        'with (toast_tuple_target = 8160, autovacuum_enabled = false, toast.autovacuum_enabled = false)', 'log_record_' || fresh);
    execute format('alter table log_record attach partition %I for values in (%s)',
        'log_record_' || fresh, fresh);
    -- From here on appends wait, for as long as two small statements and the commit take. The order of
    -- the locks is the same as in log_append.
    perform 1 from log_partition where topic = in_topic order by log_partition for update;
    insert into log_segment (topic, log_partition, segment, first_offset)
        select topic, log_partition, fresh, next_offset from log_partition where topic = in_topic;
    update log_partition set segment = fresh where topic = in_topic;
    return fresh;
end $$;

-- Makes sure that a topic exists and answers how many partitions it has, which may differ from what was
-- asked for: a topic keeps the number it was created with.
create function log_open(in_topic text, in_partitions int) returns int
language plpgsql as $$
declare
    existing int;
begin
    perform pg_advisory_xact_lock(hashtextextended('peep log ' || in_topic, 0));
    select count(*) into existing from log_partition where topic = in_topic;
    if existing = 0 then
        insert into log_partition (topic, log_partition, segment)
            select in_topic, n, 0 from generate_series(0, in_partitions - 1) n;
        perform log_rotate(in_topic, null);
        return in_partitions;
    end if;
    return existing;
end $$;

-- Appends one group of records in one round trip, and one commit for all of them. `in_partitions` holds
-- the distinct partitions in ascending order (the order of locking: two writers cannot deadlock),
-- `in_counts` how many of `in_payloads` belong to each, in the same order. Answers the first offset per
-- partition.
create function log_append(in_topic text, in_partitions int[], in_counts int[], in_payloads bytea[])
returns table (log_partition int, first_offset bigint)
language plpgsql as $$
declare
    taken int := 0;
    held record;
begin
    -- An acknowledged append is on disk, even where the server was configured to be in a hurry.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    -- Shorter than the client's patience: an append that the client has given up must not be waiting here still.
    perform set_config('lock_timeout', '2s', true);
    for i in 1 .. cardinality(in_partitions) loop
        update log_partition p
            set next_offset = p.next_offset + in_counts[i],
                appended_at = greatest(p.appended_at, clock_timestamp())
            where p.topic = in_topic and p.log_partition = in_partitions[i]
            returning p.segment, p.log_partition, p.next_offset - in_counts[i] as first_offset, p.appended_at
            into strict held;
        insert into log_record (segment, log_partition, log_offset, appended_at, payload)
            select held.segment, held.log_partition, held.first_offset + payload.n - 1, held.appended_at,
                payload.bytes
            from unnest(in_payloads[taken + 1 : taken + in_counts[i]]) with ordinality as payload (bytes, n);
        taken := taken + in_counts[i];
        log_partition := held.log_partition;
        first_offset := held.first_offset;
        return next;
    end loop;
end $$;

-- Takes the oldest segment of a topic out of reach: the low watermark moves behind it. Its table is removed afterwards
-- (detaching a table without stopping everybody cannot be part of a transaction); a table without a row in log_segment
-- is garbage, whoever finds it.
create function log_retire(in_topic text, oldest bigint) returns void
language plpgsql as $$
declare
    successor bigint;
begin
    perform 1 from log_partition where topic = in_topic order by log_partition for update;
    select min(segment) into successor from log_segment where topic = in_topic and segment > oldest;
    if successor is null or exists (select from log_segment where topic = in_topic and segment < oldest) then
        raise exception 'segment % is not the oldest of several in topic %', oldest, in_topic;
    end if;
    update log_partition p set low_offset = s.first_offset
        from log_segment s
        where p.topic = in_topic and s.topic = in_topic and s.segment = successor
          and s.log_partition = p.log_partition;
    delete from log_segment where topic = in_topic and segment = oldest;
end $$;
