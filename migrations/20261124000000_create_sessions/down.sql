drop table sandboxes, idempotency_keys, command_answers, outbox, events, turns, sessions, environments, agent_versions, agents, api_keys, teams;
