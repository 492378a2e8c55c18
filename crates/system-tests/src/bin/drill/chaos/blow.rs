//! What can be broken, and how.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use local_stack::{Part, ProcessName};

use super::Chaos;
use crate::choices::Choices;

/// The families of blows, as `--only` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Service,
    Database,
    Broker,
    Network,
    Sandbox,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Service, Self::Database, Self::Broker, Self::Network, Self::Sandbox];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Database => "database",
            Self::Broker => "broker",
            Self::Network => "network",
            Self::Sandbox => "sandbox",
        }
    }

    /// How often it is chosen beside the others.
    fn weight(self) -> u32 {
        match self {
            Self::Service | Self::Sandbox => 8,
            Self::Network => 5,
            Self::Database | Self::Broker => 2,
        }
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| anyhow::anyhow!("{text:?} is no kind of blow: see --help"))
    }
}

/// Who is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Process(ProcessName),
    /// All replicas of a service.
    Replicas(Part),
    /// One process's way to its database or broker.
    Crossing(usize),
    /// Everybody's way to it.
    AllCrossings(Part),
    /// The sandbox of this user's session.
    Sandbox(u32),
}

impl Target {
    /// Whether bringing one back would get in the way of bringing back the other.
    pub(crate) fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Process(process), Self::Replicas(part))
            | (Self::Replicas(part), Self::Process(process)) => process.part() == *part,
            (_, _) => self == other,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(process) => write!(formatter, "{process}"),
            Self::Replicas(part) => write!(formatter, "every {part}"),
            Self::Crossing(index) => write!(formatter, "way {index}"),
            Self::AllCrossings(to) => write!(formatter, "every way to {to}"),
            Self::Sandbox(user) => write!(formatter, "sandbox of session {user}"),
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// `SIGKILL`, and a new start after a while.
    Kill,
    /// `SIGSTOP`, and `SIGCONT` after a while.
    Freeze,
    /// `SIGTERM`, and a new start.
    Restart,
    /// Connections are reset, and refused for a while.
    Reset,
    /// Nothing passes for a while.
    Silence,
    /// The API is asked to end it.
    Delete,
}

impl How {
    pub(crate) fn as_words(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Freeze => "SIGSTOP",
            Self::Restart => "SIGTERM",
            Self::Reset => "cut",
            Self::Silence => "black hole",
            Self::Delete => "DELETE",
        }
    }
}

/// Which processes of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member {
    Supervise,
    /// The first process of the harness's room; the kernel ends the room with it.
    Init,
    /// The harness and what it started.
    Harness,
    /// A single process of the harness's room, whichever it is.
    Any,
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Supervise => "supervise",
            Self::Init => "init",
            Self::Harness => "harness",
            Self::Any => "any process",
        })
    }
}

/// One thing that is broken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blow {
    pub(crate) target: Target,
    pub(crate) how: How,
    /// For sandboxes.
    pub(crate) member: Member,
    /// Which of several processes is meant, modulo how many there are.
    pub(crate) pick: u32,
    pub(crate) lasts: Duration,
}

impl Blow {
    pub(crate) fn kind(&self) -> Kind {
        match self.target {
            Target::Process(process) if process.part() == Part::Postgres => Kind::Database,
            Target::Process(process) if process.part() == Part::Rabbitmq => Kind::Broker,
            Target::Process(_) | Target::Replicas(_) => Kind::Service,
            Target::Crossing(_) | Target::AllCrossings(_) => Kind::Network,
            Target::Sandbox(_) => Kind::Sandbox,
        }
    }
}

/// Chooses a blow among the kinds that are possible here. `None` when none is.
pub(super) fn choose(chaos: &Chaos, kinds: &[Kind], choices: &mut Choices) -> Option<Blow> {
    let weighted: Vec<Kind> =
        kinds.iter().flat_map(|&kind| vec![kind; kind.weight() as usize]).collect();
    let (target, how) = match choices.one_of(&weighted)? {
        Kind::Service => {
            let services: Vec<ProcessName> = chaos.services();
            let how = *choices.one_of(&[How::Kill, How::Kill, How::Freeze, How::Restart])?;
            let process = *choices.one_of(&services)?;
            let all = choices.happens(12);
            (if all { Target::Replicas(process.part()) } else { Target::Process(process) }, how)
        }
        Kind::Database => {
            let how = choices.one_of(&[How::Kill, How::Freeze, How::Restart])?;
            (Target::Process(Part::Postgres.into()), *how)
        }
        Kind::Broker => {
            let how = choices.one_of(&[How::Kill, How::Freeze])?;
            (Target::Process(Part::Rabbitmq.into()), *how)
        }
        Kind::Network => {
            let how = *choices.one_of(&[How::Reset, How::Silence])?;
            let last = u32::try_from(chaos.ground.crossings.len()).ok()?.checked_sub(1)?;
            let index = usize::try_from(choices.number(0..=last)).ok()?;
            if choices.happens(25) {
                let to = choices.one_of(&[Part::Postgres, Part::Rabbitmq])?;
                (Target::AllCrossings(*to), how)
            } else {
                (Target::Crossing(index), how)
            }
        }
        Kind::Sandbox => {
            let user = choices.number(1..=chaos.sessions);
            let how: &[How] = if chaos.ground.sandboxes.is_some() {
                &[How::Delete, How::Kill, How::Kill, How::Freeze]
            } else {
                &[How::Delete]
            };
            (Target::Sandbox(user), *choices.one_of(how)?)
        }
    };
    let members = [Member::Supervise, Member::Init, Member::Harness, Member::Any];
    let (member, pick) = (*choices.one_of(&members)?, choices.number(0..=99));
    Some(Blow { target, how, member, pick, lasts: lasts(how, choices) })
}

fn lasts(how: How, choices: &mut Choices) -> Duration {
    match how {
        How::Kill | How::Restart => choices.milliseconds(0..=5000),
        How::Freeze | How::Silence => choices.milliseconds(1000..=20_000),
        How::Reset => choices.milliseconds(0..=8000),
        How::Delete => Duration::ZERO,
    }
}
