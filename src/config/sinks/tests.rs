//! What can be a sink.

use std::path::Path;

use super::super::{Config, ConfigError, File, Overrides, Runner};
use super::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    let root = Runner { is_root: true, state_home: None };
    File::parse(text, Path::new("sysadmd.toml"))?.complete(Overrides::default(), &root)
}

#[test]
fn a_sink_needs_no_more_than_its_url() {
    let config = read("[sinks.archive]\nurl = \"https://hooks.example/in?key=secret\"").unwrap();
    let sink = &config.sinks["archive"];
    assert_eq!((sink.mode, sink.from, sink.batch), (SinkMode::Structured, SinkStart::Now, 100));
    assert_eq!(sink.place(), "https://hooks.example");
    assert!(!format!("{config:?}").contains("secret"), "its URL is never printed");
}

#[test]
fn what_cannot_be_a_sink_is_refused_by_name_and_without_its_secret() {
    for (text, named) in [
        ("[sinks.a]", "url"),
        ("[sinks.a]\nurl = \"secret\"", "url must begin"),
        ("[sinks.a]\nurl = \"ftp://secret\"", "url must begin"),
        ("[sinks.a]\nurl = \"https://u:secret@h\"", "token_file"),
        ("[sinks.a]\nurl = \"http://h/secret\"\ntoken_file = \"/t\"", "clear"),
        ("[sinks.a]\nurl = \"https://h\"\nbatch = 0", "batch"),
        ("[sinks.a]\nurl = \"https://h\"\ntimeout_s = 301", "timeout_s"),
        ("[sinks.a]\nurl = \"https://h\"\nretry_max_s = 0", "retry_max_s"),
        ("[sinks.a]\nurl = \"https://h\"\nattempts = 0", "attempts"),
        ("[sinks.a]\nurl = \"https://h\"\nmin_priority = 11", "priority"),
        ("[sinks.a]\nurl = \"https://h\"\nmode = \"all\"", "structured"),
        ("[sinks.a]\nurl = \"https://h\"\nclass = []", "`classes`?"),
        ("[sinks.a]\nkind = \"fax\"", "webhook"),
        ("[sinks.a]\nkind = \"webhook\"", "a.url is missing"),
        ("[sinks.a]\nkind = \"webhook\"\nurl = \"https://h\"\nmode = \"batch\"", "a.mode"),
        ("[sinks.a]\nkind = \"webhook\"\nurl = \"https://h\"\nalerts = \"all\"", "a.alerts"),
        ("[sinks.a]\nkind = \"ntfy\"\nurl = \"https://secret\"", "/TOPIC"),
        ("[sinks.a]\nkind = \"ntfy\"\nurl = \"https://secret/\"", "/TOPIC"),
        ("[sinks.a]\nkind = \"ntfy\"\nurl = \"https://h/secret?x\"", "/TOPIC"),
        ("[sinks.a]\nkind = \"mail\"", "a.to is missing"),
        ("[sinks.a]\nkind = \"mail\"\nto = [\"-oQ/tmp\"]", "no address"),
        ("[sinks.a]\nkind = \"mail\"\nto = [\"a@b\\nBcc: c\"]", "no address"),
        ("[sinks.a]\nkind = \"mail\"\nto = [\"a, b\"]", "no address"),
        ("[sinks.a]\nkind = \"mail\"\nto = [\"|/bin/sh\"]", "no address"),
        ("[sinks.a]\nkind = \"mail\"\nto = [\"a\"]\nsender = \"a b\"", "no address"),
        ("[sinks.a]\nkind = \"mail\"\nto = [\"a\"]\nsendmail = \"sendmail\"", "absolute"),
        ("[sinks.a]\nkind = \"mail\"\nto = [\"a\"]\nurl = \"https://h\"", "a.url is nothing"),
        ("[sinks.a]\nkind = \"command\"", "a.command is missing"),
        ("[sinks.a]\nkind = \"command\"\ncommand = [\"sh\"]", "absolute"),
        ("[sinks.a]\nkind = \"command\"\ncommand = [\"/a\", \"\\u0000\"]", "NUL"),
        ("[sinks.a]\nkind = \"journal\"\ncommand = [\"/bin/sh\"]", "a.command is nothing"),
        ("[sinks.a]\nurl = \"https://h\"\nrecoveries = false", "a.recoveries"),
        ("[sinks.a]\nkind = \"journal\"\nmin_priority_of = { \"Disk\" = 3 }", "Disk"),
        ("[sinks.\"A b\"]\nurl = \"https://h\"", "lower-case"),
    ] {
        let refusal = read(text).unwrap_err().to_string();
        assert!(refusal.contains(named), "{text}: {refusal}");
    }
    let refusal = read("[sinks.a]\nurl = \"https://u:secret@h\"").unwrap_err().to_string();
    assert!(!refusal.contains("secret"), "{refusal}");
    let here = "[sinks.a]\nurl = \"http://127.0.0.1:80/x\"\ntoken_file = \"/t\"";
    assert!(read(here).is_ok());
}

#[test]
fn sinks_for_alerts_need_no_more_than_where_to() {
    let text = "[sinks.a]\nkind = \"webhook\"\nurl = \"https://h/key\"\n\
        [sinks.b]\nkind = \"mail\"\nto = [\"root\", \"a.b+c@example.org\"]\n\
        [sinks.c]\nkind = \"ntfy\"\nurl = \"https://h/sub/my_Topic-1\"\n\
        [sinks.d]\nkind = \"command\"\ncommand = [\"/bin/cat\", \"-\"]\n\
        [sinks.e]\nkind = \"journal\"\n[sinks.f]\nkind = \"syslog\"";
    let sinks = read(text).unwrap().sinks;
    let places: Vec<String> = sinks.values().map(Sink::place).collect();
    let expected =
        ["https://h", "root a.b+c@example.org", "https://h", "/bin/cat", "journal", "syslog"];
    assert_eq!(places, expected);
    assert_eq!(sinks["c"].topic(), Some(("https://h/sub", "my_Topic-1")));
    assert!(!format!("{sinks:?}").contains("key"));
}

#[test]
fn the_examples_of_the_guides_are_legal() {
    let guides = [
        include_str!("../../../docs/guide/alerts.md"),
        include_str!("../../../docs/guide/sinks.md"),
    ];
    let blocks = guides.iter().flat_map(|page| page.split("```toml\n").skip(1));
    let examples: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 3, "{examples:?}");
    for example in examples {
        read(example).unwrap();
    }
}
