alter table sandboxes drop column egress_ticket_hash;
