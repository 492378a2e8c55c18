//! Whom a link comes from: the first frame is believed only with the sandbox's own token.

use std::sync::Arc;

use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_messaging::proto::link::Hello;

use super::pod_identity::Caller;
use crate::notes::{self, NotesError};
use crate::service::Service;
use crate::token;

/// What becomes of a connection after its first frame.
#[derive(Debug)]
pub enum Admission {
    Accepted(Box<Sandbox>),
    /// The sandbox is who it says, but its time is over.
    Superseded,
    /// Not a sandbox of ours, or not the one that it says it is.
    Refused(&'static str),
}

/// Checks who dialled, and notes that this replica holds the link.
pub async fn admit(service: &Arc<Service>, hello: &Hello) -> Result<Admission, NotesError> {
    let Ok(id) = hello.sandbox_id.parse::<SandboxId>() else {
        return Ok(Admission::Refused("it names no sandbox"));
    };
    admit_if(service, id, |sandbox| judge(sandbox, hello)).await
}

/// As [`admit`], for a pod that has proved whose it is.
pub async fn admit_pod(
    service: &Arc<Service>,
    caller: &Caller,
    hello: &Hello,
) -> Result<Admission, NotesError> {
    admit_if(service, caller.sandbox, |sandbox| judge_pod(sandbox, caller, hello)).await
}

async fn admit_if(
    service: &Arc<Service>,
    id: SandboxId,
    judge: impl FnOnce(&Sandbox) -> Option<Admission>,
) -> Result<Admission, NotesError> {
    let mut decision = Some(Admission::Refused("there is no such sandbox"));
    let admitted = notes::change(service.database(), id, |sandbox, notes| {
        decision = judge(sandbox);
        notes.replica = Some(service.replica().name().to_owned());
        decision.is_none()
    });
    let admitted = admitted.await?;
    Ok(match (decision, admitted) {
        (None, Some(sandbox)) => Admission::Accepted(Box::new(sandbox)),
        (Some(decision), _) => decision,
        (None, None) => Admission::Refused("there is no such sandbox"),
    })
}

/// `None`: welcome.
fn judge(sandbox: &Sandbox, hello: &Hello) -> Option<Admission> {
    // A sandbox that is gone has no hash any more: whoever shows up for it can only be told to stop.
    if sandbox.state == SandboxState::Gone {
        return Some(Admission::Superseded);
    }
    let is_itself =
        sandbox.token_hash.as_ref().is_some_and(|stored| token::matches(&hello.token, stored));
    if !is_itself {
        return Some(Admission::Refused("its token is not that of the sandbox"));
    }
    judge_time(sandbox, hello)
}

/// `None`: welcome. The cluster has told of the pod; what it told has to be what the database says.
fn judge_pod(sandbox: &Sandbox, caller: &Caller, hello: &Hello) -> Option<Admission> {
    let is_itself =
        sandbox.session_id == Some(caller.session) && sandbox.team_id == Some(caller.team);
    if !is_itself {
        return Some(Admission::Refused("its claim is not that of the sandbox's session"));
    }
    // It has taken its session up before: whoever knows nothing of it began anew, and is ended by those who watch its pod.
    if sandbox.state == SandboxState::Ready && hello.epoch == 0 {
        return Some(Admission::Refused("it has begun anew"));
    }
    judge_time(sandbox, hello)
}

fn judge_time(sandbox: &Sandbox, hello: &Hello) -> Option<Admission> {
    match sandbox.state {
        SandboxState::Starting
        | SandboxState::Warm
        | SandboxState::Claimed
        | SandboxState::Ready => {}
        SandboxState::Queued | SandboxState::Stopping | SandboxState::Gone => {
            return Some(Admission::Superseded);
        }
    }
    let is_of_this_epoch =
        hello.epoch == 0 || sandbox.epoch.is_some_and(|epoch| epoch.0 == hello.epoch);
    (!is_of_this_epoch).then_some(Admission::Superseded)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use platform_core::environment::SandboxSpec;
    use platform_core::harness::HarnessName;
    use platform_core::id::{EnvironmentId, SessionId, TeamId};
    use platform_core::sandbox::{Backend, Epoch};
    use secrecy::ExposeSecret;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn sandbox(state: SandboxState) -> (Sandbox, Hello) {
        let token = token::mint();
        let id = SandboxId::from_uuid(Uuid::from_u128(1));
        let sandbox = Sandbox {
            id,
            team_id: None,
            session_id: None,
            agent_id: None,
            epoch: Some(Epoch(3)),
            environment_id: EnvironmentId::from_uuid(Uuid::from_u128(2)),
            harness: HarnessName::parse("opencode").unwrap(),
            backend: Backend::Local,
            host: "here".to_owned(),
            state,
            spec: SandboxSpec::default(),
            detail: json!({}),
            token_hash: Some(token::hash(&token)),
            exit_reason: None,
            created_at: DateTime::UNIX_EPOCH,
            ready_at: None,
            gone_at: None,
        };
        let hello = Hello {
            sandbox_id: id.to_string(),
            token: token.expose_secret().to_owned(),
            epoch: 3,
            ..Hello::default()
        };
        (sandbox, hello)
    }

    #[test]
    fn a_sandbox_with_its_token_is_welcome() {
        let (ready, hello) = sandbox(SandboxState::Ready);
        assert!(judge(&ready, &hello).is_none());
        let (starting, hello) = sandbox(SandboxState::Starting);
        assert!(judge(&starting, &Hello { epoch: 0, ..hello }).is_none());
    }

    #[test]
    fn a_pod_is_only_its_own_session_s_and_only_for_one_run() {
        let (mut row, hello) = sandbox(SandboxState::Ready);
        let id = Uuid::from_u128(5);
        let caller = Caller {
            sandbox: row.id,
            team: TeamId::from_uuid(id),
            session: SessionId::from_uuid(id),
        };
        assert!(matches!(judge_pod(&row, &caller, &hello), Some(Admission::Refused(_))));
        row.session_id = Some(caller.session);
        row.team_id = Some(caller.team);
        assert!(judge_pod(&row, &caller, &hello).is_none());
        let anew = Hello { epoch: 0, ..hello.clone() };
        assert!(matches!(judge_pod(&row, &caller, &anew), Some(Admission::Refused(_))));
        row.state = SandboxState::Starting;
        assert!(judge_pod(&row, &caller, &anew).is_none());
        row.state = SandboxState::Stopping;
        assert!(matches!(judge_pod(&row, &caller, &hello), Some(Admission::Superseded)));
        let stranger = Caller { team: TeamId::from_uuid(Uuid::from_u128(6)), ..caller };
        assert!(matches!(judge_pod(&row, &stranger, &hello), Some(Admission::Refused(_))));
    }

    #[test]
    fn another_token_is_refused() {
        let (ready, hello) = sandbox(SandboxState::Ready);
        let (_, other) = sandbox(SandboxState::Ready);
        let forged = Hello { token: other.token, ..hello };
        assert!(matches!(judge(&ready, &forged), Some(Admission::Refused(_))));
    }

    #[test]
    fn a_sandbox_whose_time_is_over_is_told_so() {
        for state in [SandboxState::Stopping, SandboxState::Gone] {
            let (over, hello) = sandbox(state);
            assert!(matches!(judge(&over, &hello), Some(Admission::Superseded)));
        }
        let (ready, hello) = sandbox(SandboxState::Ready);
        let stale = Hello { epoch: 2, ..hello };
        assert!(matches!(judge(&ready, &stale), Some(Admission::Superseded)));
    }
}
