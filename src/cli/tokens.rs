//! `sysadmctl tokens`: who may come in without a password.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;
use super::when;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a token; it is shown this once
    Create {
        /// What it is for, such as backup-script
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long, value_parser = ["viewer", "operator", "admin"])]
        role: String,
        /// How long it is good for: 12h, 30d, 52w [default: until it is revoked]
        #[arg(long, value_name = "LENGTH", value_parser = when::length)]
        expires: Option<Duration>,
    },
    /// Show the tokens there are (never the secrets)
    List,
    /// End a token at once, with every connection that uses it
    Revoke {
        /// Its id, as `list` shows it
        id: String,
    },
}

/// Runs the command.
pub(crate) async fn run(
    command: TokensCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let mut call = async |args| client.call::<Value>("rpc", "tokens", args).await;
    match command {
        TokensCommand::Create { name, role, expires } => {
            let mut args = json!({"action": "create", "name": name, "role": role});
            if let Some(expires) = expires {
                args["expires_s"] = json!(expires.as_secs());
            }
            created(style, &call(args).await?)
        }
        TokensCommand::List => {
            let tokens = call(json!({"action": "list"})).await?;
            output::table(style, &tokens, "tokens", &COLUMNS)
        }
        TokensCommand::Revoke { id } => {
            let revoked = call(json!({"action": "revoke", "id": id})).await?;
            if style.json { output::value(style, &revoked) } else { output::line("revoked") }
        }
    }
}

/// The token alone goes to standard output, so that `> file` catches just it.
fn created(style: Style, token: &Value) -> Result<(), Failure> {
    if style.json {
        return output::value(style, token);
    }
    let until = match &token["expires"] {
        Value::Null => "until it is revoked".to_owned(),
        expires => format!("until {}", output::moment(&output::text(expires))),
    };
    output::remark(&format!(
        "token {} with role {}, good {until}. Keep it now: it is not shown again.",
        output::text(&token["id"]),
        output::text(&token["role"]),
    ));
    output::line(&output::text(&token["token"]))
}

const COLUMNS: [Column; 5] = [
    ("ID", |token| output::text(&token["id"])),
    ("NAME", |token| output::text(&token["name"])),
    ("ROLE", |token| output::text(&token["role"])),
    ("CREATED", |token| output::moment(&output::text(&token["created"]))),
    ("EXPIRES", |token| match &token["expires"] {
        Value::Null => "never".to_owned(),
        expires => output::moment(&output::text(expires)),
    }),
];
