//! Every target over its corpus, and over 20,000 inputs made of it.
//!
//! `FUZZ_SEED` makes others than usual; the seed is in the sentence of whatever fails.

#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a test says what is wrong")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fuzz::mutate::Mutator;
use fuzz::{TARGETS, Target};

/// Inputs for each target.
const INPUTS: usize = 20_000;
/// The longest of them, in bytes.
const MOST: usize = 2048;
/// The whole corpus stays this small, in bytes.
const CORPUS_MAX: u64 = 200 * 1024;

macro_rules! tests {
    ($($module:ident::$name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

fuzz::each_target!(tests);

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the table has it");
    let corpus = corpus(name);
    assert!(corpus.len() >= 2, "tests/fuzz/corpus/{name} holds next to nothing");
    for input in &corpus {
        try_one(target, input, "the corpus");
    }
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut mutator = Mutator::new(seed, corpus);
    for _ in 0..INPUTS {
        try_one(target, &mutator.input(MOST), &format!("FUZZ_SEED={seed}"));
    }
}

fn try_one(target: &Target, input: &[u8], from: &str) {
    let run = AssertUnwindSafe(|| (target.run)(input));
    assert!(catch_unwind(run).is_ok(), "{} from {from}: \"{}\"", target.name, input.escape_ascii());
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("an input")).collect()
}

#[test]
fn the_corpus_belongs_to_the_targets_and_is_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut bytes = 0;
    for dir in fs::read_dir(root).expect("the corpus").flatten() {
        let name = dir.file_name();
        assert!(TARGETS.iter().any(|target| *target.name == *name), "{name:?} is no target");
        let files = fs::read_dir(dir.path()).expect("a target's inputs").flatten();
        bytes += files.map(|file| file.metadata().expect("its size").len()).sum::<u64>();
    }
    assert!(bytes <= CORPUS_MAX, "the corpus has {bytes} bytes");
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    let inputs = |seed| {
        let mut mutator = Mutator::new(seed, vec![b"{\"namespace\":\"rpc\"}".to_vec()]);
        (0..100).map(|_| mutator.input(64)).collect::<Vec<_>>()
    };
    assert_eq!(inputs(7), inputs(7));
    assert_ne!(inputs(7), inputs(8));
}
