//! How the platform's things are called in a cluster, and back. Pure.

use platform_core::id::{EnvironmentId, SandboxId, SessionId, TeamId};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Whom pods run as. No role is bound to it.
pub const SERVICE_ACCOUNT: &str = "sandbox";
/// Covers every pod of a team's namespace, whatever becomes of templates.
pub const NETWORK_POLICY: &str = "lap-sandboxes";
/// The volume of a `Sandbox` is called by this word and its name.
pub const WORKSPACE: &str = "workspace";
/// For whom a pod's token is meant.
pub const AUDIENCE: &str = "lap-link";

pub const SESSION_LABEL: &str = "lap.dev/session";
pub const ENVIRONMENT_LABEL: &str = "lap.dev/environment";
pub const TEAM_LABEL: &str = "lap.dev/team";
pub const ROLE_LABEL: &str = "lap.dev/role";
pub const ROLE: &str = "sandbox";
/// On a `Sandbox`: which of our sandboxes, a run of it, it is at the moment.
pub const RUN_LABEL: &str = "lap.dev/run";
/// On a `Sandbox`: how that run began, so that its end is noticed whoever watches.
pub const RUN_ANNOTATION: &str = "lap.dev/run-began";
/// On a claim: what it was bound to first, and has to stay bound to.
pub const SANDBOX_PIN: &str = "lap.dev/sandbox-uid";
pub const VOLUME_PIN: &str = "lap.dev/volume-uid";

pub fn namespace(prefix: &str, team: TeamId) -> String {
    format!("{prefix}{}", team.uuid().simple())
}

/// Whose namespace it is; `None` for one that is not of this installation.
pub fn team_of(prefix: &str, namespace: &str) -> Option<TeamId> {
    let uuid = namespace.strip_prefix(prefix)?;
    Uuid::try_parse(uuid).ok().map(TeamId::from_uuid)
}

pub fn claim(session: SessionId) -> String {
    format!("s-{}", session.uuid().simple())
}

/// Whose claim it is.
pub fn session_of(claim: &str) -> Option<SessionId> {
    Uuid::try_parse(claim.strip_prefix("s-")?).ok().map(SessionId::from_uuid)
}

/// Of a template and its pool: the environment, and all that its pods are made of. What differs has another name, so that nothing that
/// runs is changed.
pub fn template(environment: EnvironmentId, content: &Value) -> String {
    let whole = format!("{environment}{content}");
    let digest = Sha256::digest(whole.as_bytes());
    let version = digest.iter().take(6).fold(0, |number, byte| (number << 8) | u64::from(*byte));
    let random: String = environment.uuid().simple().to_string().chars().skip(20).collect();
    format!("e-{random}-{version:012x}")
}

pub fn volume(sandbox: &str) -> String {
    format!("{WORKSPACE}-{sandbox}")
}

pub fn run(sandbox: SandboxId) -> String {
    sandbox.uuid().to_string()
}

pub fn run_of(label: &str) -> Option<SandboxId> {
    Uuid::try_parse(label).ok().map(SandboxId::from_uuid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_1234_5678_9abc);

    #[test]
    fn names_lead_back_to_what_they_name() {
        let (team, session) = (TeamId::from_uuid(ID), SessionId::from_uuid(ID));
        let of_team = namespace("lap-team-", team);
        assert_eq!(of_team, "lap-team-01900000000070008000123456789abc");
        assert_eq!(team_of("lap-team-", &of_team), Some(team));
        assert_eq!(team_of("other-", &of_team), None);
        assert_eq!(team_of("lap-team-", "lap-team-of-somebody"), None);
        assert_eq!(session_of(&claim(session)), Some(session));
        assert_eq!(session_of("e-0190"), None);
        let sandbox = SandboxId::from_uuid(ID);
        assert_eq!(run_of(&run(sandbox)), Some(sandbox));
    }

    #[test]
    fn every_version_of_an_environment_has_a_name_of_its_own() {
        let environment = EnvironmentId::from_uuid(ID);
        let first = template(environment, &json!({"image": 1}));
        assert_eq!(first, template(environment, &json!({"image": 1})));
        assert_ne!(first, template(environment, &json!({"image": 2})));
        assert!(first.starts_with("e-123456789abc-"), "{first}");
    }

    #[test]
    fn names_leave_room_for_what_the_controller_adds() {
        // DNS-1035, and at most 63 characters with `workspace-` before and five random ones after.
        let names =
            [template(EnvironmentId::from_uuid(ID), &json!({})), claim(SessionId::from_uuid(ID))];
        for name in names {
            assert!(name.len() <= 47, "{name}");
            assert!(name.starts_with(|first: char| first.is_ascii_lowercase()));
        }
    }
}
