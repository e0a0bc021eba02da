-- What a service did in each of its versions and on each of its hosts: rollups of their own, so that versions and hosts are
-- added to the number of series and not multiplied with it.
--
-- Every event that is rolled up is in exactly one version and one host of its service and environment: the one it names, the
-- empty one, or `(other)`. Pieces of facets are written by the same flushes as those of series, in the same transaction.

-- One version or host of a service, once.
create table facet (
    facet_id bigint generated always as identity primary key,
    project_id bigint not null,
    env text not null,
    service text not null,
    kind text not null check (kind in ('version', 'host')),
    -- Empty: the events named none.
    value text not null,
    -- At most about 460 bytes, well below the 2.7 kB an index entry may have. The kind before the value: "the versions of".
    unique (project_id, env, service, kind, value)
);

-- The pieces are those of `rollup_10s`, `rollup_1m` and `rollup_1h`, also by name, so that one code writes, levels and reads
-- both: `series_id` is a `facet_id` here. Tables of their own, because whoever adds up the rollups of a project must find each
-- event once; in these it is twice, as a version and as a host.
create table facet_10s (like rollup_10s including defaults including storage,
    primary key (project_id, bucket, series_id, log_partition, up_to_offset)) partition by range (bucket);
create table facet_1m (like rollup_1m including defaults including storage,
    primary key (project_id, bucket, series_id, log_partition, up_to_offset)) partition by range (bucket);
create table facet_1h (like rollup_1h including defaults including storage,
    primary key (project_id, bucket, series_id, log_partition, up_to_offset)) partition by range (bucket);

-- Since when and until when a facet has had events, to the millisecond: the first event of a version is its release. By
-- partition of the log, so that flushes of two partitions never wait for each other's row.
create table facet_seen (
    facet_id bigint not null,
    log_partition int not null,
    first_ms bigint not null,
    last_ms bigint not null check (last_ms >= first_ms),
    primary key (facet_id, log_partition)
)
-- Updated by most flushes.
with (fillfactor = 60);
-- For the sweep: a facet that is in no rollup any more is forgotten.
create index facet_seen_last on facet_seen (log_partition, last_ms);

-- Which versions and hosts have a place of their own on a partition, as `series_budget` has it for series.
create table facet_budget (
    log_partition int not null,
    -- Days since 1970 by the log's time.
    day int not null,
    project_id bigint not null,
    -- Kind, environment and service, as a hash: what there may be so many of.
    scope bigint not null,
    -- The flush.
    up_to_offset bigint not null,
    -- Values seen for the first time on that day: sorted 8-byte hashes, big-endian.
    hashes bytea not null check (length(hashes) > 0 and length(hashes) % 8 = 0),
    primary key (log_partition, day, project_id, scope, up_to_offset)
);
alter table facet_budget alter column hashes set storage external;

-- Levels of facets are made as those of series are, but by themselves, so that a worker of the previous release, which knows
-- nothing of facets, cannot cross off what it has not raised.
alter table rollup_level drop constraint rollup_level_level_check,
    add constraint rollup_level_level_check check (level in ('1m', '1h', 'facet_1m', 'facet_1h'));
alter table rollup_touched drop constraint rollup_touched_level_check,
    add constraint rollup_touched_level_check check (level in ('10s', '1m', 'facet_10s', 'facet_1m'));

-- Flushes of before facets, and of such a worker, have none: what they counted is in no version and on no host, and a reader
-- says so.
alter table ledger add column has_facets boolean not null default false;
create index ledger_without_facets on ledger (appended_at) where not has_facets;
