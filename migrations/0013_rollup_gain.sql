-- How many events the rows of a coarse level have gained, by span of time: by hours for '1h', by ten minutes for '1m'. Rows of a level
-- only ever gain events, so whoever remembers the sum of a span looks here whether it still holds, and reads no row.
--
-- Counted from here on: rows of before are in no span, and do not change without being counted here.
create table rollup_gain (
    project_id bigint not null,
    level text not null check (level in ('1m', '1h', 'facet_1m', 'facet_1h')),
    -- Unix seconds.
    span_start bigint not null,
    log_partition int not null,
    events bigint not null check (events > 0),
    -- The span before the partition: a reader sums up all partitions.
    primary key (project_id, level, span_start, log_partition)
)
-- The newest spans grow with each pass of the leveler.
with (fillfactor = 60);
