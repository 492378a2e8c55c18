//! Blows against the sandbox of one session.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use local_stack::Signal;
use tokio::time::sleep;

use super::blow::{Blow, How, Kind, Member};
use super::{Chaos, processes};

/// A sandbox that cannot be found in this time is left alone.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn strike(
    chaos: &Chaos,
    user: u32,
    Blow { how, member, pick, lasts, .. }: Blow,
) -> anyhow::Result<()> {
    let session = chaos.roll.session(user).context("the session is not open yet")?;
    let shown = chaos.client.get(&format!("/v1/sessions/{session}"), PATIENCE).await?;
    let sandbox = shown["sandbox_id"].as_str().context("it has none now")?;
    if how == How::Delete {
        let deleted = chaos.client.delete(&format!("/v1/sandboxes/{sandbox}"), PATIENCE).await?;
        chaos.record.note(
            Kind::Sandbox,
            &format!("DELETE sandbox of session {user}: {} ({sandbox})", deleted.status),
        );
        chaos.record.count(how.as_words(), "sandbox");
        return Ok(());
    }
    let folder = chaos.ground.sandboxes.as_ref().context("its processes are elsewhere")?;
    let folder = folder.join(bare(sandbox)?);
    let found = processes_of(&folder, member, pick)?;
    let seconds = lasts.as_secs_f64();
    let words = how.as_words();
    let pids = processes::pids(&found);
    let lasting = if how == How::Freeze { format!(", for {seconds:.1} s") } else { String::new() };
    let told =
        format!("{words} {member} of session {user}'s sandbox{lasting} ({sandbox}, {pids:?})");
    chaos.record.note(Kind::Sandbox, &told);
    chaos.record.count(how.as_words(), &format!("sandbox: {member}"));
    if matches!(member, Member::Harness | Member::Any) {
        chaos.record.harness_was_hit(user);
    }
    if how == How::Freeze {
        processes::signal(&found, Signal::SIGSTOP);
        sleep(lasts).await;
        processes::signal(&found, Signal::SIGCONT);
    } else {
        processes::signal(&found, Signal::SIGKILL);
    }
    Ok(())
}

fn processes_of(folder: &Path, member: Member, pick: u32) -> anyhow::Result<Vec<processes::Found>> {
    let room = if member == Member::Supervise { "supervise" } else { "init" };
    let file = folder.join(format!("{room}.pid"));
    let pid = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let is_agent = |found: &processes::Found| found.command.contains("sandbox-agent");
    let mut found = processes::tree(pid.trim().parse()?);
    match member {
        Member::Supervise | Member::Init => found.retain(is_agent),
        Member::Harness => found.retain(|found| !is_agent(found)),
        Member::Any => {
            let count = found.len().max(1);
            found = found.into_iter().skip(usize::try_from(pick)? % count).take(1).collect();
        }
    }
    anyhow::ensure!(!found.is_empty(), "no {member} runs in it");
    Ok(found)
}

/// The id as folders are named: the digits alone.
fn bare(id: &str) -> anyhow::Result<String> {
    let digits = id.rsplit('_').next().unwrap_or(id);
    Ok(uuid::Uuid::try_parse(digits)?.simple().to_string())
}
