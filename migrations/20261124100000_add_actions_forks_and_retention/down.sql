drop table job_leases;
drop index idempotency_keys_of_session;
alter table idempotency_keys drop column session_id;
alter table teams drop column archive_inactive_after_seconds, drop column delete_archived_after_seconds;
drop table workspace_snapshots;
drop index sessions_archived;
drop index sessions_unarchived;
drop index sessions_at_work;
alter table sessions drop column forked_from, drop column former_journal;
alter table turns
    drop column interrupt_requested,
    drop column actions,
    drop constraint turns_state_check,
    add constraint turns_state_check check (state in ('queued', 'dispatched', 'running', 'ended'));
