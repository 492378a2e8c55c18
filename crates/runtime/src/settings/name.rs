//! Every setting there is: its key in `platform.toml` and the names that people know it by.

/// One setting. Without a well-known name it is `LAP__SECTION__KEY` in the environment; with one, both work and the first wins.
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    pub(crate) well_known: &'static [&'static str],
}

const fn plain(key: &'static str) -> Setting {
    Setting { key, well_known: &[] }
}

const fn known_as(key: &'static str, well_known: &'static [&'static str]) -> Setting {
    Setting { key, well_known }
}

pub(crate) const SETTINGS: [Setting; 47] = [
    known_as("database.url", &["DATABASE_URL"]),
    plain("database.pool_size"),
    known_as("broker.url", &["AMQP_URL"]),
    known_as("gateway.url", &["LITELLM_GATEWAY_URL", "LITELLM_API_BASE"]),
    known_as("gateway.api_key", &["LITELLM_API_KEY"]),
    plain("gateway.virtual_keys"),
    known_as("keys.master", &["MASTER_KEY"]),
    known_as("keys.encryption", &["ENCRYPTION_KEY"]),
    known_as("keys.encryption_previous", &["ENCRYPTION_KEY_PREVIOUS"]),
    known_as("sandbox.backend", &["SANDBOX_BACKEND"]),
    plain("sandbox.data_dir"),
    plain("sandbox.agent_binary"),
    plain("sandbox.harness_dir"),
    plain("sandbox.harness_install_dir"),
    plain("sandbox.user_id"),
    plain("sandbox.expected_memory_mib"),
    plain("sandbox.reserved_memory_mib"),
    plain("sandbox.max_running"),
    plain("sandbox.leftover_grace_seconds"),
    known_as("sandbox.root_certificates", &["SSL_CERT_FILE"]),
    plain("egress.extra_ca_file"),
    plain("egress.hosts_file"),
    plain("egress.package_hosts"),
    plain("egress.listen"),
    plain("kubernetes.link_listen"),
    plain("kubernetes.link_url"),
    plain("kubernetes.egress_address"),
    plain("kubernetes.link_peer"),
    plain("kubernetes.egress_peer"),
    plain("kubernetes.namespace_prefix"),
    plain("kubernetes.agent_image"),
    plain("kubernetes.harness_images"),
    plain("kubernetes.image_pull_policy"),
    plain("kubernetes.storage_class"),
    plain("kubernetes.workspace_gib"),
    plain("kubernetes.runtime_class"),
    plain("snapshots.within_seconds"),
    plain("snapshots.most_files"),
    plain("snapshots.most_mib"),
    plain("snapshots.kept_mib"),
    plain("retention.egress_days"),
    plain("http.host"),
    known_as("http.port", &["PORT"]),
    known_as("log.filter", &["RUST_LOG"]),
    plain("log.format"),
    known_as("telemetry.otlp_endpoint", &["OTEL_EXPORTER_OTLP_ENDPOINT"]),
    plain("telemetry.sample_ratio"),
];

/// The name by which a person sets `key` in the environment.
pub(crate) fn shown(key: &str) -> String {
    let setting = SETTINGS.iter().find(|setting| setting.key == key);
    match setting.and_then(|setting| setting.well_known.first()) {
        Some(name) => (*name).to_owned(),
        None => format!("LAP__{}", key.to_uppercase().replace('.', "__")),
    }
}
