//! What must come on a connection: for the examples of the protocol pages.
//!
//! How expected values are written: `tests/transcripts/README.md`.

use std::time::Duration;

use kit::client::{Came, SysAdmClient};
use kit::transcript::Names;
use serde_json::Value;

/// How long to listen for what should not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(50);

/// Reads as many messages as are expected and compares them, in order or in any.
///
/// # Panics
/// When something else comes.
pub(crate) async fn expect(
    client: &mut SysAdmClient,
    names: &mut Names,
    expected: &[Value],
    in_order: bool,
) {
    let mut open: Vec<&Value> = expected.iter().collect();
    while !open.is_empty() {
        let came = client.next().await;
        let candidates = if in_order { 1 } else { open.len() };
        names.take(&mut open, candidates, &came).unwrap_or_else(|differs| panic!("{differs}"));
    }
}

/// Nothing that was not expected has come by now.
///
/// # Panics
/// When something has.
pub(crate) async fn expect_silence(client: &mut SysAdmClient) {
    let came = client.came_within(SILENCE).await;
    assert!(matches!(came, None | Some(Came::Closed(..))), "nobody asked for {came:?}");
}
