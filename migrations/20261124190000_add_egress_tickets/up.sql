alter table sandboxes
    -- SHA-256 of what a sandbox shows to vault-proxy where it has no socket of its own to it.
    add column egress_ticket_hash bytea;
create unique index sandboxes_by_egress_ticket on sandboxes (egress_ticket_hash);
