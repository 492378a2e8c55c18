alter table teams
    drop column internal_hosts,
    drop column budget_nano_usd,
    drop column spent_nano_usd;

alter table sessions
    drop column budget,
    drop column environment_variables;

drop table egress_decisions;
drop table encryption_keys;
drop table secrets;
drop table credentials;
drop table vaults;
