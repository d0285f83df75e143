//! `sysadmctl rules`: what is done when something happens.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use protocol::Filter;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;
use super::{arguments_of, when};

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Show the rules there are
    List,
    /// Show everything of one rule, as JSON
    Show(Which),
    /// Make a rule: a call that is made when something happens
    Create(Box<CreateOptions>),
    /// Delete a rule
    Delete(Which),
    /// Have a rule act again; what it has missed comes first
    Enable(Which),
    /// Have a rule do nothing until it is enabled
    Disable(Which),
    /// Show what rules did and are to do
    History {
        /// Which rule, as `list` shows it [default: all]
        id: Option<String>,
        /// The most that is shown
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show what was given up
    Dead {
        /// Of which rule, as `list` shows it [default: of all]
        id: Option<String>,
    },
    /// Have something that was given up done after all
    Retry {
        /// Its id, as `dead` shows it
        run: String,
    },
}

/// A rule.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its id, as `list` shows it
    id: String,
}

/// What the rule is to be.
#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// What it calls: a method such as snapshot/create
    method: String,
    /// With what, as JSON; `-` reads it from standard input [default: {}]
    #[arg(value_name = "JSON")]
    args: Option<String>,
    #[command(flatten)]
    when: WhenOptions,
    /// What you call it
    #[arg(long, default_value = "")]
    name: String,
    /// Act only when nothing of the same family and subject has come so long that is not meant
    #[arg(long = "for", value_name = "LENGTH", value_parser = when::length)]
    lasting: Option<Duration>,
    /// Of several that come so close after each other act on the last alone
    #[arg(long, value_name = "LENGTH", value_parser = when::length)]
    debounce: Option<Duration>,
    /// What runs one after the other: what has the same subject, or all of the rule
    #[arg(long, value_parser = ["subject", "rule"])]
    key: Option<String>,
    /// Tries until it is given up [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: Option<u32>,
    /// Give up what was not begun so long [default: 1d]
    #[arg(long, value_name = "LENGTH", value_parser = when::length)]
    expires: Option<Duration>,
}

/// What it waits for: events, a schedule or a path.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct WhenOptions {
    /// Events of these classes: a class, or 'family.*'
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', conflicts_with_all = ["cron", "path"])]
    on: Vec<String>,
    /// Events of at least this priority, 0 to 10
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..=10), conflicts_with_all = ["cron", "path"])]
    min_priority: Option<u8>,
    /// Events about this, or with * at its end about all that begins so
    #[arg(long, conflicts_with_all = ["cron", "path"])]
    subject: Option<String>,
    /// Events whose message contains this
    #[arg(long, conflicts_with_all = ["cron", "path"])]
    text: Option<String>,
    /// At these moments: minute, hour, day, month, day of the week
    #[arg(long, value_name = "FIELDS", conflicts_with = "path")]
    cron: Option<String>,
    /// The time zone of the schedule [default: UTC]
    #[arg(long, requires = "cron")]
    zone: Option<String>,
    /// When this file changes, or something in this directory
    #[arg(long)]
    path: Option<PathBuf>,
}

impl WhenOptions {
    fn to_json(&self) -> Value {
        if let Some(path) = &self.path {
            return json!({ "path": path });
        }
        if let Some(cron) = &self.cron {
            let zone = self.zone.as_deref().unwrap_or("UTC");
            return json!({ "schedule": { "cron": cron, "zone": zone } });
        }
        let filter = Filter {
            classes: self.on.clone(),
            min_priority: protocol::Priority::clamped(self.min_priority.unwrap_or_default()),
            subject: self.subject.clone(),
            text: self.text.clone(),
            ..Filter::default()
        };
        json!({ "event": filter })
    }
}

impl CreateOptions {
    /// As the wire wants it.
    fn to_json(&self) -> Result<Value, Failure> {
        let mut manner = json!({});
        let seconds = |length: Option<Duration>| length.map(|it| Value::from(it.as_secs()));
        for (name, value) in [
            ("for_s", seconds(self.lasting)),
            ("debounce_s", seconds(self.debounce)),
            ("key", self.key.as_deref().map(Value::from)),
            ("attempts", self.attempts.map(Value::from)),
            ("expires_s", seconds(self.expires)),
        ] {
            if let Some(value) = value {
                manner[name] = value;
            }
        }
        Ok(json!({
            "action": "create", "name": self.name, "when": self.when.to_json(),
            "method": self.method, "args": arguments_of(self.args.as_deref())?, "manner": manner,
        }))
    }
}

/// Runs the command.
pub(crate) async fn run(
    command: RulesCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let create = match &command {
        RulesCommand::Create(options) => Some(options.to_json()?),
        _ => None,
    };
    let (mut client, _) = Client::open(target).await?;
    let mut call = async |args| client.call::<Value>("rpc", "rules", args).await;
    let about = |action: &str, id: String| json!({ "action": action, "id": id });
    let args = match command {
        RulesCommand::Create(_) => create.unwrap_or_default(),
        RulesCommand::List => {
            return output::table(
                style,
                &call(json!({"action": "list"})).await?,
                "rules",
                &COLUMNS,
            );
        }
        RulesCommand::History { id, limit } => {
            let args = json!({"action": "history", "id": id, "limit": limit});
            return output::table(style, &call(args).await?, "runs", &RUNS);
        }
        RulesCommand::Dead { id } => {
            let args = json!({"action": "history", "id": id, "state": "dead", "limit": 1000});
            return output::table(style, &call(args).await?, "runs", &RUNS);
        }
        RulesCommand::Retry { run } => {
            let retried = call(json!({"action": "retry", "run": run})).await?;
            return output::table(style, &json!({ "runs": [retried["run"]] }), "runs", &RUNS);
        }
        RulesCommand::Show(Which { id }) => {
            return output::value(style, &call(about("get", id)).await?["rule"]);
        }
        RulesCommand::Delete(Which { id }) => {
            let deleted = call(about("delete", id)).await?;
            return if style.json {
                output::value(style, &deleted)
            } else {
                output::line("deleted")
            };
        }
        RulesCommand::Enable(Which { id }) => about("enable", id),
        RulesCommand::Disable(Which { id }) => about("disable", id),
    };
    let answer = call(args).await?;
    output::table(style, &json!({ "rules": [answer["rule"]] }), "rules", &COLUMNS)
}

const COLUMNS: [Column; 7] = [
    ("ID", |it| output::text(&it["id"])),
    ("NAME", |it| output::text(&it["name"])),
    ("WHEN", waits_for),
    ("DOES", |it| match it["args"]["action"].as_str() {
        Some(action) => format!("{}:{action}", output::text(&it["method"])),
        None => output::text(&it["method"]),
    }),
    ("OWNER", |it| output::text(&it["owner"])),
    ("LAST", |it| output::moment(&output::text(&it["last"]))),
    ("STATE", |it| if it["enabled"] == true { "enabled" } else { "disabled" }.to_owned()),
];

const RUNS: [Column; 7] = [
    ("RUN", |it| output::text(&it["id"])),
    ("RULE", |it| output::text(&it["rule"])),
    ("STATE", |it| output::text(&it["state"])),
    ("CAUSE", cause),
    ("WHEN", |it| output::moment(&output::text(&it["created"]))),
    ("TRIES", |it| output::text(&it["tries"])),
    ("ERROR", |it| output::text(&it["error"]["message"])),
];

/// What a rule waits for, on one line.
fn waits_for(rule: &Value) -> String {
    let when = &rule["when"];
    if let Some(path) = when["path"].as_str() {
        return path.to_owned();
    }
    if when["schedule"].is_object() {
        let (cron, zone) = (&when["schedule"]["cron"], &when["schedule"]["zone"]);
        return format!("{} ({})", output::text(cron), output::text(zone));
    }
    let filter = &when["event"];
    let classes = filter["classes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let classes: Vec<String> = classes.iter().map(output::text).collect();
    let mut parts = vec![if classes.is_empty() { "*".to_owned() } else { classes.join(",") }];
    if let Some(least) = filter["min_priority"].as_u64().filter(|least| *least > 0) {
        parts.push(format!("from {least}"));
    }
    parts.extend(filter["subject"].as_str().map(str::to_owned));
    parts.extend(filter["text"].as_str().map(|text| format!("{text:?}")));
    parts.join(" ")
}

/// Why something was done, on one line.
fn cause(run: &Value) -> String {
    let cause = &run["cause"];
    match (cause["event"]["seq"].as_u64(), cause["moment"].as_str()) {
        (Some(seq), _) => format!("{} {seq}", output::text(&cause["event"]["class"])),
        (None, Some(moment)) => output::moment(moment),
        (None, None) => "changed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: RulesCommand,
    }

    fn args(words: &[&str]) -> Result<Value, String> {
        let line = Line::try_parse_from([&["x"], words].concat()).map_err(|it| it.to_string())?;
        match line.command {
            RulesCommand::Create(options) => options.to_json().map_err(|it| it.message),
            _ => Err("another command".to_owned()),
        }
    }

    #[test]
    fn what_is_wanted_is_what_is_sent() {
        let sent = args(&[
            "create",
            "snapshot/create",
            r#"{"dataset":"tank"}"#,
            "--on",
            "user.*",
            "--min-priority",
            "5",
            "--for",
            "1m",
            "--key",
            "rule",
        ]);
        let sent = sent.unwrap();
        assert_eq!(sent["when"], json!({"event": {"classes": ["user.*"], "min_priority": 5}}));
        assert_eq!(sent["manner"], json!({"for_s": 60, "key": "rule"}));
        let sent =
            args(&["create", "a/b", "--cron", "0 3 * * *", "--zone", "Europe/Zurich"]).unwrap();
        let schedule = json!({"cron": "0 3 * * *", "zone": "Europe/Zurich"});
        assert_eq!(sent["when"], json!({ "schedule": schedule }));
        let sent = args(&["create", "a/b", "--path", "/etc/x"]).unwrap();
        assert_eq!(sent["when"], json!({"path": "/etc/x"}));
        for wrong in [
            &["create", "a/b"][..],
            &["create", "a/b", "--cron", "x", "--path", "/y"],
            &["create", "a/b", "--on", "x.*", "--path", "/y"],
            &["create", "a/b", "--zone", "UTC"],
            &["create", "a/b", "{", "--on", "x.*"],
        ] {
            assert!(args(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_it_waits_for_and_why_it_acted_are_on_one_line() {
        let event =
            json!({"when": {"event": {"classes": ["a.*", "b"], "min_priority": 5, "text": "x"}}});
        assert_eq!(waits_for(&event), "a.*,b from 5 \"x\"");
        assert_eq!(waits_for(&json!({"when": {"event": {"min_priority": 0}}})), "*");
        let schedule = json!({"when": {"schedule": {"cron": "0 3 * * *", "zone": "UTC"}}});
        assert_eq!(waits_for(&schedule), "0 3 * * * (UTC)");
        assert_eq!(cause(&json!({"cause": {"event": {"seq": 7, "class": "user.x"}}})), "user.x 7");
        assert_eq!(cause(&json!({"cause": "change"})), "changed");
    }
}
