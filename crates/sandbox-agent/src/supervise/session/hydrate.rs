//! From a sandbox that knows nothing to a session that is ready for its next turn.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use nix::sys::signal::Signal;
use platform_core::journal::Entry;
use platform_core::sandbox::{Epoch, StartupPhase};
use platform_core::session::EventBody;

use super::{Session, Supervision};
use crate::supervise::command::{Hydration, Preparation};
use crate::supervise::failure::Failure;
use crate::supervise::harness::{Harness, HarnessError, Launch, OpenSession};
use crate::supervise::journal::{Journal, Place};
use crate::supervise::policy::Policy;

/// A harness that was started before the session was known, with a session of its own already open.
pub(super) struct Warm {
    pub(super) harness: Harness,
    open: OpenSession,
    launch: Launch,
}

/// A harness with the session open, and what became of the agent's memory.
struct Restored {
    harness: Harness,
    open: OpenSession,
    memory: Memory,
}

enum Memory {
    /// There was nothing to remember.
    Fresh,
    Native,
    /// The harness could not take up its session, for this reason.
    Lost(String),
}

impl Supervision {
    /// Starts the harness as far as that is possible without a session. `None` for one that cannot.
    pub(super) async fn prepare(&self, preparation: Preparation) -> Result<Option<Warm>, Failure> {
        let Preparation { manifest, models } = preparation;
        let Some(model) = models.first().cloned().filter(|_| manifest.can_start_warm) else {
            return Ok(None);
        };
        self.link.startup(StartupPhase::StartingHarness, "").await;
        let (system, policy, environment) = (String::new(), Policy::default(), BTreeMap::new());
        let launch = Launch { manifest, model, models, system, policy, environment };
        let warm = async {
            launch.write_files(&self.room, &self.places).await?;
            let mut harness = Harness::start(&launch, &self.room, &self.places).await?;
            let open = harness.new_session(&launch, &self.room, &self.places).await?;
            Ok(Warm { harness, open, launch })
        };
        warm.await.map(Some).map_err(Failure::Start)
    }

    pub(super) async fn hydrate(
        &mut self,
        hydration: Hydration,
        warm: Option<Warm>,
    ) -> Result<Session, Failure> {
        let Hydration { session_id, epoch, spec, manifest, models } = hydration;
        self.link.stand(|standing| {
            standing.session = Some((session_id, epoch));
            standing.harness_ready = false;
        });
        tracing::info!(session.id = %session_id, session.epoch = %epoch, "hydrated");
        self.link.startup(StartupPhase::PreparingWorkspace, "").await;
        let taken = spec.former_journal;
        let (written, acknowledged) = (self.written.clone(), self.link.acknowledged());
        let (journal, past) = Journal::open(&self.journals, epoch, taken, written, acknowledged)?;
        let listening = self.room.listen_on(&spec.transparent_ports).await;
        listening.map_err(|gone| Failure::Start(gone.into()))?;
        for file in &spec.files {
            let written = self.room.write_file(Path::new(&file.path), &file.content).await;
            written.map_err(|gone| Failure::Start(gone.into()))?;
        }
        let definition = spec.agent.definition;
        let launch = Launch {
            manifest,
            model: definition.model.id,
            models,
            system: definition.system.unwrap_or_default(),
            policy: Policy::new(definition.tools),
            environment: spec.environment,
        };
        self.tools.offer(&launch.policy);
        let former = past.harness_session.as_deref().or(spec.harness_session.as_deref());
        let replay = spec.has_unfinished_turn;
        let restored = self.restore(&launch, former, replay, warm).await.map_err(Failure::Start)?;
        let Restored { harness, open, memory } = restored;

        let mut session = Session {
            id: session_id,
            epoch,
            launch,
            journal,
            harness: Some(harness),
            name: open.id,
            history: Vec::new(),
            last_prompt: open.last_user_message,
            started_before: past.started_before,
            ended: past.ended,
            interrupted: HashSet::new(),
        };
        if former != Some(session.name.as_str()) {
            session.journal.append(&Entry::HarnessSession { id: session.name.clone() }).await?;
        }
        let had_memory = spec.is_replacement && (former.is_some() || !spec.transcript.is_empty());
        if had_memory {
            session.history = memory.history_needed(spec.transcript);
            let is_fork = spec.forked_from.is_some() && epoch == Epoch(1);
            let restored = memory.as_event(&session, is_fork);
            session.event(&*self.ids, None, restored).await?;
        }
        // Whether its turn goes on depends on what the sandbox before could not tell.
        self.link.until_acknowledged(past.kept).await;
        self.link.stand(|standing| standing.harness_ready = true);
        self.link.startup(StartupPhase::Ready, "").await;
        Ok(session)
    }

    /// Whether the session's files took the place of those with which the sandbox was started: a harness that runs has the others open.
    fn has_other_files(&self) -> bool {
        Place::of(&self.journals).ok() != self.first_journals
    }

    /// Opens the session in the warm harness if that one will do, else in a new one.
    async fn restore(
        &self,
        launch: &Launch,
        former: Option<&str>,
        needs_replay: bool,
        warm: Option<Warm>,
    ) -> Result<Restored, HarnessError> {
        let (room, places) = (&self.room, &self.places);
        let starting = || self.link.startup(StartupPhase::StartingHarness, "");
        let has_other_files = self.has_other_files();
        match warm {
            Some(warm) if former.is_none() && !has_other_files && warm.will_do(launch)? => {
                starting().await;
                match adopt(warm, launch, self).await {
                    Ok((harness, open)) => {
                        return Ok(Restored { harness, open, memory: Memory::Fresh });
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "not so warm");
                        room.signal_everything(Signal::SIGKILL).await?;
                    }
                }
            }
            Some(warm) => warm.harness.kill(room).await?,
            // Of one that ended something may have stayed, in folders that are the session's no more.
            None if has_other_files => room.signal_everything(Signal::SIGKILL).await?,
            None => {}
        }
        launch.write_files(room, places).await?;
        starting().await;
        let mut harness = Harness::start(launch, room, places).await?;
        let mut memory = Memory::Fresh;
        let mut loaded = None;
        if let Some(former) = former {
            match harness.take_up_session(former, needs_replay, launch, room, places).await {
                Ok(open) => {
                    memory = Memory::Native;
                    loaded = Some(open);
                }
                Err(error) => memory = Memory::Lost(error.to_string()),
            }
        }
        let open = match loaded {
            Some(open) => open,
            None => harness.new_session(launch, room, places).await?,
        };
        harness.prepare_session(&open, launch).await?;
        Ok(Restored { harness, open, memory })
    }
}

async fn adopt(
    mut warm: Warm,
    launch: &Launch,
    supervision: &Supervision,
) -> Result<(Harness, OpenSession), HarnessError> {
    let (room, places) = (&supervision.room, &supervision.places);
    launch.write_instructions(room, places).await?;
    if launch.policy.custom_tools().next().is_some() {
        // A session learns of the client's tools when it begins.
        warm.open = warm.harness.new_session(launch, room, places).await?;
    }
    warm.harness.prepare_session(&warm.open, launch).await?;
    Ok((warm.harness, warm.open))
}

impl Warm {
    /// Whether the session can be served without another start: what only a start can set must be as it would have been.
    fn will_do(&self, launch: &Launch) -> Result<bool, HarnessError> {
        Ok(self.launch.manifest == launch.manifest
            && launch.environment.is_empty()
            && self.open.offers_model(&launch.model_name()?))
    }
}

impl Memory {
    fn history_needed(
        &self,
        transcript: Vec<platform_core::sandbox::TranscriptItem>,
    ) -> Vec<platform_core::sandbox::TranscriptItem> {
        match self {
            Self::Native => Vec::new(),
            Self::Fresh | Self::Lost(_) => transcript,
        }
    }

    /// So that amnesia is never silent.
    fn as_event(&self, session: &Session, is_fork: bool) -> EventBody {
        let (mode, dropped) = match self {
            Self::Native => ("native", ""),
            Self::Fresh | Self::Lost(_) if session.history.is_empty() => {
                ("none", "everything that was said and done before")
            }
            Self::Fresh | Self::Lost(_) => {
                ("transcript", "the agent's own memory: what tools gave back, and its thoughts")
            }
        };
        let reason = match self {
            Self::Lost(reason) if is_fork => format!("the session was forked, and {reason}"),
            Self::Native | Self::Fresh if is_fork => "the session was forked".to_owned(),
            Self::Native => "the sandbox was replaced".to_owned(),
            Self::Fresh => "the agent had no session of its own yet".to_owned(),
            Self::Lost(reason) => reason.clone(),
        };
        let (mode, dropped) = (mode.to_owned(), dropped.to_owned());
        EventBody::SessionContextRestored { mode, reason, dropped }
    }
}
