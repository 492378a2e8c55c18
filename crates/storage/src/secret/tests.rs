use super::*;
use crate::fixture::{Fixture, at, new_credential, new_id, new_secret, new_team, new_vault};
use crate::{credential, team, vault};

const KEY: &str = "0123456789abcdef";

#[tokio::test]
async fn a_secret_is_found_by_its_team_alone() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let other = new_team("other");
    team::insert(&mut connection, &other).await.unwrap();
    let secret = new_secret(fixture.team.id, new_id::<()>().uuid());
    insert(&mut connection, std::slice::from_ref(&secret)).await.unwrap();
    let ids = [secret.id, new_id()];
    assert!(find_many(&mut connection, secret.team_id, &ids).await.unwrap() == [secret.clone()]);
    assert!(find_many(&mut connection, other.id, &ids).await.unwrap().is_empty());
    delete_many(&mut connection, other.id, &ids).await.unwrap();
    delete_of(&mut connection, other.id, secret.owner_id).await.unwrap();
    assert!(
        reseal(&mut connection, &StoredSecret { team_id: other.id, ..secret.clone() })
            .await
            .is_err()
    );
    assert!(find_many(&mut connection, secret.team_id, &ids).await.unwrap() == [secret.clone()]);
    delete_many(&mut connection, secret.team_id, &ids).await.unwrap();
    assert!(find_many(&mut connection, secret.team_id, &ids).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_team_s_secrets_and_the_platform_s_own_are_recognised_by_their_fingerprints() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let other = new_team("other");
    team::insert(&mut connection, &other).await.unwrap();
    let owner = new_id::<()>().uuid();
    let own = new_secret(fixture.team.id, owner);
    let short = StoredSecret { fingerprint: None, ..new_secret(fixture.team.id, owner) };
    let foreign = new_secret(other.id, owner);
    insert(&mut connection, &[own.clone(), short, foreign]).await.unwrap();
    let print = StoredFingerprint { length: 9, head: -1, digest: vec![9] };
    let known = |name: &str, fingerprint: &StoredFingerprint| KnownSecret {
        name: name.to_owned(),
        key_id: KEY.to_owned(),
        fingerprint: fingerprint.clone(),
    };
    let platform = |name: &str| vec![(new_id(), known(name, &print))];
    keep_platform_fingerprints(&mut connection, &platform("FORMER"), at(1)).await.unwrap();
    let kept = platform("CONTAINER_ENV_X");
    for _ in 0..2 {
        keep_platform_fingerprints(&mut connection, &kept, at(2)).await.unwrap();
    }
    let mut found = fingerprints(&connection, fixture.team.id).await.unwrap();
    found.sort_by(|one, another| one.name.cmp(&another.name));
    let expected =
        [known("CONTAINER_ENV_X", &print), known(&own.name, own.fingerprint.as_ref().unwrap())];
    assert_eq!(found, expected);
    // Whoever cannot find the key of a secret is told of teams' secrets alone: the platform's have no value here.
    assert_eq!(unknown_keys(&mut connection, &[]).await.unwrap(), [(KEY.to_owned(), 3)]);
    assert_eq!(unknown_keys(&mut connection, &[KEY.to_owned()]).await.unwrap(), []);
    keep_platform_fingerprints(&mut connection, &[], at(3)).await.unwrap();
    assert_eq!(fingerprints(&connection, fixture.team.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_sealed_under_other_keys_is_given_out_once_and_sealed_anew() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let owner = new_id::<()>().uuid();
    let secrets: Vec<_> = (0..3).map(|_| new_secret(fixture.team.id, owner)).collect();
    insert(&mut connection, &secrets).await.unwrap();
    let resealed: Result<(), crate::StorageError> = fixture
        .database
        .transaction(async |mine| {
            let first = sealed_under_other_keys(mine, "new", 2).await?;
            assert_eq!(first.len(), 2);
            // Another one gets what the first left.
            let mut theirs = fixture.connection().await;
            assert_eq!(sealed_under_other_keys(&mut theirs, "new", 10).await?.len(), 1);
            for secret in first {
                let anew = StoredSecret {
                    key_id: "new".to_owned(),
                    sealed: vec![7],
                    fingerprint: None,
                    ..secret
                };
                reseal(mine, &anew).await?;
            }
            Ok(())
        })
        .await;
    resealed.unwrap();
    let left = sealed_under_other_keys(&mut connection, "new", 10).await.unwrap();
    assert!(left == [secrets[2].clone()]);
    let ids = [secrets[0].id];
    let anew = find_many(&mut connection, fixture.team.id, &ids).await.unwrap();
    assert_eq!((anew[0].sealed.as_slice(), anew[0].key_id.as_str()), (&[7][..], "new"));
    assert_eq!(anew[0].fingerprint, None);
}

#[tokio::test]
async fn the_keys_of_earlier_starts_are_remembered() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    assert_eq!(note_key(&mut connection, "one", at(1)).await.unwrap(), [""; 0]);
    assert_eq!(note_key(&mut connection, "one", at(2)).await.unwrap(), [""; 0]);
    assert_eq!(note_key(&mut connection, "two", at(3)).await.unwrap(), ["one"]);
}

#[tokio::test]
async fn secrets_whose_owner_is_gone_are_forgotten_after_a_while() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let session = fixture.stored_session().await;
    let vault = new_vault(team, 1);
    let credential = new_credential(&vault, 1);
    vault::insert(&mut connection, &vault).await.unwrap();
    credential::insert(&mut connection, &credential).await.unwrap();
    let owners = [
        fixture.agent.id.uuid(),
        fixture.environment.id.uuid(),
        session.id.uuid(),
        credential.id.uuid(),
    ];
    let owned: Vec<_> = owners.iter().map(|owner| new_secret(team, *owner)).collect();
    let orphan = || new_secret(team, new_id::<()>().uuid());
    let young = StoredSecret { created_at: at(100), ..orphan() };
    insert(&mut connection, &owned).await.unwrap();
    insert(&mut connection, &[orphan(), orphan(), young.clone()]).await.unwrap();
    let print = StoredFingerprint { length: 9, head: 1, digest: vec![9] };
    let own = KnownSecret { name: "X".to_owned(), key_id: KEY.to_owned(), fingerprint: print };
    keep_platform_fingerprints(&mut connection, &[(new_id(), own)], at(0)).await.unwrap();

    let mut forgotten = Vec::new();
    for _ in 0..3 {
        forgotten.push(forget_orphans(&mut connection, at(50), 1).await.unwrap());
    }
    assert_eq!(forgotten, [1, 1, 0]);
    let mut ids: Vec<_> = owned.iter().map(|secret| secret.id).collect();
    ids.push(young.id);
    assert_eq!(find_many(&mut connection, team, &ids).await.unwrap().len(), 5);
    assert_eq!(fingerprints(&connection, team).await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_copy_is_another_owner_s_and_stays_sealed_as_its_original() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team_id = fixture.team.id;
    let original = new_secret(team_id, new_id::<()>().uuid());
    insert(&mut connection, std::slice::from_ref(&original)).await.unwrap();
    let (owner, copy, gone) = (new_id::<()>().uuid(), new_id(), new_id());
    let copies = [(original.id, copy), (gone, new_id())];
    copy_many(&mut connection, team_id, &copies, owner, at(9)).await.unwrap();
    delete_of(&mut connection, team_id, original.owner_id).await.unwrap();
    let second = new_id();
    copy_many(&mut connection, team_id, &[(copy, second)], owner, at(9)).await.unwrap();
    let mut found =
        find_many(&mut connection, team_id, &[original.id, copy, second]).await.unwrap();
    found.sort_by_key(|secret| secret.id != copy);
    let expected = |id| StoredSecret { id, owner_id: owner, created_at: at(9), ..original.clone() };
    assert!(found == [expected(copy), expected(second)]);
    assert!(found.iter().all(|secret| secret.sealed_as == original.id));
    let other = new_team("other");
    team::insert(&mut connection, &other).await.unwrap();
    copy_many(&mut connection, other.id, &[(copy, new_id())], owner, at(9)).await.unwrap();
    assert_eq!(fingerprints(&connection, other.id).await.unwrap(), []);
}
