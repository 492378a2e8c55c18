//! The key under which secrets lie.

use platform_core::clock::Clock;
use platform_runtime::clock::SystemClock;
use platform_sealing::{Binding, EncryptionKeys, KeyId, Sealed};
use platform_storage::secret;
use secrecy::SecretString;
use vault_proxy::secrets::rotate::{Rotated, WrongKey, check_keys, rotate};

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
    check_keys(&house.database, &keys(), &SystemClock).await.unwrap();
    check_keys(&house.database, &newer(), &SystemClock).await.unwrap();
    let wrong = SecretString::from("not the key of this database");
    let wrong = EncryptionKeys::new(&wrong, &[]).unwrap();
    let refused = check_keys(&house.database, &wrong, &SystemClock).await.unwrap_err();
    assert!(matches!(refused, WrongKey::Missing { count: 1, .. }), "{refused:?}");
    assert!(SystemClock.now().timestamp() > 0);
}
