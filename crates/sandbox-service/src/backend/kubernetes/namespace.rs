//! A team's namespace: what has to be in it before a pod is.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use platform_core::id::TeamId;
use platform_runtime::settings::KubernetesSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::{ClusterError, answered};
use super::{names, network_policy};

/// Who wrote a field, as the API server keeps it.
const WRITER: &str = "lap";

/// Makes the namespace, or brings it to what it should be. Nothing of it gives a pod any right.
pub async fn ensure(
    client: &Client,
    settings: &KubernetesSettings,
    team: TeamId,
) -> Result<String, ClusterError> {
    let name = names::namespace(&settings.namespace_prefix, team);
    apply::<Namespace>(&Api::all(client.clone()), &name, &namespace(&name, team)).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    apply(&accounts, names::SERVICE_ACCOUNT, &service_account(&name)).await?;
    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), &name);
    let policy = network_policy::of_namespace(settings, &name);
    apply(&policies, names::NETWORK_POLICY, &policy).await?;
    Ok(name)
}

/// Makes an object what is written here, and leaves to others what they have added to it.
pub async fn apply<K>(api: &Api<K>, name: &str, object: &Value) -> Result<K, ClusterError>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    answered(api.patch(name, &PatchParams::apply(WRITER).force(), &Patch::Apply(object))).await
}

fn namespace(name: &str, team: TeamId) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                names::TEAM_LABEL: team.uuid().to_string(),
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    })
}

fn service_account(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": names::SERVICE_ACCOUNT, "namespace": namespace },
        "automountServiceAccountToken": false,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_namespace_refuses_pods_with_rights() {
        let team = TeamId::from_uuid(Uuid::from_u128(1));
        let labels = namespace("lap-team-1", team)["metadata"]["labels"].clone();
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        assert_eq!(service_account("lap-team-1")["automountServiceAccountToken"], false);
    }
}
