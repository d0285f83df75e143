//! Alerts as people and their programs are told of them: JSON, mail, ntfy, the journal, the system
//! log. `docs/guide/alerts.md` shows each.

pub(crate) mod journal;
mod mail;

use std::fmt::Write as _;

use protocol::{Event, Priority};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::alerts::{Alert, State};
use crate::config::SinkKind;
use crate::sinks::{News, Route};

/// The longest text of ntfy, in bytes, with room for what it adds; longer ones become attachments.
const NTFY_BYTES_MAX: usize = 3_500;
/// The least priority of a gap: alerts may be in it.
const GAP_PRIORITY: u8 = 5;

/// Something that people are to be told.
#[derive(Debug)]
struct Notice<'a> {
    /// What it is, in one line.
    title: String,
    /// How urgent.
    priority: Priority,
    /// Whether it says that something is over.
    is_over: bool,
    /// All there is to say, line by line.
    lines: Vec<(&'static str, String)>,
    /// Of the event that tells it.
    event: Option<(&'a Event, Alert)>,
    /// The same for programs.
    json: Value,
}

/// What an event about an alert holds.
#[derive(Deserialize)]
struct Telling {
    alert: Alert,
}

/// Words it as this sink takes it; `None` when it is about no alert.
pub(crate) fn text(news: &News<'_>, route: &Route<'_>) -> Option<Vec<u8>> {
    let notice = notice(news, route)?;
    Some(match route.settings.kind {
        SinkKind::Mail => mail::message(&notice, route),
        SinkKind::Ntfy => ntfy(&notice, route)?.to_string().into_bytes(),
        SinkKind::Journal => journal::notice(&notice),
        SinkKind::Syslog => journal::line(&notice),
        SinkKind::Webhook | SinkKind::Command | SinkKind::CloudEvents => {
            let mut text = notice.json.to_string().into_bytes();
            text.push(b'\n');
            text
        }
    })
}

fn notice<'a>(news: &News<'a>, route: &Route<'_>) -> Option<Notice<'a>> {
    match news {
        News::Event(event) => {
            let Telling { alert } = event.data.read().ok()?;
            Some(of_alert(event, alert, route))
        }
        News::Gap(gap) => {
            let (from, to) = (gap.from_seq, gap.to_seq);
            let title = format!("Events {from} to {to} are lost: alerts may be among them");
            let mut notice = plain(title, Priority::clamped(GAP_PRIORITY), route);
            notice.json["type"] = "gap".into();
            notice.json["gap"] = json!(gap);
            let advice = "See what is wrong now with: sysadmctl alerts list".to_owned();
            notice.lines.insert(1, ("What to do", advice));
            Some(notice)
        }
        News::Test(time) => {
            let title = format!("This is a test of the sink {}", route.name);
            let mut notice = plain(title, Priority::MIN, route);
            notice.json["type"] = "test".into();
            notice.json["time"] = json!(time);
            Some(notice)
        }
    }
}

fn plain<'a>(title: String, priority: Priority, route: &Route<'_>) -> Notice<'a> {
    let lines = vec![("", title.clone()), ("Host", route.host.to_owned())];
    let json = json!({"sink": route.name, "host": route.host, "message": title,
                      "cursor": route.cursor});
    Notice { title, priority, is_over: false, lines, event: None, json }
}

fn of_alert<'a>(event: &'a Event, alert: Alert, route: &Route<'_>) -> Notice<'a> {
    let is_over = alert.state == State::Closed;
    let mut json = json!({
        "type": event.class,
        "id": event.id,
        "seq": event.seq,
        "cursor": route.cursor,
        "time": event.time,
        "host": route.host,
        "sink": route.name,
        "message": event.message,
        "alert": alert,
    });
    if let Ok(data) = event.data.read::<Value>() {
        json["verb"] = data["verb"].clone();
    }
    let mut lines = vec![("", event.message.clone())];
    let mut line = |name, text: String| {
        if !text.is_empty() {
            lines.push((name, text));
        }
    };
    if !is_over {
        line("What to do", alert.advice.clone());
    }
    line("Priority", alert.priority.to_string());
    line("About", alert.subject.clone());
    line("Kind", alert.kind.as_str().to_owned());
    line("Since", alert.first_seen.to_string());
    line("Over", alert.closed.map(|at| at.to_string()).unwrap_or_default());
    line("Seen", alert.count.to_string());
    line("Host", route.host.to_owned());
    line("More", format!("sysadmctl alerts show {}", alert.id));
    let urgency = if is_over { String::new() } else { format!("{}: ", alert.priority) };
    let title = format!("{urgency}{}", event.message);
    let priority = alert.priority;
    Notice { title, priority, is_over, lines, event: Some((event, alert)), json }
}

impl Notice<'_> {
    /// The lines with their names, for people.
    fn page(&self) -> String {
        let mut page = String::new();
        for (name, text) in &self.lines {
            // Writing into memory cannot fail.
            if name.is_empty() {
                writeln!(page, "{text}\n")
            } else {
                writeln!(page, "{name:<12}{text}")
            }
            .ok();
        }
        page
    }
}

/// As <https://docs.ntfy.sh/publish/#publish-as-json> has it.
fn ntfy(notice: &Notice<'_>, route: &Route<'_>) -> Option<Value> {
    let (_, topic) = route.settings.topic()?;
    let (priority, sign) = match notice.priority.number() {
        _ if notice.is_over => (3, "white_check_mark"),
        0..=2 => (2, "information_source"),
        3..=5 => (3, "warning"),
        6..=8 => (4, "rotating_light"),
        _ => (5, "rotating_light"),
    };
    let mut tags = vec![sign.to_owned()];
    tags.extend(notice.event.as_ref().map(|(_, alert)| alert.kind.as_str().to_owned()));
    let title = format!("{}: {}", route.host, shortened(&notice.title, 200));
    let page = notice.page();
    let text = shortened(page.trim_end(), NTFY_BYTES_MAX);
    Some(
        json!({"topic": topic, "title": title, "message": text, "priority": priority, "tags": tags}),
    )
}

/// Of what is longer only the beginning.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests;
