use platform_core::credential::{
    Credential, CredentialAuth, OauthRefresh, TokenEndpointAuth, Vault,
};

use super::*;
use crate::fixture::{
    Fixture, at, first_page, new_credential, new_id, new_secret, new_team, new_vault,
};
use crate::{PooledConnection, secret, team, vault};

/// A vault with credentials that were created one second after another.
async fn stored(
    connection: &mut PooledConnection,
    fixture: &Fixture,
    count: i64,
) -> (Vault, Vec<Credential>) {
    let vault = new_vault(fixture.team.id, 1);
    vault::insert(connection, &vault).await.unwrap();
    let credentials: Vec<_> = (1..=count).map(|second| new_credential(&vault, second)).collect();
    for credential in &credentials {
        insert(connection, credential).await.unwrap();
    }
    (vault, credentials)
}

#[tokio::test]
async fn a_credential_of_every_kind_comes_back_as_it_was() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let (vault, credentials) = stored(&mut connection, &fixture, 1).await;
    let before = credentials[0].clone();
    let refresh = OauthRefresh {
        client_id: "client".to_owned(),
        refresh_token: new_id(),
        token_endpoint: "https://id.example.com/token".to_owned(),
        token_endpoint_auth: TokenEndpointAuth::ClientSecretPost { client_secret: new_id() },
        resource: None,
        scope: Some("read".to_owned()),
    };
    let auth = CredentialAuth::McpOauth {
        access_token: new_id(),
        mcp_server_url: "https://mcp.example.com".to_owned(),
        expires_at: Some(at(100)),
        refresh: Some(refresh),
    };
    for credential in [before.clone(), Credential { auth, display_name: None, ..before }] {
        update(&mut connection, &credential).await.unwrap();
        let found = find(&mut connection, vault.team_id, vault.id, credential.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&credential));
        let locked = lock(&mut connection, vault.team_id, credential.id).await.unwrap();
        assert_eq!(locked, Some(credential));
    }
}

#[tokio::test]
async fn a_credential_is_found_by_its_team_and_vault_alone() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let other = new_team("other");
    team::insert(&mut connection, &other).await.unwrap();
    let (vault, credentials) = stored(&mut connection, &fixture, 1).await;
    let (team, id) = (vault.team_id, credentials[0].id);
    for (team, vault) in [(other.id, vault.id), (team, new_id())] {
        assert_eq!(find(&mut connection, team, vault, id).await.unwrap(), None);
        assert!(archive(&mut connection, team, vault, id, at(9)).await.is_err());
        assert!(!delete(&mut connection, team, vault, id).await.unwrap());
        let page = list(&mut connection, team, vault, true, first_page(9)).await.unwrap();
        assert_eq!(page.items, []);
    }
    assert_eq!(lock(&mut connection, other.id, id).await.unwrap(), None);
    assert_eq!(of_vaults(&mut connection, other.id, &[vault.id]).await.unwrap(), []);
    let stolen = Credential { team_id: other.id, ..credentials[0].clone() };
    assert!(update(&mut connection, &stolen).await.is_err());
    // Not even the database takes it into another team's vault.
    let foreign = Credential { id: new_id(), ..stolen };
    assert!(insert(&mut connection, &foreign).await.is_err());
    assert_eq!(
        find(&mut connection, team, vault.id, id).await.unwrap(),
        Some(credentials[0].clone())
    );
}

#[tokio::test]
async fn only_what_is_not_archived_can_be_used() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let (vault, credentials) = stored(&mut connection, &fixture, 3).await;
    let team = vault.team_id;
    archive(&mut connection, team, vault.id, credentials[1].id, at(9)).await.unwrap();
    let usable = of_vaults(&mut connection, team, &[vault.id, new_id()]).await.unwrap();
    assert_eq!(usable, [credentials[0].clone(), credentials[2].clone()]);
    let page = list(&mut connection, team, vault.id, false, first_page(1)).await.unwrap();
    assert_eq!(page.items, [credentials[2].clone()]);
    assert!(page.next.is_some());
    let all = list(&mut connection, team, vault.id, true, first_page(9)).await.unwrap();
    assert_eq!(all.items.len(), 3);
    vault::archive(&mut connection, team, vault.id, at(10)).await.unwrap();
    assert_eq!(of_vaults(&mut connection, team, &[vault.id]).await.unwrap(), []);
}

#[tokio::test]
async fn the_values_of_a_credential_go_when_it_is_archived_or_deleted_and_no_others() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let (vault, credentials) = stored(&mut connection, &fixture, 3).await;
    let team = vault.team_id;
    let values: Vec<_> = credentials.iter().map(|c| new_secret(team, c.id.uuid())).collect();
    secret::insert(&mut connection, &values).await.unwrap();
    let archived = &credentials[0];
    let expected = Credential { updated_at: at(9), archived_at: Some(at(9)), ..archived.clone() };
    for time in [at(9), at(10)] {
        let done = archive(&mut connection, team, vault.id, archived.id, time).await.unwrap();
        assert_eq!(done, expected);
    }
    assert!(delete(&mut connection, team, vault.id, credentials[1].id).await.unwrap());
    assert!(!delete(&mut connection, team, vault.id, credentials[1].id).await.unwrap());
    let ids: Vec<_> = values.iter().map(|value| value.id).collect();
    let left = secret::find_many(&mut connection, team, &ids).await.unwrap();
    assert!(left == [values[2].clone()]);
}
