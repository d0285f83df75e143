//! `sysadmctl sessions`: who is logged in on the web, and ending that.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Show the sessions there are
    List,
    /// End a session, or all of a user, at once
    Revoke(Which),
}

/// One session, or all of somebody.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Its id, as `list` shows it
    id: Option<String>,
    /// Every session of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(
    command: SessionsCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let mut call = async |args| client.call::<Value>("rpc", "sessions", args).await;
    let which = match command {
        SessionsCommand::List => {
            let sessions = call(json!({"action": "list"})).await?;
            return output::table(style, &sessions, "sessions", &COLUMNS);
        }
        SessionsCommand::Revoke(Which { id: Some(id), .. }) => {
            json!({"action": "revoke", "id": id})
        }
        SessionsCommand::Revoke(Which { user, .. }) => json!({"action": "revoke", "user": user}),
    };
    let done = call(which).await?;
    if style.json {
        return output::value(style, &done);
    }
    output::line(&format!("sessions ended: {}", output::clean(&output::text(&done["revoked"]))))
}

const COLUMNS: [Column; 5] = [
    ("ID", |session| output::text(&session["id"])),
    ("WHO", |session| output::text(&session["who"])),
    ("FROM", |session| output::text(&session["peer"])),
    ("SINCE", |session| output::moment(&output::text(&session["created"]))),
    ("USED", |session| output::moment(&output::text(&session["used"]))),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    #[tokio::test]
    async fn one_session_or_all_of_a_user_are_ended() {
        let fake = Fake::new();
        let asked = [
            (
                Which { id: Some("s".to_owned()), user: None },
                json!({"action": "revoke", "id": "s"}),
            ),
            (
                Which { id: None, user: Some("ann".to_owned()) },
                json!({"action": "revoke", "user": "ann"}),
            ),
        ];
        let target = fake.target();
        for (which, args) in asked {
            let script = async {
                let mut visitor = fake.accept().await;
                let request = visitor.request("rpc/sessions").await;
                assert_eq!(request["args"], args);
                visitor.answer(&request, json!({"revoked": 2})).await;
            };
            let style = Style { json: false, colour: false };
            let ((), done) =
                tokio::join!(script, run(SessionsCommand::Revoke(which), &target, style));
            done.unwrap();
        }
    }
}
