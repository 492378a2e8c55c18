//! Blows against services, database, broker and the ways to them. Only in a stack of the drill's own.

use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use local_stack::{Part, ProcessName, Signal, Stack};
use tokio::time::sleep;

use super::blow::{How, Kind};
use super::{Chaos, processes};
use crate::crossing::{Crossing, Way};

impl Chaos {
    pub(super) fn services(&self) -> Vec<ProcessName> {
        let stack = self.ground.stack.as_ref();
        let names = stack.into_iter().flat_map(Stack::processes).map(|(name, _, _)| name);
        names.filter(|name| name.part().is_service()).collect()
    }

    fn stack(&self) -> anyhow::Result<&Stack> {
        self.ground.stack.as_ref().context("the installation is not the drill's own")
    }
}

pub(super) async fn strike(
    chaos: &Chaos,
    process: ProcessName,
    how: How,
    lasts: Duration,
) -> anyhow::Result<()> {
    let stack = chaos.stack()?;
    let kind = match process.part() {
        Part::Postgres => Kind::Database,
        Part::Rabbitmq => Kind::Broker,
        Part::Epmd
        | Part::ScriptedModel
        | Part::Litellm
        | Part::ApiGateway
        | Part::SessionService
        | Part::SandboxService
        | Part::VaultProxy
        | Part::Worker => Kind::Service,
    };
    let seconds = lasts.as_secs_f64();
    let lasting = if how == How::Restart { String::new() } else { format!(", for {seconds:.1} s") };
    chaos.record.note(kind, &format!("{} {process}{lasting}", how.as_words()));
    chaos.record.count(how.as_words(), &process.to_string());
    if process.part() == Part::VaultProxy && how == How::Kill {
        chaos.record.requests_were_broken();
    }
    match how {
        How::Freeze => {
            let pid = stack.pid(process).context("it does not run")?;
            // PostgreSQL is many processes; RabbitMQ and the services are one each.
            let frozen = if process.part() == Part::Postgres {
                processes::tree(pid)
            } else {
                processes::alone(pid)
            };
            processes::signal(&frozen, Signal::SIGSTOP);
            sleep(lasts).await;
            processes::signal(&frozen, Signal::SIGCONT);
        }
        How::Restart => {
            let polite =
                if process.part() == Part::Postgres { Signal::SIGINT } else { Signal::SIGTERM };
            stack.kill(process, polite)?;
            stack.ended(process).await;
            stack.launch(process).await?;
        }
        How::Kill | How::Reset | How::Silence | How::Delete => {
            stack.kill(process, Signal::SIGKILL)?;
            stack.ended(process).await;
            sleep(lasts).await;
            stack.launch(process).await?;
        }
    }
    Ok(())
}

/// All replicas at once: nobody is left who could take over.
pub(super) async fn strike_all(
    chaos: &Chaos,
    part: Part,
    how: How,
    lasts: Duration,
) -> anyhow::Result<()> {
    let replicas = chaos.services().into_iter().filter(|name| name.part() == part);
    try_join_all(replicas.map(|replica| strike(chaos, replica, how, lasts))).await.map(drop)
}

pub(super) async fn cut(
    chaos: &Chaos,
    index: usize,
    how: How,
    lasts: Duration,
) -> anyhow::Result<()> {
    let crossing = chaos.ground.crossings.get(index).context("no such way")?;
    let whom = format!("{} – {}", crossing.process, crossing.to);
    cut_these(chaos, std::slice::from_ref(&crossing), &whom, how, lasts).await;
    Ok(())
}

pub(super) async fn cut_all(
    chaos: &Chaos,
    to: Part,
    how: How,
    lasts: Duration,
) -> anyhow::Result<()> {
    let crossings: Vec<&Crossing> =
        chaos.ground.crossings.iter().filter(|crossing| crossing.to == to).collect();
    cut_these(chaos, &crossings, &format!("everybody – {to}"), how, lasts).await;
    Ok(())
}

async fn cut_these(chaos: &Chaos, crossings: &[&Crossing], whom: &str, how: How, lasts: Duration) {
    let seconds = lasts.as_secs_f64();
    let words = how.as_words();
    chaos.record.note(Kind::Network, &format!("{words} {whom}, for {seconds:.1} s"));
    chaos.record.count(how.as_words(), whom);
    let way = if how == How::Silence { Way::Silent } else { Way::Reset };
    for crossing in crossings {
        crossing.make(way);
    }
    sleep(lasts).await;
    for crossing in crossings {
        crossing.make(Way::Open);
    }
}
