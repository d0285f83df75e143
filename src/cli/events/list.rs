//! `sysadmctl events list`: the past, page by page.

use clap::Args;
use protocol::Time;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{FilterOptions, show};
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::output::{self, Style};
use crate::cli::target::Target;
use crate::cli::when::When;

/// Events per request.
const PAGE: usize = 200;
/// How many are shown when nobody says how many or since when.
const NEWEST: usize = 100;

/// Which part of the past.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    filter: FilterOptions,
    /// From this moment on: so long ago (1h, 7d), or a time (2026-11-22T10:00:00Z)
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Up to this moment
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// At most so many: the newest that match [default: 100, or no limit with --since]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Begin with the newest
    #[arg(long)]
    newest_first: bool,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    more: bool,
    resume: Option<u64>,
}

/// Shows them: those that fit into the limit, or else page by page as they come.
pub(crate) async fn run(
    options: &ListOptions,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, hello) = Client::open(target).await?;
    let question = question(options, hello.time);
    let limit = match (options.limit, options.since) {
        (Some(limit), _) => Some(usize::try_from(limit).unwrap_or(usize::MAX)),
        (None, Some(_)) => None,
        (None, None) => Some(NEWEST),
    };
    let Some(limit) = limit else {
        return all(&mut client, question, options.newest_first, style).await;
    };
    let (mut events, more) = newest(&mut client, question, limit).await?;
    if !options.newest_first {
        events.reverse();
    }
    print(&events, style)?;
    if more && options.limit.is_none() {
        output::remark("these are the newest 100; there are more: --limit N or --since WHEN");
    }
    Ok(())
}

fn question(options: &ListOptions, now: Time) -> Value {
    let mut question = json!({ "filter": options.filter.to_json() });
    for (name, when) in [("since", options.since), ("until", options.until)] {
        if let Some(when) = when {
            question[name] = json!(when.resolve(now).to_string());
        }
    }
    question
}

/// The newest `limit` events, newest first, and whether there are more.
async fn newest(
    client: &mut Client,
    mut question: Value,
    limit: usize,
) -> Result<(Vec<Box<RawValue>>, bool), Failure> {
    let mut events = Vec::new();
    loop {
        question["limit"] = json!(PAGE.min(limit - events.len()));
        let mut page = page(client, &mut question, true).await?;
        events.append(&mut page.events);
        if !page.more || events.len() >= limit {
            return Ok((events, page.more));
        }
    }
}

async fn all(
    client: &mut Client,
    mut question: Value,
    newest_first: bool,
    style: Style,
) -> Result<(), Failure> {
    question["limit"] = json!(PAGE);
    loop {
        let page = page(client, &mut question, newest_first).await?;
        print(&page.events, style)?;
        if !page.more {
            return Ok(());
        }
    }
}

/// Asks for one page and turns the question into the one for the next.
async fn page(
    client: &mut Client,
    question: &mut Value,
    newest_first: bool,
) -> Result<Page, Failure> {
    question["newest_first"] = json!(newest_first);
    let mut page: Page = client.call("events", "list", question.clone()).await?;
    // Without a place to go on from, asking again would show the same page for ever.
    page.more &= page.resume.is_some();
    let bound = if newest_first { "before_seq" } else { "after_seq" };
    question[bound] = json!(page.resume);
    Ok(page)
}

fn print(events: &[Box<RawValue>], style: Style) -> Result<(), Failure> {
    output::print(&events.iter().map(|event| show::event(style, event)).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    #[tokio::test]
    async fn the_newest_are_collected_over_several_pages() {
        let fake = Fake::new();
        let page = |events: Value, more: bool, resume: Value| json!({"events": events, "more": more, "resume": resume});
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("events/list").await;
            assert_eq!(request["args"]["limit"], 5);
            assert_eq!(request["args"]["newest_first"], true);
            visitor.answer(&request, page(json!([9, 8, 7]), true, json!(7))).await;
            let request = visitor.request("events/list").await;
            assert_eq!(request["args"]["limit"], 2);
            assert_eq!(request["args"]["before_seq"], 7);
            visitor.answer(&request, page(json!([6, 5]), true, json!(5))).await;
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            newest(&mut client, json!({}), 5).await.unwrap()
        };
        let ((), (events, more)) = tokio::join!(script, ask);
        let events: Vec<&str> = events.iter().map(|event| event.get()).collect();
        assert_eq!((events, more), (vec!["9", "8", "7", "6", "5"], true));
    }

    #[tokio::test]
    async fn a_page_without_a_place_to_go_on_from_is_the_last() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("events/list").await;
            visitor.answer(&request, json!({"events": [1], "more": true})).await;
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            newest(&mut client, json!({}), 5).await.unwrap()
        };
        let ((), (events, more)) = tokio::join!(script, ask);
        assert_eq!((events.len(), more), (1, false));
    }
}
