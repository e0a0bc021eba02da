-- What people want to know of a key before they revoke it: what it is for, whether anybody uses it, and who.
alter table api_key
    -- For people, chosen by whoever made it; null: made before there were names, or without one.
    add column name text check (length(name) between 1 and 80);

-- How a key was used, by the day (UTC). Counted in the memory of each process and added here every few seconds, so a crash
-- loses seconds of it: it is for orientation, the books are `ledger`.
create table key_usage (
    -- No foreign key: whoever adds here has joined the key, and keys are never deleted.
    key_id bigint not null,
    day date not null,
    -- Accepted by ingest; 0 for a key that only reads.
    events bigint not null default 0 check (events >= 0),
    last_used_at timestamptz not null,
    -- Some of the hosts that its events named in the last hour: enough to see whom revoking it would hit.
    hosts text[] not null default '{}',
    hosts_since timestamptz not null default now(),
    primary key (key_id, day)
)
-- One row per key and day, updated every ten seconds.
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- What ingest refused, by the hour: events that were never accepted, so they are in no book and no dead letter. Swept after
-- thirty days by whoever adds.
create table ingest_refusal (
    project_id bigint not null,
    hour timestamptz not null,
    key_id bigint not null,
    -- The code of the answer.
    reason text not null,
    -- Events; requests where the whole body could not be read.
    count bigint not null check (count > 0),
    last_at timestamptz not null,
    -- What the sender was told last.
    example text not null,
    primary key (project_id, hour, key_id, reason)
);
create index ingest_refusal_hour on ingest_refusal (hour);
