//! The pod of a sandbox: two rooms as two containers, and what prepares them. Pure.

use platform_core::environment::Resources;
use platform_runtime::settings::KubernetesSettings;
use serde_json::{Value, json};

use super::names;
use crate::backend::{StartOrder, programs};

/// The user of the harness's room, and the group of all containers.
const HARNESS_USER: u32 = 5001;
const SUPERVISE_USER: u32 = 5002;
/// The containers whose restart is the end of the sandbox.
pub const SUPERVISE: &str = "supervise";
pub const HARNESS: &str = "harness";

const AGENT: &str = "/opt/lap/sandbox-agent";
const ROOM: &str = "/run/room/room.sock";
const DOOR: &str = "/run/egress/proxy.sock";
/// The authorities of the harness's image, and those that the link adds.
const TRUST: &str = "/run/trust/ca-certificates.crt";
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the harness's image needs at the start; it may use what its limits say.
const LEAST_MEMORY_MIB: u64 = 512;
const LEAST_CPU_MILLIS: u64 = 100;

/// The template of the pods that this order asks for; `image` is that of the harness.
pub fn template(settings: &KubernetesSettings, order: &StartOrder, image: &str) -> Value {
    let mut spec = json!({
        "serviceAccountName": names::SERVICE_ACCOUNT,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "shareProcessNamespace": false,
        "hostNetwork": false,
        "terminationGracePeriodSeconds": 10,
        "restartPolicy": "Always",
        "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["127.0.0.1"] },
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": HARNESS_USER,
            "runAsGroup": HARNESS_USER,
            "fsGroup": HARNESS_USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
            // What the agent's programs ask for by name they ask at the ports of this pod's own loopback.
            "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }],
        },
        "initContainers": [install(settings), prepare(settings, image)],
        "containers": [supervise(settings), harness(settings, order, image)],
        "volumes": volumes(order),
    });
    if let (Some(class), Some(spec)) = (&settings.runtime_class, spec.as_object_mut()) {
        spec.insert("runtimeClassName".to_owned(), json!(class));
    }
    json!({ "metadata": { "labels": { names::ROLE_LABEL: names::ROLE } }, "spec": spec })
}

/// The volume that outlives its pods. Templates of volumes cannot be changed.
pub fn volume_claims(settings: &KubernetesSettings) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": format!("{}Gi", settings.workspace_gib) } },
    });
    if let (Some(class), Some(spec)) = (&settings.storage_class, spec.as_object_mut()) {
        spec.insert("storageClassName".to_owned(), json!(class));
    }
    json!([{ "metadata": { "name": names::WORKSPACE }, "spec": spec }])
}

/// Puts sandbox-agent where all containers find it, so that the platform can be upgraded without building harness images again.
fn install(settings: &KubernetesSettings) -> Value {
    container(
        "install",
        &settings.agent_image,
        settings,
        HARNESS_USER,
        &["/opt/lap-image/sandbox-agent", "install", "/opt/lap"],
        &json!([{ "name": "agent", "mountPath": "/opt/lap" }]),
    )
}

/// Makes the folders of the volume, and takes over the authorities that the image trusts.
fn prepare(settings: &KubernetesSettings, image: &str) -> Value {
    container(
        "prepare",
        image,
        settings,
        HARNESS_USER,
        &[AGENT, "prepare-pod"],
        &json!([
            { "name": "agent", "mountPath": "/opt/lap", "readOnly": true },
            { "name": names::WORKSPACE, "mountPath": "/volume" },
            { "name": "trust", "mountPath": "/run/trust" },
        ]),
    )
}

fn supervise(settings: &KubernetesSettings) -> Value {
    let command = [
        AGENT,
        "supervise",
        "--pod-token",
        "/run/identity/token",
        "--link",
        &settings.link_url,
        "--room",
        ROOM,
        "--journal",
        "/journal",
        "--egress-socket",
        DOOR,
        "--trust",
        TRUST,
        "--linked-file",
        "/run/supervise/linked",
    ];
    let mut supervise = container(
        SUPERVISE,
        &settings.agent_image,
        settings,
        SUPERVISE_USER,
        &command,
        &json!([
            { "name": "agent", "mountPath": "/opt/lap", "readOnly": true },
            { "name": "identity", "mountPath": "/run/identity", "readOnly": true },
            { "name": "room", "mountPath": "/run/room" },
            { "name": "egress", "mountPath": "/run/egress" },
            { "name": "trust", "mountPath": "/run/trust" },
            { "name": "supervise", "mountPath": "/run/supervise" },
            { "name": names::WORKSPACE, "mountPath": "/journal", "subPath": "journal" },
        ]),
    );
    if let Some(supervise) = supervise.as_object_mut() {
        let is_linked = [AGENT, "is-linked", "--linked-file", "/run/supervise/linked"];
        let probe = json!({
            "exec": { "command": is_linked },
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        });
        supervise.insert("readinessProbe".to_owned(), probe);
        let variables =
            [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("RUST_LOG", "info")];
        supervise.insert("env".to_owned(), env(variables));
        let resources = json!({
            "requests": { "cpu": "50m", "memory": "32Mi" },
            "limits": { "memory": "256Mi" },
        });
        supervise.insert("resources".to_owned(), resources);
    }
    supervise
}

fn harness(settings: &KubernetesSettings, order: &StartOrder, image: &str) -> Value {
    let (models, proxy) = (format!("127.0.0.1:4000={DOOR}"), format!("127.0.0.1:3128={DOOR}"));
    let command = [
        AGENT,
        "init",
        "--room",
        ROOM,
        "--forward",
        &models,
        "--forward",
        &proxy,
        "--names-lead-to",
        DOOR,
    ];
    let mut harness = container(
        HARNESS,
        image,
        settings,
        HARNESS_USER,
        &command,
        &json!([
            { "name": "agent", "mountPath": "/opt/lap", "readOnly": true },
            { "name": "room", "mountPath": "/run/room" },
            { "name": "egress", "mountPath": "/run/egress", "readOnly": true },
            { "name": "trust", "mountPath": "/run/trust", "readOnly": true },
            { "name": "trust", "mountPath": SYSTEM_BUNDLE, "subPath": "ca-certificates.crt", "readOnly": true },
            { "name": names::WORKSPACE, "mountPath": "/home/agent", "subPath": "home" },
            { "name": names::WORKSPACE, "mountPath": "/workspace", "subPath": "workspace" },
            { "name": "temporary", "mountPath": "/tmp" },
        ]),
    );
    if let Some(harness) = harness.as_object_mut() {
        let own = [
            ("PATH", "/opt/harness/bin:/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/home/agent"),
            ("USER", "agent"),
            ("SHELL", "/bin/bash"),
            ("LANG", "C.UTF-8"),
        ];
        harness.insert(
            "env".to_owned(),
            env(own.into_iter().chain(programs::variables(TRUST, TRUST))),
        );
        harness.insert("workingDir".to_owned(), json!("/workspace"));
        harness.insert("resources".to_owned(), resources(&order.resources));
    }
    harness
}

/// Every container is held in the same way; what it may do beyond is added to it.
fn container(
    name: &str,
    image: &str,
    settings: &KubernetesSettings,
    user: u32,
    command: &[&str],
    mounts: &Value,
) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy.as_word(),
        "command": command,
        "volumeMounts": mounts,
        "securityContext": {
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": user,
            "runAsGroup": HARNESS_USER,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

fn env(variables: impl IntoIterator<Item = (&'static str, &'static str)>) -> Value {
    variables.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn resources(resources: &Resources) -> Value {
    let Resources { memory_mib, cpu_millis, disk_mib, .. } = resources;
    json!({
        "requests": {
            "memory": format!("{}Mi", memory_mib.min(&LEAST_MEMORY_MIB)),
            "cpu": format!("{}m", cpu_millis.min(&LEAST_CPU_MILLIS)),
        },
        "limits": {
            "memory": format!("{memory_mib}Mi"),
            "cpu": format!("{cpu_millis}m"),
            "ephemeral-storage": format!("{disk_mib}Mi"),
        },
    })
}

fn volumes(order: &StartOrder) -> Value {
    let token = json!({
        "serviceAccountToken": {
            "audience": names::AUDIENCE, "expirationSeconds": 600, "path": "token",
        },
    });
    let memory = |name: &str, size: &str| json!({ "name": name, "emptyDir": { "medium": "Memory", "sizeLimit": size } });
    json!([
        { "name": "identity", "projected": { "sources": [token] } },
        memory("room", "1Mi"),
        memory("egress", "1Mi"),
        memory("trust", "8Mi"),
        memory("supervise", "1Mi"),
        { "name": "agent", "emptyDir": { "sizeLimit": "1Gi" } },
        { "name": "temporary", "emptyDir": { "sizeLimit": format!("{}Mi", order.resources.disk_mib) } },
    ])
}

#[cfg(test)]
mod tests {
    use super::super::{order_for_tests, settings_for_tests};
    use super::*;

    fn pod() -> Value {
        template(&settings_for_tests(), &order_for_tests(), "registry.example/opencode:1")
    }

    fn containers(pod: &Value) -> Vec<Value> {
        ["initContainers", "containers"]
            .iter()
            .flat_map(|kind| pod["spec"][kind].as_array().unwrap().clone())
            .collect()
    }

    fn find(pod: &Value, name: &str) -> Value {
        containers(pod).into_iter().find(|container| container["name"] == name).unwrap()
    }

    fn mounts(container: &Value) -> Vec<(String, String)> {
        let mounts = container["volumeMounts"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        mounts.map(|mount| (text(&mount["name"]), text(&mount["subPath"]))).collect()
    }

    #[test]
    fn the_harness_sees_neither_journal_nor_identity() {
        let pod = pod();
        let harness = mounts(&find(&pod, HARNESS));
        assert!(harness.iter().all(|(volume, _)| volume != "identity" && volume != "supervise"));
        // Never the volume as a whole either.
        let of_volume: Vec<_> =
            harness.iter().filter(|(volume, _)| volume == names::WORKSPACE).collect();
        assert_eq!(
            of_volume.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>(),
            ["home", "workspace"]
        );
        let supervise = mounts(&find(&pod, SUPERVISE));
        assert!(supervise.contains(&("identity".to_owned(), String::new())));
        assert!(supervise.contains(&(names::WORKSPACE.to_owned(), "journal".to_owned())));
    }

    #[test]
    fn what_the_harness_has_of_the_link_it_cannot_write() {
        let harness = find(&pod(), HARNESS);
        for mount in harness["volumeMounts"].as_array().unwrap() {
            let is_its_own =
                ["room", names::WORKSPACE, "temporary"].contains(&mount["name"].as_str().unwrap());
            assert_eq!(mount["readOnly"] != true, is_its_own, "{mount}");
        }
    }

    #[test]
    fn every_container_is_without_rights() {
        let pod = pod();
        assert_eq!(containers(&pod).len(), 4);
        for container in containers(&pod) {
            let context = &container["securityContext"];
            assert_eq!(context["privileged"], false);
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["runAsNonRoot"], true);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
        }
        let spec = &pod["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["hostNetwork"], false);
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert!(spec.get("hostPID").is_none() && spec.get("hostIPC").is_none());
        let is_of_the_node = |volume: &Value| volume.get("hostPath").is_some();
        assert!(!spec["volumes"].as_array().unwrap().iter().any(is_of_the_node));
    }

    #[test]
    fn the_two_rooms_are_different_users() {
        let pod = pod();
        let user = |name| find(&pod, name)["securityContext"]["runAsUser"].as_u64().unwrap();
        assert_ne!(user(SUPERVISE), user(HARNESS));
    }

    #[test]
    fn the_harness_gets_what_its_environment_says() {
        let pod = pod();
        let limits = find(&pod, HARNESS)["resources"]["limits"].clone();
        assert_eq!(
            limits,
            json!({"memory": "2048Mi", "cpu": "2000m", "ephemeral-storage": "10240Mi"})
        );
        assert!(pod["spec"].get("runtimeClassName").is_none());
        let settings =
            KubernetesSettings { runtime_class: Some("gvisor".to_owned()), ..settings_for_tests() };
        let walled = template(&settings, &order_for_tests(), "image");
        assert_eq!(walled["spec"]["runtimeClassName"], "gvisor");
    }
}
