//! The tables as `migrations` leaves them. A test compares this page with the migrated database.

diesel::table! {
    agent_versions (agent_id, version) {
        agent_id -> Uuid,
        team_id -> Uuid,
        version -> Integer,
        definition -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    agents (id) {
        id -> Uuid,
        team_id -> Uuid,
        latest_version -> Integer,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        archived_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Uuid,
        team_id -> Uuid,
        name -> Text,
        lookup -> Text,
        hash -> Binary,
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    command_answers (command_id) {
        command_id -> Uuid,
        answer -> Binary,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    credentials (id) {
        id -> Uuid,
        team_id -> Uuid,
        vault_id -> Uuid,
        display_name -> Nullable<Text>,
        auth -> Jsonb,
        metadata -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        archived_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    egress_decisions (id) {
        id -> Uuid,
        team_id -> Uuid,
        session_id -> Uuid,
        sandbox_id -> Uuid,
        at -> Timestamptz,
        verdict -> Text,
        rule -> Text,
        code -> Nullable<Text>,
        host -> Text,
        port -> Integer,
        method -> Nullable<Text>,
        path -> Nullable<Text>,
        status -> Nullable<Integer>,
        bytes_out -> BigInt,
        bytes_in -> BigInt,
    }
}

diesel::table! {
    encryption_keys (id) {
        id -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    environments (id) {
        id -> Uuid,
        team_id -> Uuid,
        name -> Text,
        description -> Nullable<Text>,
        config -> Jsonb,
        scope -> Nullable<Text>,
        metadata -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        archived_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    events (session_id, number) {
        session_id -> Uuid,
        number -> BigInt,
        team_id -> Uuid,
        id -> Uuid,
        #[sql_name = "type"]
        type_ -> Text,
        turn_id -> Nullable<Uuid>,
        body -> Json,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    idempotency_keys (team_id, key) {
        team_id -> Uuid,
        key -> Text,
        request_hash -> Binary,
        status -> Nullable<Integer>,
        response -> Nullable<Json>,
        created_at -> Timestamptz,
        session_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    job_leases (job) {
        job -> Text,
        holder -> Uuid,
        until -> Timestamptz,
    }
}

diesel::table! {
    outbox (id) {
        id -> Uuid,
        session_id -> Nullable<Uuid>,
        sequence -> BigInt,
        exchange -> Text,
        routing_key -> Text,
        kind -> Text,
        mandatory -> Bool,
        body -> Binary,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    sandboxes (id) {
        id -> Uuid,
        team_id -> Nullable<Uuid>,
        session_id -> Nullable<Uuid>,
        agent_id -> Nullable<Uuid>,
        epoch -> Nullable<BigInt>,
        environment_id -> Uuid,
        harness -> Text,
        backend -> Text,
        host -> Text,
        state -> Text,
        spec -> Jsonb,
        detail -> Json,
        token_hash -> Nullable<Binary>,
        exit_reason -> Nullable<Text>,
        created_at -> Timestamptz,
        ready_at -> Nullable<Timestamptz>,
        gone_at -> Nullable<Timestamptz>,
        egress_ticket_hash -> Nullable<Binary>,
    }
}

diesel::table! {
    secrets (id) {
        id -> Uuid,
        team_id -> Nullable<Uuid>,
        owner_id -> Uuid,
        name -> Text,
        sealed -> Nullable<Binary>,
        key_id -> Text,
        fingerprint_length -> Nullable<Integer>,
        fingerprint_head -> Nullable<BigInt>,
        fingerprint_digest -> Nullable<Binary>,
        created_at -> Timestamptz,
        sealed_as -> Nullable<Uuid>,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        team_id -> Uuid,
        agent_id -> Uuid,
        agent_version -> Integer,
        agent -> Jsonb,
        environment_id -> Uuid,
        context -> Nullable<Text>,
        title -> Nullable<Text>,
        metadata -> Jsonb,
        vault_ids -> Jsonb,
        status -> Text,
        epoch -> BigInt,
        sandbox_id -> Nullable<Uuid>,
        startup -> Nullable<Jsonb>,
        harness_session -> Nullable<Text>,
        last_event -> BigInt,
        journal_through -> BigInt,
        usage -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        idle_since -> Nullable<Timestamptz>,
        archived_at -> Nullable<Timestamptz>,
        forked_from -> Nullable<Jsonb>,
        former_journal -> Nullable<Jsonb>,
        budget -> Nullable<Jsonb>,
        environment_variables -> Jsonb,
    }
}

diesel::table! {
    teams (id) {
        id -> Uuid,
        name -> Text,
        created_at -> Timestamptz,
        archive_inactive_after_seconds -> Nullable<BigInt>,
        delete_archived_after_seconds -> Nullable<BigInt>,
        internal_hosts -> Jsonb,
        budget_nano_usd -> Nullable<BigInt>,
        spent_nano_usd -> BigInt,
    }
}

diesel::table! {
    turns (id) {
        id -> Uuid,
        team_id -> Uuid,
        session_id -> Uuid,
        ordinal -> BigInt,
        event_number -> BigInt,
        state -> Text,
        epoch -> Nullable<BigInt>,
        attempts -> Integer,
        stop_reason -> Nullable<Text>,
        created_at -> Timestamptz,
        started_at -> Nullable<Timestamptz>,
        ended_at -> Nullable<Timestamptz>,
        interrupt_requested -> Bool,
        actions -> Json,
    }
}

diesel::table! {
    vaults (id) {
        id -> Uuid,
        team_id -> Uuid,
        display_name -> Text,
        metadata -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        archived_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    workspace_snapshots (session_id, turn_id) {
        session_id -> Uuid,
        turn_id -> Uuid,
        team_id -> Uuid,
        host -> Text,
        files -> BigInt,
        new_bytes -> BigInt,
        created_at -> Timestamptz,
    }
}

diesel::allow_tables_to_appear_in_same_query!(agents, agent_versions);
diesel::allow_tables_to_appear_in_same_query!(credentials, secrets, vaults);
diesel::allow_tables_to_appear_in_same_query!(agents, secrets);
diesel::allow_tables_to_appear_in_same_query!(environments, secrets);
diesel::allow_tables_to_appear_in_same_query!(sessions, secrets);
diesel::joinable!(sessions -> teams (team_id));
diesel::allow_tables_to_appear_in_same_query!(events, turns);
diesel::allow_tables_to_appear_in_same_query!(sandboxes, sessions, environments, teams, turns);

#[cfg(test)]
mod tests;
