//! `sysadmctl audit verify`.

use std::str::FromStr;

use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Style};

/// What the help says below the options.
pub(super) const HELP: &str = "\
Ends with 65 when a record was altered, removed or added, and names the first.
Whoever may write the database can compute every hash anew; against that helps only a head that was
noted on another machine.
Of a daemon that is stopped: sysadmd --check --state-dir DIR verifies the trail in its database.";

/// The number and hash of a record, as `audit head` prints them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    seq: u64,
    hash: String,
}

impl FromStr for Noted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.trim().split_once(':').and_then(|(seq, hash)| {
            let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            let seq: u64 = seq.parse().ok()?;
            (is_hash && seq > 0).then(|| Self { seq, hash: hash.to_ascii_lowercase() })
        });
        parts.ok_or_else(|| {
            "expected a number from 1 and 64 hexadecimal digits, as `audit head` prints them"
                .to_owned()
        })
    }
}

/// Has the daemon verify the trail, then compares the noted record.
pub(super) async fn run(
    client: &mut Client,
    noted: Option<&Noted>,
    style: Style,
) -> Result<(), Failure> {
    let verdict: Value = client.call("rpc", "audit", json!({"action": "verify"})).await?;
    if style.json {
        output::value(style, &verdict)?;
    }
    if verdict["intact"] != true {
        return Err(altered(&verdict));
    }
    if let Some(noted) = noted {
        let (after, limit) = (noted.seq - 1, 1);
        let question = json!({"action": "query", "after_seq": after, "limit": limit});
        let page: Value = client.call("rpc", "audit", question).await?;
        compare(noted, &page["records"][0], &verdict)?;
    }
    if style.json { Ok(()) } else { output::line(&output::clean(&intact(&verdict, noted))) }
}

fn intact(verdict: &Value, noted: Option<&Noted>) -> String {
    let [first, last, head] = ["first", "last", "head"].map(|name| output::text(&verdict[name]));
    let also = noted.map_or_else(String::new, |noted| {
        format!("; record {} is the one that was noted", noted.seq)
    });
    if verdict["first"].as_u64() > verdict["last"].as_u64() {
        return format!("intact: there are no records; head {last}:{head}");
    }
    format!("intact: records {first} to {last}; head {last}:{head}{also}")
}

fn altered(verdict: &Value) -> Failure {
    let [seq, what] = ["seq", "what"].map(|name| output::text(&verdict[name]));
    let sentence =
        format!("the audit trail is not as it was recorded, from record {seq} on: {what}");
    let hint = "keep a copy of the database as it is; every record before that one is intact";
    Failure::new(Exit::Data, sentence).with_hint(hint)
}

/// Whether the record with the noted number is the one that was noted.
fn compare(noted: &Noted, found: &Value, verdict: &Value) -> Result<(), Failure> {
    let Noted { seq, hash } = noted;
    if found["seq"].as_u64() == Some(*seq) {
        if found["hash"].as_str() == Some(hash) {
            return Ok(());
        }
        let sentence = format!(
            "record {seq} is not the one that was noted: it, or records before it, were altered \
             and every hash computed anew"
        );
        return Err(Failure::new(Exit::Data, sentence));
    }
    match verdict["first"].as_u64() {
        Some(first) if *seq < first => {
            let sentence = format!(
                "record {seq} is no longer kept (the oldest is {first}), so what was noted cannot \
                 be compared"
            );
            Err(Failure::new(Exit::Failed, sentence).with_hint("note a head more often"))
        }
        _ => {
            let last = output::text(&verdict["last"]);
            let sentence =
                format!("record {seq} was noted, but the trail ends with {last}: records are gone");
            Err(Failure::new(Exit::Data, sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    const PLAIN: Style = Style { json: false, colour: false };

    fn noted(seq: u64, digit: &str) -> Noted {
        format!("{seq}:{}", digit.repeat(64)).parse().unwrap()
    }

    #[test]
    fn a_noted_head_is_read_as_it_is_printed() {
        assert_eq!(noted(7, "A"), Noted { seq: 7, hash: "a".repeat(64) });
        for bad in ["", "7", "7:", "7:ab", &format!("0:{}", "0".repeat(64)), &"a".repeat(64)] {
            assert!(bad.parse::<Noted>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_noted_is_compared() {
        let verdict = json!({"intact": true, "first": 5, "last": 9, "head": "h"});
        let exit = |noted: &Noted, found: &Value| {
            compare(noted, found, &verdict).map_err(|failure| failure.exit)
        };
        let record = |seq: u64| json!({"seq": seq, "hash": "a".repeat(64)});
        assert_eq!(exit(&noted(7, "a"), &record(7)), Ok(()));
        assert_eq!(exit(&noted(7, "b"), &record(7)), Err(Exit::Data), "another hash");
        assert_eq!(exit(&noted(3, "a"), &record(5)), Err(Exit::Failed), "no longer kept");
        assert_eq!(exit(&noted(10, "a"), &Value::Null), Err(Exit::Data), "cut off");
    }

    #[tokio::test]
    async fn the_first_altered_record_is_named() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("rpc/audit").await;
            assert_eq!(request["args"], json!({"action": "verify"}));
            let broken = json!({"intact": false, "seq": 3, "what": "its hash is another"});
            visitor.answer(&request, broken).await;
            let request = visitor.request("rpc/audit").await;
            let intact = json!({"intact": true, "first": 1, "last": 4, "head": "h"});
            visitor.answer(&request, intact).await;
            let request = visitor.request("rpc/audit").await;
            assert_eq!(request["args"], json!({"action": "query", "after_seq": 1, "limit": 1}));
            let page = json!({"records": [{"seq": 2, "hash": "a".repeat(64)}], "more": true});
            visitor.answer(&request, page).await;
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            let failure = run(&mut client, None, PLAIN).await.unwrap_err();
            assert_eq!(failure.exit.code(), 65);
            assert!(failure.message.contains("record 3"), "{failure}");
            run(&mut client, Some(&noted(2, "a")), PLAIN).await.unwrap();
        };
        tokio::join!(script, ask);
    }
}
