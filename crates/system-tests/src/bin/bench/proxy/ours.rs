//! The ways through vault-proxy: a real session's door, from outside of its sandbox.

use std::path::Path;

use local_stack::Part;
use system_tests::upstream::{SECRET, Upstream};
use system_tests::{House, Secret};

use super::leg::{Entrance, Leg};
use crate::figures::{Report, resident_mebibytes};

const NAME: &str = "BENCH_TOKEN";

/// A session that may reach both servers and has a credential for the second one, so that only what goes to that one is terminated.
pub async fn legs(house: &House, plain: &Upstream, guarded: &Upstream) -> anyhow::Result<[Leg; 3]> {
    let host = |upstream: &Upstream| format!("localhost:{}", upstream.port());
    let client = house.team_allowing(&[host(plain), host(guarded)]).await?;
    let hosts = [host(guarded)];
    let secret = Secret { name: NAME, value: SECRET, hosts: &hosts, also_in: &[] };
    let vault = client.create_vault(&[secret]).await?;
    let session = client.open_session_with(&client.create_agent().await?, &[&vault]).await?;
    client.until_ready(&session).await?;
    let placeholder = client.run(&session, &format!("printenv {NAME}")).await?;
    let egress = house.egress_of(&client, &session).await?;
    let (door, certificate) = (egress.join("proxy.sock"), egress.join("ca.pem"));
    let leg = |upstream, roots: &Path| {
        Leg::through("vault-proxy", Entrance::Door(door.clone()), upstream, roots)
    };
    let authorization = format!("Bearer {}", placeholder.trim());
    Ok([
        leg(plain, &house.authority().own())?,
        leg(guarded, &certificate)?,
        leg(guarded, &certificate)?.with_authorization(authorization),
    ])
}

pub fn memory(house: &House, report: &mut Report) {
    for (name, _, pid) in house.stack.processes() {
        let of_proxy = pid.filter(|_| name.part() == Part::VaultProxy);
        if let Some(mebibytes) = of_proxy.and_then(resident_mebibytes) {
            report.note("RSS of vault-proxy after the transfers", &format!("{mebibytes} MiB"));
        }
    }
}
