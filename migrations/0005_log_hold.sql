-- What a reader of a topic still needs: records from here on are not removed, whatever their age and however many there
-- are. Without a row nothing is held. Should that fill the topic's share of the disk, appends are refused instead: a record that
-- was acknowledged is worth more than one that was not.
create table log_hold (
    topic text not null,
    log_partition int not null,
    needed_from bigint not null check (needed_from >= 0),
    updated_at timestamptz not null default now(),
    primary key (topic, log_partition)
)
with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
