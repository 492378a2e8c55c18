-- Vaults and credentials, sealed values, what the way out decided, budgets.

create table vaults (
    id uuid primary key,
    team_id uuid not null references teams (id),
    display_name text not null,
    metadata jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    unique (team_id, id)
);
create index vaults_by_creation on vaults (team_id, created_at desc, id desc);

create table credentials (
    id uuid primary key,
    team_id uuid not null,
    vault_id uuid not null,
    display_name text,
    -- Names sealed values by id; holds none.
    auth jsonb not null,
    metadata jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    unique (team_id, id),
    foreign key (team_id, vault_id) references vaults (team_id, id) on delete cascade
);
create index credentials_by_creation on credentials (team_id, vault_id, created_at desc, id desc);

-- Values that must not be read by whoever reads this database: sealed with AES-256-GCM, bound to team and id.
create table secrets (
    id uuid primary key,
    -- Null: the platform's own (CONTAINER_ENV_*), of which only the fingerprint is kept.
    team_id uuid references teams (id),
    -- The credential, environment, agent or session that it belongs to.
    owner_id uuid not null,
    -- What it is called where it is taken out of a text.
    name text not null,
    sealed bytea,
    -- Which key it is sealed and fingerprinted under.
    key_id text not null,
    -- By what it is recognised in text; null when it is too short for that.
    fingerprint_length integer,
    fingerprint_head bigint,
    fingerprint_digest bytea,
    created_at timestamptz not null,
    check (team_id is null or sealed is not null),
    check (num_nulls(fingerprint_length, fingerprint_head, fingerprint_digest) in (0, 3))
);
create index secrets_by_team on secrets (team_id);
create index secrets_by_owner on secrets (owner_id);

-- The keys that the platform was started with: one that is none of them is a mistake.
create table encryption_keys (
    id text primary key,
    created_at timestamptz not null
);

-- Written by vault-proxy. Without queries, headers and bodies, which may hold secrets.
create table egress_decisions (
    id uuid primary key,
    team_id uuid not null,
    session_id uuid not null,
    sandbox_id uuid not null,
    at timestamptz not null,
    verdict text not null check (verdict in ('allowed', 'denied', 'failed')),
    rule text not null,
    code text,
    host text not null,
    port integer not null,
    method text,
    path text,
    status integer,
    bytes_out bigint not null,
    bytes_in bigint not null,
    foreign key (team_id, session_id) references sessions (team_id, id) on delete cascade
);
create index egress_decisions_of_session on egress_decisions (team_id, session_id, at desc, id desc);
create index egress_decisions_by_age on egress_decisions (at);

alter table sessions
    add column budget jsonb,
    add column environment_variables jsonb not null default '{}';
-- Sessions that may stand still for want of money.
create index sessions_with_budget on sessions (id) where budget is not null;

alter table teams
    -- Hosts that sandboxes of the team may reach although their addresses are not public.
    add column internal_hosts jsonb not null default '[]',
    -- What the model calls of all sessions may cost, and have cost, in billionths of a US dollar.
    add column budget_nano_usd bigint check (budget_nano_usd >= 0),
    add column spent_nano_usd bigint not null default 0;
