//! `sysadmctl events`: follow them, look back at them, fire one.

pub(crate) mod cursor_file;
mod list;
pub(crate) mod show;
mod tail;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Failure;
use super::output::{self, Style};
use super::target::Target;
use super::{client::Client, parse_json};

/// What to do with events.
#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Follow events as they happen, across restarts of the daemon
    #[command(after_help = tail::HELP)]
    Tail(tail::TailOptions),
    /// Show events of the past: the newest 100, or all since a moment
    List(list::ListOptions),
    /// Record an event of your own
    Fire(FireOptions),
}

/// Which events are wanted; every part that is given must hold.
#[derive(Debug, Clone, Default, Args)]
struct FilterOptions {
    /// Classes: exact, or patterns such as 'snapshot.*' (quote the star); none means all
    #[arg(value_name = "CLASS")]
    classes: Vec<String>,
    /// The least priority, 0 to 10
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=10))]
    min_priority: Option<u8>,
    /// What it happened to; a star at the end means "begins with"
    #[arg(long)]
    subject: Option<String>,
    /// Who said it: sysadmd, the id of a plugin, or client
    #[arg(long)]
    source: Option<String>,
    /// A text that the message contains, in any case
    #[arg(long)]
    text: Option<String>,
}

impl FilterOptions {
    /// As the wire wants it.
    fn to_json(&self) -> Value {
        let mut filter = json!({});
        if !self.classes.is_empty() {
            filter["classes"] = json!(self.classes);
        }
        if let Some(number) = self.min_priority {
            filter["min_priority"] = json!(number);
        }
        let texts = [("subject", &self.subject), ("source", &self.source), ("text", &self.text)];
        for (name, text) in texts {
            if let Some(text) = text {
                filter[name] = json!(text);
            }
        }
        filter
    }
}

/// What to record.
#[derive(Debug, Args)]
pub(crate) struct FireOptions {
    /// One sentence for people
    message: String,
    /// The class: user.event, or your own below `user.`
    #[arg(long, default_value = "user.event")]
    class: String,
    /// How urgent, 0 to 10
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=10))]
    priority: u8,
    /// What it happened to, such as /apps/web
    #[arg(long)]
    subject: Option<String>,
    /// More for machines, any JSON
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    data: Option<Value>,
}

/// Runs the command.
pub(crate) async fn run(
    command: EventsCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    match command {
        EventsCommand::Tail(options) => tail::run(options, target, style).await,
        EventsCommand::List(options) => list::run(&options, target, style).await,
        EventsCommand::Fire(options) => fire(options, target, style).await,
    }
}

/// Follows events of these classes from a cursor on, until it is told to stop.
pub(crate) async fn follow(
    classes: &[&str],
    cursor: String,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    tail::run(tail::TailOptions::of(classes, cursor), target, style).await
}

async fn fire(options: FireOptions, target: &Target, style: Style) -> Result<(), Failure> {
    let mut args = json!({
        "class": options.class,
        "priority": options.priority,
        "message": options.message,
    });
    if let Some(subject) = options.subject {
        args["subject"] = json!(subject);
    }
    if let Some(data) = options.data {
        args["data"] = data;
    }
    let (mut client, _) = Client::open(target).await?;
    let fired: Value = client.call("events", "fire", args).await?;
    if style.json {
        return output::value(style, &fired);
    }
    let (time, id) = (output::moment(&output::text(&fired["time"])), &fired["event_id"]);
    let id = output::clean(&output::text(id));
    output::line(&match fired["seq"].as_u64() {
        Some(seq) => format!("recorded as number {seq} at {time}, id {id}"),
        None => format!("delivered at {time}, id {id}; not recorded"),
    })
}
