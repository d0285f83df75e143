//! Tokens are kept as they were given, until they are deleted.

use protocol::{Json, Time};
use uuid::Uuid;

use super::Place;
use crate::store::{StoreError, Token};

fn token(number: u8, role: &str) -> Token {
    Token {
        id: Uuid::from_u128(number.into()),
        name: format!("token {number}"),
        role: role.to_owned(),
        hash: [number; 32],
        created: Time::from_micros(u64::from(number) * 1000),
        expires: number.is_multiple_of(2).then(|| Time::from_micros(5_000_000)),
        scope: if number > 2 {
            Json::from(serde_json::json!({"calls": [number]}))
        } else {
            Json::default()
        },
    }
}

#[tokio::test]
async fn a_token_is_found_by_its_hash_until_it_is_deleted() {
    let place = Place::new();
    let store = place.open().unwrap();
    let tokens = [token(1, "admin"), token(2, "operator"), token(3, "viewer")];
    for token in tokens.iter().rev() {
        store.token_insert(token.clone()).await.unwrap();
    }
    assert_eq!(store.token_list().await.unwrap(), tokens);
    assert_eq!(store.token_by_hash(&[2; 32]).await.unwrap(), Some(tokens[1].clone()));
    assert_eq!(store.token_by_hash(&[9; 32]).await.unwrap(), None);
    assert!(store.token_delete(tokens[1].id).await.unwrap());
    assert!(!store.token_delete(tokens[1].id).await.unwrap());
    assert_eq!(store.token_by_hash(&[2; 32]).await.unwrap(), None);
    store.close();
    let store = place.open().unwrap();
    assert_eq!(store.token_list().await.unwrap(), [tokens[0].clone(), tokens[2].clone()]);
    store.close();
    assert!(matches!(store.token_list().await, Err(StoreError::Stopped)));
    assert!(matches!(store.token_insert(token(4, "viewer")).await, Err(StoreError::Stopped)));
}

#[tokio::test]
async fn the_same_token_twice_is_refused_and_events_go_on() {
    let place = Place::new();
    let store = place.open().unwrap();
    store.token_insert(token(1, "admin")).await.unwrap();
    let again = store.token_insert(token(1, "viewer")).await;
    assert!(matches!(again, Err(StoreError::Sql { .. })), "{again:?}");
    assert_eq!(store.log().append(super::record("a", "", 0)).await.unwrap().seq, Some(1));
    store.close();
}

#[tokio::test]
async fn a_token_with_a_new_secret_is_the_same_token() {
    let place = Place::new();
    let store = place.open().unwrap();
    for number in [1, 3] {
        store.token_insert(token(number, "admin")).await.unwrap();
    }
    let renewed = Token { hash: [9; 32], ..token(3, "admin") };
    let answer = store.token_rehash(renewed.id, [9; 32]).await.unwrap();
    assert_eq!(answer, Some(renewed.clone()));
    assert_eq!(store.token_by_hash(&[3; 32]).await.unwrap(), None);
    assert_eq!(store.token_by_hash(&[9; 32]).await.unwrap(), Some(renewed.clone()));
    assert_eq!(store.token_rehash(Uuid::from_u128(7), [8; 32]).await.unwrap(), None);
    // The secret of another one is refused, and nothing is changed.
    let taken = store.token_rehash(renewed.id, [1; 32]).await;
    assert!(matches!(taken, Err(StoreError::Sql { .. })), "{taken:?}");
    assert_eq!(store.token_list().await.unwrap(), [token(1, "admin"), renewed]);
    store.close();
}
