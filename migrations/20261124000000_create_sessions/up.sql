-- The first schema: definitions, sessions with their log, sandboxes, and what makes repeats harmless.
-- Every row belongs to a team. States are words, held to their set by checks.

create table teams (
    id uuid primary key,
    name text not null unique check (char_length(name) between 1 and 255),
    created_at timestamptz not null
);

create table api_keys (
    id uuid primary key,
    team_id uuid not null references teams (id),
    name text not null check (char_length(name) between 1 and 255),
    -- The part of the key that finds its row; useless by itself.
    lookup text not null unique,
    -- SHA-256 of the whole key. Keys have 256 random bits, so a slow hash would add nothing.
    hash bytea not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
create index api_keys_by_team on api_keys (team_id, id);

create table agents (
    id uuid primary key,
    team_id uuid not null references teams (id),
    latest_version integer not null check (latest_version >= 1),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    unique (team_id, id)
);

create table agent_versions (
    agent_id uuid not null,
    team_id uuid not null,
    version integer not null check (version >= 1),
    definition jsonb not null,
    created_at timestamptz not null,
    primary key (agent_id, version),
    foreign key (team_id, agent_id) references agents (team_id, id)
);

create table environments (
    id uuid primary key,
    team_id uuid not null references teams (id),
    name text not null,
    description text,
    config jsonb not null,
    scope text,
    metadata jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    unique (team_id, id)
);

create table sessions (
    id uuid primary key,
    team_id uuid not null references teams (id),
    agent_id uuid not null,
    agent_version integer not null,
    agent jsonb not null,
    environment_id uuid not null,
    context text,
    title text,
    metadata jsonb not null,
    vault_ids jsonb not null,
    status text not null check (status in ('idle', 'running', 'rescheduling', 'terminated')),
    epoch bigint not null default 0,
    sandbox_id uuid,
    startup jsonb,
    harness_session text,
    last_event bigint not null default 0,
    journal_through bigint not null default 0,
    usage jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Since when no turn is under way; null while one is.
    idle_since timestamptz,
    archived_at timestamptz,
    unique (team_id, id),
    foreign key (team_id, agent_id) references agents (team_id, id),
    foreign key (team_id, environment_id) references environments (team_id, id)
);
create unique index sessions_live_context on sessions (team_id, agent_id, context)
    where context is not null and archived_at is null and status <> 'terminated';
create index sessions_by_creation on sessions (team_id, created_at desc, id desc);
create index sessions_by_agent on sessions (team_id, agent_id, created_at desc, id desc);
create index sessions_idle on sessions (idle_since) where sandbox_id is not null and idle_since is not null;

create table turns (
    id uuid primary key,
    team_id uuid not null,
    session_id uuid not null,
    -- 1, 2, 3 … in the session: the order in which turns run.
    ordinal bigint not null,
    -- The user's message that opened it.
    event_number bigint not null,
    state text not null check (state in ('queued', 'dispatched', 'running', 'ended')),
    epoch bigint,
    attempts integer not null default 0,
    stop_reason text,
    created_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    unique (session_id, ordinal),
    foreign key (team_id, session_id) references sessions (team_id, id) on delete cascade,
    check ((state = 'ended') = (stop_reason is not null)),
    check ((state = 'ended') = (ended_at is not null))
);
create index turns_open on turns (session_id, ordinal) where state <> 'ended';

create table events (
    session_id uuid not null,
    number bigint not null check (number >= 1),
    team_id uuid not null,
    id uuid not null,
    type text not null,
    turn_id uuid,
    -- The wire format's fields beside id, type and processed_at. As json, not jsonb: it keeps the order of keys and U+0000,
    -- which tools print and jsonb refuses.
    body json not null,
    created_at timestamptz not null,
    primary key (session_id, number),
    unique (session_id, id),
    foreign key (team_id, session_id) references sessions (team_id, id) on delete cascade
);

-- Messages that a transaction decided to send. Published right after the commit and then deleted; the sweep publishes what a crash left.
create table outbox (
    id uuid primary key,
    -- The session it speaks of: what concerns one session leaves in the order of `sequence`.
    session_id uuid,
    sequence bigint generated always as identity,
    exchange text not null,
    routing_key text not null,
    kind text not null,
    mandatory boolean not null default false,
    body bytea not null,
    created_at timestamptz not null
);
create index outbox_in_order on outbox (sequence);

-- Answers to commands already carried out, so that a repeat is answered as the first time.
create table command_answers (
    command_id uuid primary key,
    answer bytea not null,
    created_at timestamptz not null
);
create index command_answers_by_age on command_answers (created_at);

-- What a client's Idempotency-Key was answered.
create table idempotency_keys (
    team_id uuid not null references teams (id),
    key text not null,
    -- SHA-256 over method, path and body.
    request_hash bytea not null,
    -- Null while the first request is under way.
    status integer,
    -- As json, so that it is answered in the order of keys of the first time.
    response json,
    created_at timestamptz not null,
    primary key (team_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- Owned by sandbox-service.
create table sandboxes (
    id uuid primary key,
    -- Null while it waits in a warm pool for its session.
    team_id uuid references teams (id),
    session_id uuid,
    agent_id uuid,
    epoch bigint,
    environment_id uuid not null,
    harness text not null,
    backend text not null check (backend in ('local', 'kubernetes')),
    -- The machine whose processes they are (local backend).
    host text not null,
    state text not null check (state in ('queued', 'starting', 'warm', 'claimed', 'ready', 'stopping', 'gone')),
    spec jsonb not null,
    -- The provision command's session_spec and the sandbox's outside identity, until the sandbox is gone.
    -- As json, because it may hold what tools printed.
    detail json not null default '{}',
    -- SHA-256 of the token that its sandbox-agent shows on the link.
    token_hash bytea,
    exit_reason text,
    created_at timestamptz not null,
    ready_at timestamptz,
    gone_at timestamptz
);
create unique index sandboxes_of_session on sandboxes (session_id, epoch) where session_id is not null;
create index sandboxes_by_team on sandboxes (team_id, created_at desc, id desc);
create index sandboxes_queued on sandboxes (created_at, id) where state = 'queued';
create index sandboxes_warm on sandboxes (host, environment_id, harness) where state = 'warm';
create index sandboxes_living on sandboxes (host) where state <> 'gone';
