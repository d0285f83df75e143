//! `sysadmctl triggers`: URLs that do one thing when they are called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{self, Column, Style};
use super::target::Target;
use super::{arguments_of, when};

/// What to do with triggers.
#[derive(Debug, Subcommand)]
pub(crate) enum TriggersCommand {
    /// Show the triggers there are (not their URLs)
    List,
    /// Show everything of one trigger, as JSON
    Show(Which),
    /// Make a trigger and show its URL
    Create(Box<CreateOptions>),
    /// Show the URL of a trigger of yours; that you did is on record
    Url(Which),
    /// Delete a trigger; its URL is worth nothing at once
    Delete(Which),
    /// Have a trigger take calls again
    Enable(Which),
    /// Have a trigger take no calls until it is enabled
    Disable(Which),
    /// Show what was begun, and what came of it
    History {
        /// Of which trigger, as `list` shows it [default: of all]
        id: Option<String>,
        /// The most that is shown
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

/// A trigger.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its id, as `list` shows it
    id: String,
}

/// What the trigger is to be.
#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// What it calls: a method such as snapshot/create
    #[arg(required_unless_present_any = ["redeploy", "scale_up"])]
    method: Option<String>,
    /// With what, as JSON; `-` reads it from standard input [default: {}]
    #[arg(value_name = "JSON")]
    args: Option<String>,
    /// Make the containers of this service anew
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["method", "scale_up"])]
    redeploy: Option<String>,
    /// Give this service one more container, or as many as the URL's end says
    #[arg(long, value_name = "SERVICE", conflicts_with = "method")]
    scale_up: Option<String>,
    /// What you call it
    #[arg(long, default_value = "")]
    name: String,
    /// Take only what is signed so
    #[arg(long, value_name = "FORMAT", value_parser = ["github", "standard", "stripe", "gitlab-token"])]
    signature: Option<String>,
    /// The secret that the sender has, in a file [default: one is made]
    #[arg(long, value_name = "FILE", requires = "signature")]
    secret_file: Option<PathBuf>,
    /// Only from these networks: 192.0.2.0/24, an address, or local for the unix socket
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    allow_from: Vec<String>,
    /// Only payloads in which this member is so: `/push_data/tag=v*`; may be repeated
    #[arg(long = "match", value_name = "POINTER=PATTERN", value_parser = pair)]
    matching: Vec<(String, String)>,
    /// How long it is good for: 12h, 30d [default: until it is deleted]
    #[arg(long, value_name = "LENGTH", value_parser = when::length)]
    expires: Option<Duration>,
    /// How often it can be called in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_calls: Option<u64>,
    /// Time between two calls that begin something
    #[arg(long, value_name = "LENGTH", value_parser = when::length)]
    min_interval: Option<Duration>,
    /// Calls a minute, on average [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=6000))]
    rate: Option<u32>,
}

impl CreateOptions {
    /// As the wire wants it.
    fn to_json(&self) -> Result<Value, Failure> {
        let mut args = json!({ "action": "create", "name": self.name });
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                args[name] = value;
            }
        };
        match (&self.redeploy, &self.scale_up, &self.method) {
            (Some(service), ..) => {
                put("operation", Some("REDEPLOY".into()));
                put("service", Some(service.as_str().into()));
            }
            (_, Some(service), _) => {
                put("operation", Some("SCALEUP".into()));
                put("service", Some(service.as_str().into()));
            }
            (.., method) => {
                put("method", method.as_deref().map(Value::from));
                put("args", Some(arguments_of(self.args.as_deref())?));
            }
        }
        let seconds = |length: Option<Duration>| length.map(|it| Value::from(it.as_secs()));
        put("signature", self.signature.as_deref().map(Value::from));
        put("secret", self.secret_file.as_deref().map(secret_in).transpose()?);
        put("expires_s", seconds(self.expires));
        put("min_interval_s", seconds(self.min_interval));
        put("max_calls", self.max_calls.map(Value::from));
        put("rate_per_min", self.rate.map(Value::from));
        if !self.allow_from.is_empty() {
            put("allow_from", Some(json!(self.allow_from)));
        }
        if !self.matching.is_empty() {
            let pairs: BTreeMap<_, _> = self.matching.iter().cloned().collect();
            put("match", Some(json!(pairs)));
        }
        Ok(args)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (pointer, pattern) = text.split_once('=').ok_or("expected /pointer=pattern")?;
    Ok((pointer.to_owned(), pattern.to_owned()))
}

fn secret_in(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::File, format!("cannot read {}: {error}", path.display()))
    })?;
    Ok(text.trim_end_matches(['\n', '\r']).into())
}

/// Runs the command.
pub(crate) async fn run(
    command: TriggersCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let create = match &command {
        TriggersCommand::Create(options) => Some(options.to_json()?),
        _ => None,
    };
    let (mut client, _) = Client::open(target).await?;
    let mut call = async |args| client.call::<Value>("rpc", "triggers", args).await;
    let (action, id) = match command {
        TriggersCommand::Create(_) => {
            return created(style, &call(create.unwrap_or_default()).await?);
        }
        TriggersCommand::List => {
            let triggers = call(json!({"action": "list"})).await?;
            return output::table(style, &triggers, "triggers", &COLUMNS);
        }
        TriggersCommand::History { id, limit } => {
            let mut args = json!({"action": "history", "limit": limit});
            if let Some(id) = id {
                args["id"] = id.into();
            }
            return output::table(style, &call(args).await?, "runs", &RUNS);
        }
        TriggersCommand::Show(Which { id }) => {
            return output::value(
                style,
                &call(json!({"action": "get", "id": id})).await?["trigger"],
            );
        }
        TriggersCommand::Url(Which { id }) => ("reveal", id),
        TriggersCommand::Delete(Which { id }) => ("delete", id),
        TriggersCommand::Enable(Which { id }) => ("enable", id),
        TriggersCommand::Disable(Which { id }) => ("disable", id),
    };
    let answer = call(json!({ "action": action, "id": id })).await?;
    match action {
        _ if style.json => output::value(style, &answer),
        "reveal" => output::line(&output::text(&answer["triggers"][0]["url"])),
        "delete" => output::line("deleted"),
        _ => {
            output::table(style, &json!({ "triggers": [answer["trigger"]] }), "triggers", &COLUMNS)
        }
    }
}

/// The URL alone goes to standard output, so that `> file` catches just it.
fn created(style: Style, made: &Value) -> Result<(), Failure> {
    if style.json {
        return output::value(style, made);
    }
    let id = output::text(&made["trigger"]["id"]);
    output::remark(&format!(
        "trigger {id}. Whoever has this path can call it with POST at any address of this daemon:"
    ));
    if let Some(secret) = made["secret"].as_str() {
        output::remark(&format!(
            "Calls must be signed with this secret, which is not shown again: {secret}"
        ));
    }
    output::line(&output::text(&made["url"]))
}

const COLUMNS: [Column; 7] = [
    ("ID", |it| output::text(&it["id"])),
    ("NAME", |it| output::text(&it["name"])),
    ("DOES", does),
    ("OWNER", |it| output::text(&it["owner"])),
    ("SIGNED", |it| output::text(&it["signature"])),
    ("CALLS", |it| output::text(&it["calls"])),
    ("STATE", |it| if it["enabled"] == true { "enabled" } else { "disabled" }.to_owned()),
];

const RUNS: [Column; 7] = [
    ("RUN", |it| output::text(&it["id"])),
    ("TRIGGER", |it| output::text(&it["trigger"])),
    ("STATE", |it| output::text(&it["state"])),
    ("CALLED", |it| output::moment(&output::text(&it["created"]))),
    ("FROM", |it| output::text(&it["peer"])),
    ("JOB", |it| output::text(&it["job"])),
    ("ERROR", |it| output::text(&it["error"]["message"])),
];

/// What a trigger does, on one line.
fn does(trigger: &Value) -> String {
    match (trigger["operation"].as_str(), trigger["args"]["action"].as_str()) {
        (Some(word), _) => format!("{word} {}", output::text(&trigger["service"])),
        (None, Some(action)) => format!("{}:{action}", output::text(&trigger["method"])),
        (None, None) => output::text(&trigger["method"]),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: TriggersCommand,
    }

    fn args(words: &[&str]) -> Result<Value, String> {
        let line = Line::try_parse_from([&["x"], words].concat()).map_err(|it| it.to_string())?;
        match line.command {
            TriggersCommand::Create(options) => options.to_json().map_err(|it| it.message),
            _ => Err("another command".to_owned()),
        }
    }

    #[test]
    fn what_is_wanted_is_what_is_sent() {
        assert_eq!(
            args(&[
                "create",
                "snapshot/create",
                r#"{"dataset":"tank"}"#,
                "--name",
                "n",
                "--match",
                "/push_data/tag=v*",
                "--expires",
                "1h",
                "--max-calls",
                "3"
            ]),
            Ok(json!({"action": "create", "name": "n", "method": "snapshot/create",
                "args": {"dataset": "tank"}, "match": {"/push_data/tag": "v*"}, "expires_s": 3600,
                "max_calls": 3}))
        );
        assert_eq!(
            args(&["create", "--redeploy", "U", "--allow-from", "192.0.2.0/24,local"]),
            Ok(json!({"action": "create", "name": "", "operation": "REDEPLOY", "service": "U",
                "allow_from": ["192.0.2.0/24", "local"]}))
        );
        for wrong in [
            &["create"][..],
            &["create", "a/b", "--redeploy", "U"],
            &["create", "a/b", "{"],
            &["create", "a/b", "--secret-file", "f"],
            &["create", "a/b", "--signature", "md5"],
            &["create", "a/b", "--match", "x"],
        ] {
            assert!(args(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_it_does_is_shown_on_one_line() {
        let show = |trigger: Value| COLUMNS.map(|(_, show)| show(&trigger))[2].clone();
        assert_eq!(show(json!({"operation": "REDEPLOY", "service": "U"})), "REDEPLOY U");
        let run = json!({"method": "rpc/dispatcher", "args": {"action": "run"}});
        assert_eq!(show(run), "rpc/dispatcher:run");
        assert_eq!(show(json!({"method": "snapshot/create", "args": {}})), "snapshot/create");
    }
}
