//! Keys belong to an account, once each.

use protocol::Time;
use uuid::Uuid;

use super::Place;
use crate::store::{StoreError, StoredKey};

fn key(number: u128, account: &str, pem: &str) -> StoredKey {
    StoredKey {
        id: Uuid::from_u128(number),
        account: account.to_owned(),
        pem: pem.to_owned(),
        nickname: format!("key {number}"),
        email: format!("{number}@example.org"),
        created: Time::from_micros(u64::try_from(number).unwrap()),
    }
}

#[tokio::test]
async fn a_key_put_again_keeps_its_id_and_takes_its_new_name() {
    let place = Place::new();
    let store = place.open().unwrap();
    let keys = [key(1, "anna", "A"), key(2, "bert", "A"), key(3, "anna", "B")];
    for key in keys.iter().rev() {
        assert_eq!(&store.key_put(key.clone()).await.unwrap(), key);
    }
    let again = key(8, "anna", "A");
    let kept = store.key_put(again.clone()).await.unwrap();
    let nickname = again.nickname.clone();
    let email = again.email.clone();
    assert_eq!(kept, StoredKey { nickname, email, ..keys[0].clone() });
    store.close();
    let store = place.open().unwrap();
    let expected = [kept, keys[1].clone(), keys[2].clone()];
    assert_eq!(store.key_list().await.unwrap(), expected);
    let same_id = store.key_put(key(2, "carl", "C")).await;
    assert!(matches!(same_id, Err(StoreError::Sql { .. })), "{same_id:?}");
    assert!(store.key_delete("anna", "A").await.unwrap());
    assert!(!store.key_delete("anna", "A").await.unwrap());
    assert!(!store.key_delete("carl", "A").await.unwrap());
    assert_eq!(store.key_list().await.unwrap(), expected[1..]);
    store.close();
}
