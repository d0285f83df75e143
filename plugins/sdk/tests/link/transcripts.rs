//! Replays every `transcript` block of `docs/protocols/plugin.md`.

use serde_json::Value;

use crate::driver::Plugin;

const PAGE: &str = include_str!("../../../../docs/protocols/plugin.md");

#[test]
fn every_block_of_the_page_happens_as_written() {
    let blocks = blocks(PAGE);
    assert!(blocks.len() > 10, "the page has lost its transcripts");
    for (line, block) in blocks {
        replay(line, &block);
    }
}

/// The blocks, each with the number of its first line in the page.
fn blocks(page: &str) -> Vec<(usize, Vec<&str>)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```transcript" {
            let block = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            blocks.push((number + 2, block.collect()));
        }
    }
    blocks
}

fn replay(first: usize, block: &[&str]) {
    let whom = block[0].strip_prefix("# plugin: ").expect("a block begins with its plugin");
    let mut plugin = match whom.split_once(' ') {
        Some(("kit", behaviour)) => Plugin::start(kit::plugins::program(), &[behaviour]),
        _ => Plugin::hello(),
    };
    if block.get(1) != Some(&"# from the start") {
        plugin.greet(whom.split(' ').next().unwrap(), 256, 1024 * 1024);
    }
    for (offset, line) in block.iter().enumerate().skip(1) {
        let place = format!("line {} of the page", first + offset);
        if let Some(sent) = line.strip_prefix("> ") {
            serde_json::from_str::<Value>(sent).unwrap_or_else(|error| panic!("{place}: {error}"));
            plugin.send_line(sent);
        } else if let Some(expected) = line.strip_prefix("< ") {
            let expected =
                serde_json::from_str(expected).unwrap_or_else(|e| panic!("{place}: {e}"));
            hear(&mut plugin, &expected, &place);
        } else if *line == "# the daemon closes standard input" {
            plugin.close_input();
        } else if let Some(code) = line.strip_prefix("# the plugin exits with ") {
            assert_eq!(plugin.exit_code(), code.parse().ok(), "{place}");
        } else {
            assert_eq!(*line, "# from the start", "{place}: what is this?");
        }
    }
}

fn hear(plugin: &mut Plugin, expected: &Value, place: &str) {
    loop {
        let heard = plugin.next();
        if matches(expected, &heard) {
            return;
        }
        let may_come_between =
            ["progress", "note", "log"].iter().any(|told| heard["method"] == *told);
        assert!(may_come_between, "{place}:\nexpected {expected}\n   heard {heard}");
    }
}

/// Whether all that is expected is there; `"*"` is anything.
fn matches(expected: &Value, heard: &Value) -> bool {
    match (expected, heard) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(expected), Value::Object(heard)) => expected
            .iter()
            .all(|(name, value)| heard.get(name).is_some_and(|heard| matches(value, heard))),
        (Value::Array(expected), Value::Array(heard)) => {
            expected.len() == heard.len()
                && expected.iter().zip(heard).all(|(expected, heard)| matches(expected, heard))
        }
        _ => expected == heard,
    }
}
