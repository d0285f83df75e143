//! Sessions are kept as they were given last, until they are forgotten.

use protocol::{Json, Time};
use serde_json::json;

use super::Place;
use crate::store::{StoreError, StoredSession};

fn session(number: u8) -> StoredSession {
    StoredSession {
        hash: [number; 32],
        who: Json::from(json!({ "name": format!("user:{number}") })),
        peer: format!("192.0.2.{number}"),
        created: Time::from_micros(7),
        used: Time::from_micros(u64::from(number) * 1000),
    }
}

#[tokio::test]
async fn a_session_is_found_by_its_hash_until_it_is_forgotten() {
    let place = Place::new();
    let store = place.open().unwrap();
    let sessions = [1, 2, 3, 4].map(session);
    for session in sessions.iter().rev() {
        store.session_put(session.clone()).await.unwrap();
    }
    assert_eq!(store.session_list().await.unwrap(), sessions);
    assert_eq!(store.session_by_hash(&[2; 32]).await.unwrap(), Some(sessions[1].clone()));
    assert_eq!(store.session_by_hash(&[9; 32]).await.unwrap(), None);

    let used = StoredSession { used: Time::from_micros(9000), peer: String::new(), ..session(1) };
    store.session_put(used.clone()).await.unwrap();
    store.close();
    let store = place.open().unwrap();
    assert_eq!(store.session_by_hash(&[1; 32]).await.unwrap(), Some(used.clone()));
    assert!(store.session_delete([2; 32]).await.unwrap());
    assert!(!store.session_delete([2; 32]).await.unwrap());
    // The moment itself is not before it.
    assert_eq!(store.sessions_delete_before(Time::from_micros(4000)).await.unwrap(), 1);
    assert_eq!(store.session_list().await.unwrap(), [session(4), used]);
    assert_eq!(store.sessions_delete_before(Time::from_micros(u64::MAX)).await.unwrap(), 2);
    store.close();
    assert!(matches!(store.session_put(session(1)).await, Err(StoreError::Stopped)));
}
