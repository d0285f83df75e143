//! Recorded conversations: every one can still be had, by a daemon and by the script that stands in
//! for one; and new ones are recorded here.
//!
//! `tests/transcripts/README.md` says how they are written down.

mod kept;
mod play;
mod recorder;
mod stage;
mod stand_in;
mod talk;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kit::transcript::{Conversation, Names, Needs};

use play::Play;
use stage::Stage;

/// Conversations that each face has at least.
const LEAST: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sysadm_conversation_can_still_be_had() {
    had("sysadm").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conversation_of_the_other_faces_can_still_be_had() {
    let names = listed(&root()).into_iter().filter(|path| path.is_dir()).filter_map(|dir| {
        let name = dir.file_name()?.to_string_lossy().into_owned();
        name.rsplit_once("-v").map(|(face, _)| face.to_owned())
    });
    let faces: BTreeSet<String> = names.filter(|face| face != "sysadm").collect();
    for face in faces {
        had(&face).await;
    }
}

/// Has every conversation of every version of a face: most on one daemon, one after another.
async fn had(face: &str) {
    let shared = stage::start(&Needs::default(), &Names::default()).await;
    let recorded = recorder::record_halves(&shared, &paths(face, "half")).await;
    recorded.unwrap_or_else(|wrong| panic!("{wrong}"));
    let mut differences = Vec::new();
    let conversations = conversations(face);
    for conversation in &conversations {
        let mut play = Play::on(Stage::set(&shared, &conversation.needs).await);
        if let Err(differs) = play.have(conversation).await {
            differences.push(differs);
        }
        let Play { stage, talkers, asked } = play;
        drop((talkers, asked));
        stage.clear().await;
    }
    shared.stop().await;
    let (had, of) = (conversations.len() - differences.len(), conversations.len());
    assert!(differences.is_empty(), "{had} of {of} were had:\n{}", differences.join("\n"));
    assert!(of >= LEAST, "{face} has {of} conversations, {LEAST} are the least");
    println!("{of} conversations of {face}");
}

/// The conversations of every version of a face, in the order of their names.
fn conversations(face: &str) -> Vec<Conversation> {
    let paths = paths(face, "jsonl");
    let read = paths.iter().map(|path| Conversation::read(path));
    read.collect::<Result<_, _>>().unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Files of every version of a face; of every face, when none is named.
fn paths(face: &str, ending: &str) -> Vec<PathBuf> {
    let of_face = |dir: &PathBuf| {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        face.is_empty() || name.strip_prefix(face).is_some_and(|rest| rest.starts_with("-v"))
    };
    let dirs = listed(&root()).into_iter().filter(|dir| dir.is_dir() && of_face(dir));
    let files = dirs.flat_map(|dir| listed(&dir));
    files.filter(|path| path.extension().is_some_and(|has| has == ending)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

fn listed(dir: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
