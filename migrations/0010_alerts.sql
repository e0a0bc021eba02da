-- Alert rules, what they said, and whom that has to be told.

create table alert_rule (
    alert_rule_id bigint generated always as identity primary key,
    project_id bigint not null references project (project_id),
    name text not null check (name <> '' and length(name) <= 200),
    -- null: every service, each judged by itself; every environment, together.
    service text,
    env text,
    kind text not null check (kind in ('error_budget', 'latency', 'silence')),
    -- The figures of its kind, checked by the service: they are read together and never asked for one by one.
    target jsonb not null,
    -- How long it must be true before it fires, and false before it stops.
    for_s int not null check (for_s between 0 and 86400),
    keep_firing_s int not null check (keep_firing_s between 0 and 86400),
    enabled boolean not null default true,
    -- Where it is told. The address may hold a secret of its receiver and is never shown whole again; the secret signs what is
    -- sent, so a digest would not do.
    receiver_url text,
    receiver_secret text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Where it stands. On the row itself: one writer at a time (alert_evaluator), one row per rule and round.
    state text not null default 'ok' check (state in ('ok', 'pending', 'firing')),
    since timestamptz not null default now(),
    -- Of a firing rule: since when it has not been true any more.
    quiet_since timestamptz,
    evaluated_at timestamptz,
    -- What was seen last, as a person reads it.
    sentence text not null default '',
    value double precision,
    burn double precision,
    window_from timestamptz,
    window_to timestamptz
)
-- Updated every few seconds: leave room for heap-only updates.
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index alert_rule_project on alert_rule (project_id);

-- When a rule fired, from and to. Kept when the rule changes, gone with it.
create table alert_firing (
    alert_firing_id bigint generated always as identity primary key,
    alert_rule_id bigint not null references alert_rule (alert_rule_id) on delete cascade,
    project_id bigint not null,
    began_at timestamptz not null,
    -- null: it still does.
    ended_at timestamptz,
    sentence text not null,
    check (ended_at >= began_at)
);
-- A rule fires once at a time.
create unique index alert_firing_open on alert_firing (alert_rule_id) where ended_at is null;
-- "What fired lately", and the sweep.
create index alert_firing_project on alert_firing (project_id, began_at);

-- What has to be told: written in the transaction that changes the state, so that nothing is forgotten by a crash in between.
create table alert_delivery (
    alert_delivery_id uuid primary key,
    alert_rule_id bigint not null references alert_rule (alert_rule_id) on delete cascade,
    -- The bytes to send, made once: every try sends the same ones, and what is signed is what was meant.
    body text not null,
    created_at timestamptz not null default now(),
    attempts int not null default 0,
    next_at timestamptz not null default now(),
    -- One of them, in the end.
    delivered_at timestamptz,
    gave_up_at timestamptz,
    last_error text,
    check (delivered_at is null or gave_up_at is null)
);
-- "What is due."
create index alert_delivery_due on alert_delivery (next_at) where delivered_at is null and gave_up_at is null;

-- Who evaluates: one process of all. Every write of a state checks that it still is; a lease and not an advisory lock, because
-- connections come from a pool and may pass through a pooler that shares them.
create table alert_evaluator (
    only_row boolean primary key default true check (only_row),
    owner uuid not null,
    alive_until timestamptz not null
)
with (fillfactor = 20);
