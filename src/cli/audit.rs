//! `sysadmctl audit`: who did what, and whether that record was left alone.

mod verify;

use clap::{Args, Subcommand};
use protocol::Time;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;
use super::when::When;

/// Records per request.
const PAGE: usize = 200;

/// What to do with the audit trail.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show who did what: the newest records that match, the newest last
    List(ListOptions),
    /// Print every record with its hash, one JSON object a line
    Export(Span),
    /// Print NUMBER:HASH of the newest record, to be noted on another machine
    Head,
    /// Compute every hash again, and name the first record that was altered
    #[command(after_help = verify::HELP)]
    Verify {
        /// What `audit head` once printed: shows also whether everything was computed anew
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<verify::Noted>,
    },
}

/// From when to when.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Span {
    /// From this moment on: so long ago (1h, 7d), or a time (2026-11-22T10:00:00Z)
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Up to this moment
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// In whose name; a star at the end means "begins with", such as 'token:*'
    #[arg(long)]
    actor: Option<String>,
    /// What was asked, such as rpc/tokens:create or 'snapshot/*'
    #[arg(long)]
    method: Option<String>,
    /// What came of it, such as ok
    #[arg(long)]
    outcome: Option<String>,
    #[command(flatten)]
    span: Span,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Deserialize)]
struct Page {
    records: Vec<Box<RawValue>>,
    more: bool,
    resume: Option<u64>,
}

/// Runs the command.
pub(crate) async fn run(
    command: AuditCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, hello) = Client::open(target).await?;
    match command {
        AuditCommand::List(options) => {
            let (records, more) = newest(&mut client, &options, hello.time).await?;
            print(&records, style)?;
            if more && !style.json {
                output::remark("older records match, too; -n N shows more");
            }
            Ok(())
        }
        AuditCommand::Export(span) => export(&mut client, span.question(hello.time)).await,
        AuditCommand::Head => {
            let head = client.call("rpc", "audit", json!({"action": "head"})).await?;
            if style.json {
                return output::value(style, &head);
            }
            let [seq, hash] = ["seq", "hash"].map(|name| output::text(&head[name]));
            output::line(&output::clean(&format!("{seq}:{hash}")))
        }
        AuditCommand::Verify { head } => verify::run(&mut client, head.as_ref(), style).await,
    }
}

impl Span {
    /// The beginning of a question about this time, given what time the daemon has.
    fn question(self, now: Time) -> Value {
        let mut question = json!({"action": "query"});
        for (name, when) in [("since", self.since), ("until", self.until)] {
            if let Some(when) = when {
                question[name] = json!(when.resolve(now).to_string());
            }
        }
        question
    }
}

/// The newest that match, the newest last, and whether there are more.
async fn newest(
    client: &mut Client,
    options: &ListOptions,
    now: Time,
) -> Result<(Vec<Box<RawValue>>, bool), Failure> {
    let mut question = options.span.question(now);
    question["newest_first"] = json!(true);
    let texts =
        [("actor", &options.actor), ("method", &options.method), ("outcome", &options.outcome)];
    for (name, text) in texts {
        if let Some(text) = text {
            question[name] = json!(text);
        }
    }
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let mut records = Vec::new();
    loop {
        question["limit"] = json!(PAGE.min(limit - records.len()));
        let mut page = page(client, &mut question, "before_seq").await?;
        records.append(&mut page.records);
        if !page.more || records.len() >= limit {
            records.reverse();
            return Ok((records, page.more));
        }
    }
}

/// Page by page, each printed as it comes: a trail may be longer than memory.
async fn export(client: &mut Client, mut question: Value) -> Result<(), Failure> {
    question["limit"] = json!(PAGE);
    loop {
        let page = page(client, &mut question, "after_seq").await?;
        output::print(&lines(&page.records))?;
        if !page.more {
            return Ok(());
        }
    }
}

/// Asks for one page and turns the question into the one for the next.
async fn page(client: &mut Client, question: &mut Value, bound: &str) -> Result<Page, Failure> {
    let mut page: Page = client.call("rpc", "audit", question.clone()).await?;
    // Without a place to go on from, asking again would show the same page for ever.
    page.more &= page.resume.is_some();
    if page.resume.is_some() {
        question[bound] = json!(page.resume);
    }
    Ok(page)
}

fn print(records: &[Box<RawValue>], style: Style) -> Result<(), Failure> {
    if style.json {
        return output::print(&lines(records));
    }
    let read = records.iter().map(|record| serde_json::from_str(record.get()).unwrap_or_default());
    let records: Vec<Value> = read.collect();
    output::table(style, &json!({ "records": records }), "records", &COLUMNS)
}

fn lines(records: &[Box<RawValue>]) -> String {
    records.iter().map(|record| output::one_line(record.get()) + "\n").collect()
}

const COLUMNS: [Column; 6] = [
    ("NUMBER", |record| output::text(&record["seq"])),
    ("TIME", |record| output::moment(&output::text(&record["time"]))),
    ("ACTOR", |record| output::text(&record["actor"])),
    ("ORIGIN", |record| output::text(&record["origin"])),
    ("METHOD", |record| output::text(&record["method"])),
    ("OUTCOME", |record| output::text(&record["outcome"])),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    fn options(limit: u32) -> ListOptions {
        ListOptions {
            actor: Some("token:*".to_owned()),
            method: None,
            outcome: None,
            span: Span { since: Some("1h".parse().unwrap()), until: None },
            limit,
        }
    }

    #[tokio::test]
    async fn the_newest_are_put_together_and_stand_last() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("rpc/audit").await;
            let asked = json!({"action": "query", "actor": "token:*", "limit": 3,
                "newest_first": true, "since": "2026-11-22T09:00:00.000000Z"});
            assert_eq!(request["args"], asked);
            let page = json!({"records": [{"seq": 9}, {"seq": 7}], "more": true, "resume": 5});
            visitor.answer(&request, page).await;
            let request = visitor.request("rpc/audit").await;
            assert_eq!(
                (&request["args"]["before_seq"], &request["args"]["limit"]),
                (&json!(5), &json!(1))
            );
            let page = json!({"records": [{"seq": 3}], "more": true, "resume": 3});
            visitor.answer(&request, page).await;
        };
        let target = fake.target();
        let ask = async {
            let (mut client, hello) = Client::open(&target).await.unwrap();
            newest(&mut client, &options(3), hello.time).await.unwrap()
        };
        let ((), (records, more)) = tokio::join!(script, ask);
        assert_eq!(lines(&records), "{\"seq\":3}\n{\"seq\":7}\n{\"seq\":9}\n");
        assert!(more);
    }

    #[tokio::test]
    async fn an_export_goes_on_where_a_page_ends_even_an_empty_one() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            for (after, more) in [(Value::Null, true), (json!(200), true), (json!(400), false)] {
                let request = visitor.request("rpc/audit").await;
                assert_eq!(request["args"]["after_seq"], after);
                let resume = after.as_u64().unwrap_or(0) + 200;
                let page = json!({"records": [], "more": more, "resume": resume});
                visitor.answer(&request, page).await;
            }
        };
        let target = fake.target();
        let style = Style { json: false, colour: false };
        let export = run(AuditCommand::Export(Span::default()), &target, style);
        let ((), done) = tokio::join!(script, export);
        done.unwrap();
    }
}
