//! From where a session's variables and credentials come, read from the database at one moment.

use platform_core::agent::McpServer;
use platform_core::credential::{Credential, CredentialAuth};
use platform_core::environment::{EnvironmentConfig, Networking};
use platform_core::id::{SecretId, SessionId, TeamId, VaultId};
use platform_core::network::{HostPattern, NetworkPolicy};
use platform_core::session::ForkedFrom;
use platform_core::variable::{Variable, Variables};
use platform_storage::sandbox::SandboxIdentity;
use platform_storage::secret::StoredSecret;
use platform_storage::{Connection, StorageError, credential, environment, secret, session, team};

/// Further back nobody looks.
const MOST_ANCESTORS: usize = 8;

/// What a session's rules are made from. Values are sealed here.
#[derive(PartialEq)]
pub struct Sources {
    pub identity: SandboxIdentity,
    pub networking: Networking,
    pub inspect_tls: bool,
    pub mcp_servers: Vec<McpServer>,
    pub internal_hosts: Vec<HostPattern>,
    /// Those of the environment, the agent and the session: later ones win.
    pub layers: [Variables; 3],
    pub credentials: Vec<Credential>,
    /// From which the session was forked, and those from which they were.
    pub ancestors: Vec<SessionId>,
    pub sealed: Vec<StoredSecret>,
}

impl Sources {
    /// `None` when the session or what it needs is gone.
    pub async fn read(
        connection: &mut Connection,
        identity: SandboxIdentity,
    ) -> Result<Option<Self>, StorageError> {
        let SandboxIdentity { team_id, session_id, .. } = identity;
        let Some(session) = session::find(connection, team_id, session_id).await? else {
            return Ok(None);
        };
        let environment = environment::find(connection, team_id, session.environment_id).await?;
        let team = team::find(connection, team_id).await?;
        let (Some(environment), Some(team)) = (environment, team) else { return Ok(None) };
        let EnvironmentConfig::Cloud { networking, environment_variables, sandbox, .. } =
            environment.config
        else {
            return Ok(None);
        };
        let vaults: Vec<VaultId> =
            session.vault_ids.iter().filter_map(|vault| vault.parse().ok()).collect();
        let credentials = credential::of_vaults(connection, team_id, &vaults).await?;
        let ancestors = ancestors(connection, team_id, session.forked_from).await?;
        let definition = session.agent.definition;
        let layers = [
            environment_variables,
            definition.environment_variables,
            session.environment_variables,
        ];
        let needed = needed(&layers, &credentials);
        let sealed = secret::find_many(connection, team_id, &needed).await?;
        Ok(Some(Self {
            identity,
            networking,
            inspect_tls: sandbox.inspect_tls,
            mcp_servers: definition.mcp_servers,
            internal_hosts: team.internal_hosts,
            layers,
            credentials,
            ancestors,
            sealed,
        }))
    }

    pub fn policy(&self, package_hosts: &[HostPattern]) -> NetworkPolicy {
        NetworkPolicy::new(
            self.networking.clone(),
            &self.mcp_servers,
            package_hosts,
            self.internal_hosts.clone(),
        )
    }
}

/// As far as they are still there.
async fn ancestors(
    connection: &mut Connection,
    team: TeamId,
    origin: Option<ForkedFrom>,
) -> Result<Vec<SessionId>, StorageError> {
    let mut ancestors = Vec::new();
    let mut next = origin;
    while let Some(origin) = next.filter(|_| ancestors.len() < MOST_ANCESTORS) {
        ancestors.push(origin.session_id);
        let found = session::find(connection, team, origin.session_id).await?;
        next = found.and_then(|session| session.forked_from);
    }
    Ok(ancestors)
}

fn needed(layers: &[Variables], credentials: &[Credential]) -> Vec<SecretId> {
    let of_variables = layers.iter().flat_map(Variables::values).filter_map(|it| match it {
        Variable::Plain { .. } => None,
        Variable::Secret { secret_id, .. } => Some(*secret_id),
    });
    // What only renews a token is opened when that is done, and not before.
    let of_credentials = credentials.iter().map(|credential| match &credential.auth {
        CredentialAuth::EnvironmentVariable { secret_value, .. } => *secret_value,
        CredentialAuth::StaticBearer { token, .. } => *token,
        CredentialAuth::McpOauth { access_token, .. } => *access_token,
    });
    let mut needed: Vec<SecretId> = of_variables.chain(of_credentials).collect();
    needed.sort_unstable();
    needed.dedup();
    needed
}
