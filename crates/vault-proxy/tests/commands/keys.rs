//! The key under which secrets lie.

use platform_core::clock::Clock;
use platform_runtime::clock::SystemClock;
use platform_sealing::{Binding, EncryptionKeys, KeyId, Sealed};
use platform_storage::secret::{self, WrongKey, check_keys};
use secrecy::SecretString;
use vault_proxy::secrets::rotate::{Rotated, rotate};

use crate::house::{House, KEY, Plan, keys};

fn newer() -> EncryptionKeys {
    let newer = SecretString::from("another key of enough characters");
    EncryptionKeys::new(&newer, &[SecretString::from(KEY)]).unwrap()
}

#[tokio::test]
async fn everything_is_sealed_anew_under_the_current_key_however_often_it_is_asked_for() {
    let house = House::build(async |_| Plan::default()).await;
    let mut ids = Vec::new();
    for number in 0..250 {
        ids.push(house.sealer().seal(&format!("a-real-value-{number}")).await);
    }
    let stranger = SecretString::from("a key that nobody has any more");
    let stranger = EncryptionKeys::new(&stranger, &[]).unwrap();
    let lost = house.sealer().seal_under(&stranger, "lost").await;

    let rotated = rotate(&house.database, &newer()).await.unwrap();
    assert_eq!(rotated, Rotated { resealed: 250, unreadable: 1 });
    let again = rotate(&house.database, &newer()).await.unwrap();
    assert_eq!(again, Rotated { resealed: 0, unreadable: 1 });

    let mut connection = house.database.connection().await.unwrap();
    let stored = secret::find_many(&mut connection, house.team.id, &ids).await.unwrap();
    assert_eq!(stored.len(), 250);
    for stored in stored {
        assert_eq!(stored.key_id, newer().current().id().as_str());
        let binding = Binding { team: house.team.id, secret: stored.id };
        let sealed = Sealed { key: KeyId::from_stored(stored.key_id), bytes: stored.sealed };
        assert!(newer().open(binding, &sealed).unwrap().starts_with(b"a-real-value-"));
    }
    assert_eq!(secret::find_many(&mut connection, house.team.id, &[lost]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_opens_not_everything_refuses_to_start() {
    let house = House::build(async |_| Plan::default()).await;
    house.sealer().seal("a-real-value").await;
    let now = SystemClock.now();
    check_keys(&house.database, &keys().ids(), now).await.unwrap();
    check_keys(&house.database, &newer().ids(), now).await.unwrap();
    let wrong = SecretString::from("not the key of this database");
    let wrong = EncryptionKeys::new(&wrong, &[]).unwrap();
    let refused = check_keys(&house.database, &wrong.ids(), now).await.unwrap_err();
    assert!(matches!(refused, WrongKey::Missing { count: 1, .. }), "{refused:?}");
}

#[tokio::test]
async fn the_command_seals_anew_and_says_what_it_could_not_read() {
    let house = House::build(async |_| Plan::default()).await;
    let first = house.sealer().seal("a-real-value").await;
    let command = async |previous: &str| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_vault-proxy"))
            .arg("rotate-keys")
            .env_clear()
            .env("DATABASE_URL", house.url())
            .env("ENCRYPTION_KEY", "another key of enough characters")
            .env("ENCRYPTION_KEY_PREVIOUS", previous)
            .output()
            .await
            .unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (is_done, said) = command("").await;
    assert!(!is_done && said.contains("1 secrets lie under keys that are not here"), "{said}");
    let id = newer().current().id().to_string();
    let (is_done, said) = command(KEY).await;
    assert!(is_done && said.contains(&format!("1 secrets sealed anew under key {id}")), "{said}");
    // The old key is needed no more, and what the command did may be done again.
    let (is_done, said) = command("").await;
    assert!(is_done && said.contains("0 secrets sealed anew"), "{said}");
    assert!(!said.contains("a-real-value") && !said.contains(KEY), "{said}");
    let mut connection = house.database.connection().await.unwrap();
    let stored = secret::find_many(&mut connection, house.team.id, &[first]).await.unwrap();
    assert_eq!(stored[0].key_id, id);
}
