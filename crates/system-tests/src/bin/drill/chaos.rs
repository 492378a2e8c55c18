//! Breaks things at random while sessions work, and brings each back after a while.

mod blow;
mod processes;
mod sandboxes;
mod services;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use system_tests::PatientClient;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use blow::Kind;
use blow::{Blow, Target};

use crate::choices::Choices;
use crate::ground::Ground;
use crate::record::Record;
use crate::stage::Roll;

/// At most this many things are broken at the same time.
const MOST_BROKEN: usize = 4;

/// Everything that a blow needs.
pub(crate) struct Chaos {
    pub(crate) ground: Arc<Ground>,
    pub(crate) client: PatientClient,
    pub(crate) roll: Arc<Roll>,
    pub(crate) record: Arc<Record>,
    pub(crate) sessions: u32,
}

/// Strikes until it is time to end, then waits until the last thing that was broken is back.
pub(crate) async fn rage(
    chaos: Arc<Chaos>,
    kinds: &[Kind],
    mean_pause: Duration,
    mut choices: Choices,
    ends: Instant,
) {
    let mut healing: JoinSet<Target> = JoinSet::new();
    let mut broken: BTreeSet<Target> = BTreeSet::new();
    let longest = u32::try_from(mean_pause.as_millis() * 2).unwrap_or(u32::MAX).max(1);
    loop {
        let next = Instant::now() + choices.milliseconds(0..=longest);
        if next >= ends {
            break;
        }
        sleep_until(next).await;
        while let Some(healed) = healing.try_join_next() {
            forget(healed, &mut broken);
        }
        // Chosen even when it cannot be done, so that what follows depends on the seed and not on how fast this machine is.
        let Some(blow) = blow::choose(&chaos, kinds, &mut choices) else { break };
        let is_free = !broken.iter().any(|target| target.conflicts_with(&blow.target));
        if broken.len() >= MOST_BROKEN || !is_free {
            continue;
        }
        broken.insert(blow.target);
        healing.spawn(strike(Arc::clone(&chaos), blow));
    }
    while let Some(healed) = healing.join_next().await {
        forget(healed, &mut broken);
    }
}

fn forget(healed: Result<Target, tokio::task::JoinError>, broken: &mut BTreeSet<Target>) {
    match healed {
        Ok(target) => {
            broken.remove(&target);
        }
        // A blow that panicked is a bug of the drill; it goes on without that target.
        Err(failure) => eprintln!("a blow failed: {failure}"),
    }
}

/// Breaks one thing and brings it back.
async fn strike(chaos: Arc<Chaos>, blow: Blow) -> Target {
    let Blow { target, how, lasts, .. } = blow;
    let outcome = match target {
        Target::Process(process) => services::strike(&chaos, process, how, lasts).await,
        Target::Replicas(part) => services::strike_all(&chaos, part, how, lasts).await,
        Target::Crossing(index) => services::cut(&chaos, index, how, lasts).await,
        Target::AllCrossings(to) => services::cut_all(&chaos, to, how, lasts).await,
        Target::Sandbox(user) => sandboxes::strike(&chaos, user, blow).await,
    };
    if let Err(failure) = outcome {
        chaos.record.note(blow.kind(), &format!("{} of {target}: {failure:#}", how.as_words()));
    }
    sleep(Duration::from_millis(100)).await;
    target
}
