//! `sysadmctl deprecations`: who still uses what is on its way out.

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;

/// Which of them.
#[derive(Debug, Args)]
pub(crate) struct Deprecations {
    /// Only clients of this name
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(
    command: Deprecations,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let args = json!({"client": command.client});
    let report = client.call::<Value>("rpc", "deprecations", args).await?;
    if !style.json && report["uses"].as_array().is_some_and(Vec::is_empty) {
        let since = output::moment(&output::text(&report["since"]));
        output::remark(&format!("nobody has used anything that is on its way out since {since}"));
        return Ok(());
    }
    output::table(style, &report, "uses", &COLUMNS)
}

const COLUMNS: [Column; 8] = [
    ("WHAT", |used| output::text(&used["what"])),
    ("WHO", |used| output::text(&used["principal"])),
    ("CLIENT", |used| {
        let (name, version) = (output::text(&used["client"]), output::text(&used["version"]));
        format!("{name} {version}").trim().to_owned()
    }),
    ("FACE", |used| output::text(&used["face"])),
    ("TIMES", |used| output::text(&used["count"])),
    ("LAST", |used| output::moment(&output::text(&used["last"]))),
    ("GONE FROM", |used| output::text(&used["deprecated"]["until"])),
    ("INSTEAD", |used| output::text(&used["deprecated"]["instead"])),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    #[tokio::test]
    async fn a_client_is_asked_for_by_its_name() {
        let fake = Fake::new();
        let target = fake.target();
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("rpc/deprecations").await;
            assert_eq!(request["args"], json!({"client": "gui"}));
            let used = json!({"what": "kit/echo", "principal": "local:root", "count": 2});
            visitor
                .answer(&request, json!({"since": "2026-01-01T00:00:00Z", "uses": [used]}))
                .await;
        };
        let style = Style { json: false, colour: false };
        let command = Deprecations { client: Some("gui".to_owned()) };
        let ((), done) = tokio::join!(script, run(command, &target, style));
        done.unwrap();
    }
}
