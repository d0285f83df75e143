//! What the replication plugin reads: what another machine says, and its own journal.

use std::io::Read as _;

use replication::ends::frame::{Frame, PAYLOAD_MAX, Talk};
use replication::ends::words::{self, Ask};
use replication::journal::{self, RUNS_MAX};

/// Frames as they come from another machine, one by one, and as a stream.
pub fn replication_frames(data: &[u8]) {
    let mut left = data;
    loop {
        let before = left;
        let Ok(Some(frame)) = Frame::read(&mut left) else { break };
        let mut again = Vec::new();
        assert!(frame.write(&mut again).is_ok() && again.len() <= PAYLOAD_MAX + 13);
        assert_eq!(again, before[..before.len() - left.len()], "there is one spelling");
    }
    let mut talk = Talk::new(std::io::Cursor::new(data.to_vec()), std::io::sink());
    let mut stream = talk.stream();
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    assert_eq!(read.is_ok(), stream.is_whole(), "a stream ends with its end");
    assert!(bytes.len() < data.len().max(1));
    let mut talk = Talk::new(std::io::Cursor::new(data.to_vec()), std::io::sink());
    while let Ok(Some(_)) = talk.hear() {}
}

/// Questions and answers.
pub fn replication_words(data: &[u8]) {
    if let Ok(ask) = serde_json::from_slice::<Ask>(data) {
        let again = serde_json::to_value(&ask).and_then(serde_json::from_value::<Ask>);
        assert!(again.is_ok_and(|again| again == ask));
    }
    if let Ok(answer) = serde_json::from_slice::<serde_json::Value>(data) {
        let ok = answer.get("ok").cloned();
        assert_eq!(words::outcome(answer).ok(), ok);
    }
}

/// The journal after a crash.
pub fn replication_journal(data: &[u8]) {
    let runs = journal::runs(data);
    assert!(runs.len() <= RUNS_MAX && runs.len() <= data.len());
    let mut ids: Vec<_> = runs.iter().map(|run| run.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), runs.len(), "each run once");
}
