//! `faults.md`: what can go wrong. The words are the doc comments of `plugins/protocol/src/fault.rs`.

use protocol::FaultKind;
use protocol::link::{FAULT_CODE, METHOD_NOT_FOUND};
use serde_json::Value;
use sysadmd::wire::jsonrpc::fault_codes;

use super::{code, head, row, word};

const SOURCE: &str = include_str!("../../../plugins/protocol/src/fault.rs");

const HEAD: &str = "\
# Faults

Every refusal and every failure is a fault, on every way in.
A reader must survive kinds it does not know.

| Member | |
|---|---|
";

const TAIL: &str = "
Over REST and on the websocket the fault is the member `fault` of `args`, beside the classic `code` and `message` ([the SysAdm protocol](../protocols/sysadm.md)).
In JSON-RPC it is the error object: `message` is the sentence, `data` holds the rest ([JSON-RPC](../protocols/jsonrpc.md)). The first code is the usual one; `bad-request` has -32700 for what is no JSON and -32600 for what is no request, `not-found` -32601 when it is the method that there is not.
Between the daemon and a plugin it is the `data` of a JSON-RPC error with code FAULT, whatever its kind; a request whose method is not known on that link is answered with UNKNOWN ([the plugin protocol](../protocols/plugin.md)).
All numbers that `sysadmctl` exits with are in [its help](sysadmctl.md).
";

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for (member, meaning) in documented("pub struct Fault {") {
        let name = member.trim_start_matches("pub ").split(':').next().unwrap_or_default();
        page += &row(&[&code(name), &meaning]);
    }
    page += "\n## Kinds\n\n";
    page += &head(&[
        "`kind`",
        "HTTP status, SysAdm `code`",
        "JSON-RPC `code`",
        "SysAdm `message`",
        "`sysadmctl` exits with",
        "",
    ]);
    for (variant, meaning) in documented("pub enum FaultKind {") {
        let kind = kind_of(&variant);
        let status = kind.status().to_string();
        let exit = sysadmd::cli::exit_code(kind).to_string();
        let codes = fault_codes(kind).iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
        let kind_word = code(&word(&kind));
        page += &row(&[&kind_word, &status, &codes, kind.reason(), &exit, &meaning]);
    }
    let tail = TAIL.replace("FAULT", &FAULT_CODE.to_string());
    page += &tail.replace("UNKNOWN", &METHOD_NOT_FOUND.to_string());
    page
}

#[test]
fn every_kind_is_found_by_its_name() {
    let kinds = documented("pub enum FaultKind {");
    assert_eq!(kind_of("NotFound"), FaultKind::NotFound);
    assert!(kinds.len() >= 12, "{kinds:?}");
}

/// The items of a struct or enum, with their doc comments put into one line.
fn documented(opening: &str) -> Vec<(String, String)> {
    let (_, inside) = SOURCE.split_once(opening).expect("the item is there");
    let mut found = Vec::new();
    let mut said: Vec<&str> = Vec::new();
    for line in inside.lines().take_while(|line| *line != "}").map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            said.push(comment);
        } else if !line.is_empty() && !line.starts_with('#') {
            found.push((line.trim_end_matches(',').to_owned(), said.join(" ")));
            said.clear();
        }
    }
    found
}

/// The kind with this name in the source.
fn kind_of(variant: &str) -> FaultKind {
    let mut kebab = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    let kind: FaultKind = serde_json::from_value(Value::String(kebab.clone())).expect("a kind");
    assert_eq!(word(&kind), kebab, "{variant}");
    kind
}
