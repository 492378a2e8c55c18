//! The ways through vault-proxy: a real session's door, from outside of its sandbox.

use std::path::Path;

use anyhow::Context;
use local_stack::Part;
use system_tests::upstream::SECRET;
use system_tests::{House, Secret};

use super::leg::{Entrance, Leg, Named};
use super::processor::{forget_most_resident, most_resident_mebibytes};
use crate::figures::{Report, resident_mebibytes};

const NAME: &str = "BENCH_TOKEN";
const MUCH: usize = 1 << 30;

/// A session that may reach both servers and has a credential for the second one, so that only what goes to that one is terminated.
pub async fn legs(house: &House, plain: Named<'_>, guarded: Named<'_>) -> anyhow::Result<[Leg; 3]> {
    let host = |(upstream, name): Named<'_>| format!("{name}:{}", upstream.port());
    let client = house.team_allowing(&[host(plain), host(guarded)]).await?;
    let hosts = [host(guarded)];
    let secret = Secret { name: NAME, value: SECRET, hosts: &hosts, also_in: &[] };
    let vault = client.create_vault(&[secret]).await?;
    let session = client.open_session_with(&client.create_agent().await?, &[&vault]).await?;
    client.until_ready(&session).await?;
    let placeholder = client.run(&session, &format!("printenv {NAME}")).await?;
    let egress = house.egress_of(&client, &session).await?;
    let (door, certificate) = (egress.join("proxy.sock"), egress.join("ca.pem"));
    let process = process(house)?;
    let leg = |upstream, roots: &Path| {
        let leg = Leg::through("vault-proxy", Entrance::Door(door.clone()), upstream, roots)?;
        anyhow::Ok(leg.carried_by(process))
    };
    let authorization = format!("Bearer {}", placeholder.trim());
    Ok([
        leg(plain, &house.authority().own())?,
        leg(guarded, &certificate)?,
        leg(guarded, &certificate)?.with_authorization(authorization),
    ])
}

/// The one vault-proxy of the house.
fn process(house: &House) -> anyhow::Result<i32> {
    let processes = house.stack.processes();
    let mut of_proxy = processes.into_iter().filter(|(name, ..)| name.part() == Part::VaultProxy);
    of_proxy.find_map(|(_, _, process)| process).context("vault-proxy does not run")
}

/// Carries a very large body each way and tells the most memory that vault-proxy held meanwhile.
pub async fn carry_much(house: &House, leg: &Leg, report: &mut Report) -> anyhow::Result<()> {
    let process = process(house)?;
    let resident = resident_mebibytes(process).context("no RSS")?;
    forget_most_resident(process)?;
    let mut connection = leg.connect().await?;
    connection.upload(MUCH).await?;
    connection.download(MUCH).await?;
    let most = most_resident_mebibytes(process).context("no VmHWM")?;
    let text = format!("{resident} MiB before, at most {most} MiB meanwhile");
    report.note("RSS of vault-proxy while 1 GiB goes up and 1 GiB down, terminated", &text);
    Ok(())
}
