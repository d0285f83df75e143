use std::io::{BufRead, BufReader, Write, pipe};
use std::thread;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const MANIFEST: &str = r#"{"manifest_version":1,"id":"unit","version":"1.0.0",
    "limits":{"line_bytes":1024}, "methods":[], "events":[]}"#;

struct Silent;

impl Plugin for Silent {
    fn call(&self, _: &Context, request: &Request) -> Result<Value, Fault> {
        Ok(request.args.clone())
    }
}

/// Runs the plugin on these lines and returns its exit code and what it said.
fn live(lines: &[String]) -> (u8, Vec<Frame>) {
    let (input, mut to_plugin) = pipe().unwrap();
    let (from_plugin, output) = pipe().unwrap();
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let plugin = thread::spawn(move || run(manifest, Silent, input, Box::new(output)));
    let listener = thread::spawn(move || {
        let lines = BufReader::new(from_plugin).lines();
        lines.map(|line| Frame::parse(&line.unwrap()).unwrap()).collect()
    });
    for line in lines {
        // A plugin that has ended early reads no more, which is what some tests want.
        drop(to_plugin.write_all(format!("{line}\n").as_bytes()));
    }
    drop(to_plugin);
    (plugin.join().unwrap(), listener.join().unwrap())
}

fn initialize(versions: &[u32], id: &str) -> String {
    let params = json!({
        "protocol": link::PROTOCOL, "versions": versions, "plugin": { "id": id },
        "daemon": { "version": "0", "instance": "7d444840-9dc0-8003-8000-0000000004d2" },
        "credit": 1, "line_bytes": 1024, "state_dir": "/nowhere",
    });
    Frame::request(1, method::INITIALIZE, params.into()).line()
}

#[test]
fn it_refuses_to_be_somebody_else_or_to_speak_another_version() {
    let (code, said) = live(&[initialize(&[1], "other")]);
    assert_eq!((code, said.len()), (PROTOCOL_ERROR, 1));
    assert!(said[0].error.is_some());
    let (code, said) = live(&[initialize(&[2], "unit")]);
    assert_eq!((code, said.len()), (PROTOCOL_ERROR, 1));
    assert!(said[0].error.is_some());
}

#[test]
fn the_end_before_the_handshake_is_no_error() {
    assert_eq!(live(&[]).0, 0);
}

#[test]
fn a_line_that_is_too_long_ends_it() {
    let (code, _) = live(&[initialize(&[1], "unit"), "x".repeat(1025)]);
    assert_eq!(code, PROTOCOL_ERROR);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever else stands on the lines in between, the question after them is answered.
    #[test]
    fn no_line_keeps_it_from_answering_the_next(
        lines in proptest::collection::vec("[^\\n\\r]{0,80}|\\{\"[a-z]{2,6}\":[0-9]{1,3}\\}|\\[\\]|null", 0..8),
    ) {
        let question = Frame::request(77, method::HEALTH, Json::default()).line();
        let mut all = vec![initialize(&[1], "unit")];
        all.extend(lines.into_iter().chain([question]));
        let (code, said) = live(&all);
        prop_assert_eq!(code, 0);
        prop_assert!(said.iter().any(|frame| frame.id == Some(Id::Number(77))));
    }

    /// Lines come out as they went in, however the bytes were cut up on the way.
    #[test]
    fn lines_survive_any_chunking(
        lines in proptest::collection::vec("[a-zäö ]{1,40}", 0..10),
        chunk in 1usize..50,
    ) {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        let cut = bytes.chunks(chunk).fold(
            Box::new(io::empty()) as Box<dyn Read>,
            |before, chunk| Box::new(before.chain(chunk)),
        );
        let mut reader = Lines { input: BufReader::with_capacity(7, cut), most: 200 };
        let mut read = Vec::new();
        while let Some(line) = reader.next().unwrap() {
            read.push(line.trim_end_matches('\n').to_owned());
        }
        let expected: Vec<String> =
            lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
        prop_assert_eq!(read, expected);
    }
}
