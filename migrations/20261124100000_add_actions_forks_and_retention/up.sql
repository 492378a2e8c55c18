-- Turns that wait for answers, sessions that go on from others, files kept at the end of turns, and what goes away by age.

alter table turns
    add column interrupt_requested boolean not null default false,
    -- Calls that wait for an answer, or whose answer the harness has not taken up. As json, because clients' results may hold U+0000.
    add column actions json not null default '[]',
    drop constraint turns_state_check,
    add constraint turns_state_check check (state in ('queued', 'dispatched', 'running', 'waiting', 'ended'));

alter table sessions
    -- The session, event and turn from which it goes on.
    add column forked_from jsonb,
    -- The last journal of an earlier epoch of which something is in the log, and how much.
    add column former_journal jsonb;
-- What should have a sandbox, or be on its way to one.
create index sessions_at_work on sessions (updated_at) where status in ('running', 'rescheduling');
create index sessions_unarchived on sessions (team_id, updated_at) where archived_at is null;
create index sessions_archived on sessions (team_id, archived_at) where archived_at is not null;

-- Which turns' ends have their files kept. Owned by sandbox-service, which has the files; rows go with their session.
create table workspace_snapshots (
    session_id uuid not null,
    turn_id uuid not null,
    team_id uuid not null,
    -- The machine that has the files (local backend).
    host text not null,
    files bigint not null,
    -- What was not stored already for an earlier turn.
    new_bytes bigint not null,
    created_at timestamptz not null,
    primary key (session_id, turn_id),
    foreign key (team_id, session_id) references sessions (team_id, id) on delete cascade
);

alter table teams
    -- Null: never.
    add column archive_inactive_after_seconds bigint check (archive_inactive_after_seconds > 0),
    add column delete_archived_after_seconds bigint check (delete_archived_after_seconds > 0);

-- So that answers which repeat a session's content go with it.
alter table idempotency_keys add column session_id uuid;
create index idempotency_keys_of_session on idempotency_keys (session_id) where session_id is not null;

-- Which replica of the worker has which job in hand, and until when nobody else takes it.
create table job_leases (
    job text primary key,
    holder uuid not null,
    until timestamptz not null
);
