use std::collections::BTreeMap;

use platform_core::credential::Vault;

use super::*;
use crate::fixture::{
    Fixture, at, first_page, new_credential, new_id, new_secret, new_team, new_vault,
};
use crate::{credential, secret, team};

#[tokio::test]
async fn a_vault_is_found_by_its_team_alone() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let other = new_team("other");
    team::insert(&mut connection, &other).await.unwrap();
    let vault = new_vault(fixture.team.id, 1);
    insert(&mut connection, &vault).await.unwrap();
    assert_eq!(find(&mut connection, vault.team_id, vault.id).await.unwrap(), Some(vault.clone()));
    assert_eq!(lock(&mut connection, vault.team_id, vault.id).await.unwrap(), Some(vault.clone()));
    assert_eq!(find(&mut connection, other.id, vault.id).await.unwrap(), None);
    assert_eq!(lock(&mut connection, other.id, vault.id).await.unwrap(), None);
    let ids = [vault.id, new_id()];
    assert_eq!(find_many(&mut connection, other.id, &ids).await.unwrap(), []);
    assert_eq!(
        find_many(&mut connection, vault.team_id, &ids).await.unwrap(),
        std::slice::from_ref(&vault)
    );
    let stolen = Vault { team_id: other.id, ..vault.clone() };
    assert!(update(&mut connection, &stolen).await.is_err());
    assert!(archive(&mut connection, other.id, vault.id, at(9)).await.is_err());
    assert!(!delete(&mut connection, other.id, vault.id).await.unwrap());
    assert_eq!(find(&mut connection, vault.team_id, vault.id).await.unwrap(), Some(vault));
}

#[tokio::test]
async fn vaults_are_listed_page_by_page_and_archived_ones_only_if_wanted() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let vaults: Vec<Vault> = (1..=3).map(|second| new_vault(team, second)).collect();
    for vault in &vaults {
        insert(&mut connection, vault).await.unwrap();
    }
    archive(&mut connection, team, vaults[1].id, at(9)).await.unwrap();
    let page = list(&mut connection, team, false, first_page(1)).await.unwrap();
    assert_eq!(page.items, [vaults[2].clone()]);
    assert!(page.next.is_some());
    let ids = async |connection: &mut _, archived| {
        let page = list(connection, team, archived, first_page(10)).await.unwrap();
        page.items.into_iter().map(|vault| vault.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&mut connection, false).await, [vaults[2].id, vaults[0].id]);
    assert_eq!(ids(&mut connection, true).await, [vaults[2].id, vaults[1].id, vaults[0].id]);
}

#[tokio::test]
async fn a_vault_is_changed_and_archived_once() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let vault = new_vault(team, 1);
    insert(&mut connection, &vault).await.unwrap();
    let metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let renamed = Vault { display_name: "renamed".to_owned(), metadata, ..vault };
    update(&mut connection, &renamed).await.unwrap();
    let expected = Vault { updated_at: at(9), archived_at: Some(at(9)), ..renamed };
    for time in [at(9), at(10)] {
        let archived = archive(&mut connection, team, expected.id, time).await.unwrap();
        assert_eq!(archived, expected);
    }
}

#[tokio::test]
async fn the_values_of_a_vault_go_when_it_is_archived_or_deleted_and_no_others() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let mut stored = Vec::new();
    for second in 1..=3 {
        let vault = new_vault(team, second);
        let credential = new_credential(&vault, second);
        let value = new_secret(team, credential.id.uuid());
        insert(&mut connection, &vault).await.unwrap();
        credential::insert(&mut connection, &credential).await.unwrap();
        secret::insert(&mut connection, std::slice::from_ref(&value)).await.unwrap();
        stored.push((vault, credential, value));
    }
    archive(&mut connection, team, stored[0].0.id, at(9)).await.unwrap();
    assert!(delete(&mut connection, team, stored[1].0.id).await.unwrap());
    assert!(!delete(&mut connection, team, stored[1].0.id).await.unwrap());

    let archived = &stored[0].1;
    let found = credential::find(&mut connection, team, archived.vault_id, archived.id).await;
    assert_eq!(found.unwrap().unwrap().archived_at, Some(at(9)));
    let deleted = &stored[1].1;
    let found = credential::find(&mut connection, team, deleted.vault_id, deleted.id).await;
    assert_eq!(found.unwrap(), None);
    let ids: Vec<_> = stored.iter().map(|(_, _, value)| value.id).collect();
    let left = secret::find_many(&mut connection, team, &ids).await.unwrap();
    assert!(left == [stored[2].2.clone()]);
}
