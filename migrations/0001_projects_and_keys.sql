-- Who may send and who may read. A project is the tenant: every key, series, event and session belongs
-- to exactly one, and nothing is ever visible across two.

create table project (
    -- An integer and not a uuid: it is part of every rollup key, where 8 bytes less per row count.
    project_id bigint generated always as identity primary key,
    name text not null unique check (name <> ''),
    created_at timestamptz not null default now()
);

create table api_key (
    key_id bigint generated always as identity primary key,
    project_id bigint not null references project (project_id),
    -- null: the sender may name any environment in its events.
    env text check (env <> ''),
    scope text not null check (scope in ('ingest', 'read', 'admin')),
    -- The shown parts of the key, so that people can tell keys apart in a list.
    prefix text not null,
    last4 text not null,
    -- SHA-256 of the whole key. A plain digest is enough because keys are random and long (178 bits):
    -- there is nothing to guess, and a slow hash would be paid on every refresh of the key snapshot.
    digest bytea not null unique check (octet_length(digest) = 32),
    created_at timestamptz not null default now(),
    -- Revoked keys stay: an audit can still say whose they were, and the digest cannot be issued again.
    revoked_at timestamptz
);

-- A foreign key has no index of its own; this one serves `peep key list --project`.
create index api_key_project on api_key (project_id);

-- A signed-in browser. The cookie carries the secret, the table only its digest.
create table session (
    digest bytea primary key check (octet_length(digest) = 32),
    project_id bigint not null references project (project_id),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);

-- For the sweep of expired sessions.
create index session_expiry on session (expires_at);

-- A link that signs in once. `used_at` is set by the statement that redeems it
-- (`… where used_at is null returning …`), so that two clicks cannot both win.
create table login_token (
    digest bytea primary key check (octet_length(digest) = 32),
    project_id bigint not null references project (project_id),
    expires_at timestamptz not null,
    used_at timestamptz
);
