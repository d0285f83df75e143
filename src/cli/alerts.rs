//! `sysadmctl alerts`: what is wrong, and what is done about it.

use clap::{Args, Subcommand};
use protocol::Priority;
use serde_json::{Value, json};

use super::client::Client;
use super::events;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;
use super::when;

/// What to do with alerts.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Show what is wrong, the most urgent first, and what to do
    List(ListOptions),
    /// Show everything of one alert
    Show(Which),
    /// Show what has happened to one alert, or to all, the newest first
    History {
        /// Only of this alert
        id: Option<u64>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 50,
              value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
    },
    /// Show what is wrong, then every change as it happens
    Follow,
    /// Say that you look after alerts
    Ack {
        /// Their numbers
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
        /// What you have to say about it
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Say that nobody looks after alerts any more
    Unack(These),
    /// Have nobody told of alerts for a while
    Silence {
        /// Their numbers
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
        /// For how long, such as 90m, 8h or 7d
        #[arg(long = "for", value_name = "TIME", value_parser = when::length)]
        span: std::time::Duration,
        /// What you have to say about it
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Have everybody told of alerts again
    Unsilence(These),
    /// Say that alerts are over whose source cannot say it any more
    Close(These),
    /// Send a sink a message made for it now, and show how that went
    Test {
        /// The sink, as `sysadmctl sinks list` shows it
        sink: String,
    },
}

/// An alert.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its number, as `list` shows it
    id: u64,
}

/// Some alerts.
#[derive(Debug, Args)]
pub(crate) struct These {
    /// Their numbers
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
}

/// Which alerts to show.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Also those that are over
    #[arg(long)]
    all: bool,
    /// Only kinds that this covers, such as 'system.*' (quote the star)
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(
    command: AlertsCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    if let AlertsCommand::Test { sink } = command {
        return super::sinks::test(&sink, target, style).await;
    }
    let (mut client, _) = Client::open(target).await?;
    match command {
        AlertsCommand::List(options) => list(&mut client, options, style).await.map(drop),
        AlertsCommand::Show(Which { id }) => {
            let answer = ask(&mut client, "show", json!({ "id": id })).await?;
            output::value(style, &answer["alert"])
        }
        AlertsCommand::History { id, limit } => {
            let mut args = json!({ "limit": limit });
            if let Some(id) = id {
                args["id"] = id.into();
            }
            let answer = ask(&mut client, "history", args).await?;
            output::table(style, &answer, "history", &HISTORY)
        }
        AlertsCommand::Follow => {
            let all = ListOptions { all: false, kind: None };
            let cursor = list(&mut client, all, style).await?;
            drop(client);
            events::follow(&["alert.*"], cursor, target, style).await
        }
        AlertsCommand::Ack { ids, note } => {
            each(&mut client, "acknowledge", (&ids, json!({ "note": note })), style).await
        }
        AlertsCommand::Silence { ids, span, note } => {
            let more = json!({ "for_s": span.as_secs(), "note": note });
            each(&mut client, "silence", (&ids, more), style).await
        }
        AlertsCommand::Unack(These { ids }) => {
            each(&mut client, "unacknowledge", (&ids, json!({})), style).await
        }
        AlertsCommand::Unsilence(These { ids }) => {
            each(&mut client, "unsilence", (&ids, json!({})), style).await
        }
        AlertsCommand::Close(These { ids }) => {
            each(&mut client, "close", (&ids, json!({})), style).await
        }
        AlertsCommand::Test { .. } => Ok(()),
    }
}

async fn ask(client: &mut Client, action: &str, mut args: Value) -> Result<Value, Failure> {
    args["action"] = action.into();
    client.call("rpc", "alerts", args).await
}

/// Shows them, and returns from where their changes follow.
async fn list(client: &mut Client, options: ListOptions, style: Style) -> Result<String, Failure> {
    let mut args = json!({});
    if options.all {
        args["states"] = json!(["pending", "open", "clearing", "closed"]);
    }
    if let Some(kind) = options.kind {
        args["kind"] = kind.into();
    }
    let answer = ask(client, "list", args).await?;
    output::table(style, &answer, "alerts", &COLUMNS)?;
    if !style.json {
        output::remark(&summary(&answer));
    }
    Ok(output::text(&answer["cursor"]))
}

/// What is not seen is said, too: silence hides nothing here.
fn summary(answer: &Value) -> String {
    let number = |name: &str| answer[name].as_u64().unwrap_or_default();
    format!(
        "{} open, {} of them acknowledged, {} silenced",
        number("open"),
        number("acknowledged"),
        number("silenced")
    )
}

/// Asks the same for each, and shows how they are then. The first that fails ends it.
async fn each(
    client: &mut Client,
    action: &str,
    (ids, more): (&[u64], Value),
    style: Style,
) -> Result<(), Failure> {
    let mut alerts = Vec::new();
    for id in ids {
        let mut args = more.clone();
        args["id"] = (*id).into();
        alerts.push(ask(client, action, args).await?["alert"].take());
    }
    output::table(style, &json!({ "alerts": alerts }), "alerts", &COLUMNS)
}

/// What people have done with it, in a word or two.
fn handled(alert: &Value) -> String {
    let acknowledged = alert["acknowledged"]["by"].as_str().map(|by| format!("by {by}"));
    let silenced = alert["silenced"]["until"].as_str();
    let silenced = silenced.map(|until| format!("silent until {}", output::moment(until)));
    let both: Vec<String> = acknowledged.into_iter().chain(silenced).collect();
    both.join(", ")
}

fn urgency(row: &Value) -> String {
    let number = row["priority"].as_u64().and_then(|number| u8::try_from(number).ok());
    Priority::clamped(number.unwrap_or_default()).to_string()
}

const COLUMNS: [Column; 10] = [
    ("ID", |alert| output::text(&alert["id"])),
    ("PRIORITY", urgency),
    ("STATE", |alert| output::text(&alert["state"])),
    ("KIND", |alert| output::text(&alert["kind"])),
    ("ABOUT", |alert| output::text(&alert["subject"])),
    ("FIRST", |alert| output::moment(&output::text(&alert["first_seen"]))),
    ("COUNT", |alert| output::text(&alert["count"])),
    ("HANDLED", handled),
    ("WHAT", |alert| output::text(&alert["message"])),
    ("WHAT TO DO", |alert| output::text(&alert["advice"])),
];

const HISTORY: [Column; 6] = [
    ("TIME", |row| output::moment(&output::text(&row["time"]))),
    ("ID", |row| output::text(&row["id"])),
    ("WHAT HAPPENED", |row| output::text(&row["verb"])),
    ("TOLD", |row| if row["notify"] == true { "yes".to_owned() } else { String::new() }),
    ("PRIORITY", urgency),
    ("MESSAGE", |row| output::text(&row["message"])),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_with_an_alert_is_said_in_short() {
        assert_eq!(handled(&json!({})), "");
        let alert = json!({
            "acknowledged": {"by": "local:root"},
            "silenced": {"until": "2026-11-26T12:00:00.000000Z"},
        });
        let text = handled(&alert);
        assert!(text.starts_with("by local:root, silent until 2026-11-26"), "{text}");
        assert_eq!(urgency(&json!({"priority": 7})), "7 - Critical");
        let answer = json!({"open": 3, "acknowledged": 1, "silenced": 2});
        assert_eq!(summary(&answer), "3 open, 1 of them acknowledged, 2 silenced");
    }
}
