//! `sysadmctl support-bundle`: what somebody who is to help needs to see, in one archive, and nothing
//! that is secret.
//!
//! Secrets are not searched for and removed: only what holds none is taken. Of events that is all but
//! their data; of what the configuration tells plugins and receivers, the keys without their values.

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use toml::{Table, Value as Setting};

use super::client::Client;
use super::doctor::{self, Doctor};
use super::exit::Failure;
use super::output;
use super::target::{Connection, Target};

/// Events that are taken along: the newest.
const EVENTS: u64 = 1000;
/// Lines of the journal that are taken along: the newest.
const LINES: &str = "2000";
/// What of the configuration is shown with its values. Of everything else, also of what a later version
/// adds, the keys alone: what plugins and receivers are told may be anything.
const SHOWN: [&str; 10] = [
    "access",
    "audit",
    "jobs",
    "limits",
    "listen",
    "listen_plain",
    "log",
    "roles",
    "state_dir",
    "tls",
];
/// What stands in the place of a value.
const REMOVED: &str = "(left out)";

/// Where it goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Bundle {
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE", default_value = "sysadmd-support.tar")]
    out: PathBuf,
    #[command(flatten)]
    doctor: Doctor,
}

/// Runs the command.
pub(crate) async fn run(bundle: &Bundle, connection: &Connection) -> Result<(), Failure> {
    let findings = doctor::findings(&bundle.doctor, connection).await?;
    let mut parts = vec![
        ("doctor.json", pretty(&findings)),
        ("configuration.toml", configuration(bundle.doctor.config())),
        ("journal.txt", said("/usr/bin/journalctl", &["-u", "sysadmd", "-n", LINES, "--no-pager"])),
        ("service.txt", said("/usr/bin/systemctl", &["status", "sysadmd", "--no-pager", "--full"])),
        ("kernel.txt", said("/usr/bin/uname", &["-a"])),
        ("os-release.txt", fs::read_to_string("/etc/os-release").unwrap_or_default()),
    ];
    parts.extend(of_daemon(&Target::choose(connection)?).await);
    write(&bundle.out, &parts)
        .map_err(|error| Failure::file("cannot write", &bundle.out, &error))?;
    output::line(&output::clean(&bundle.out.display().to_string()))
}

/// What the daemon says; when it does not answer, that.
async fn of_daemon(target: &Target) -> Vec<(&'static str, String)> {
    let mut client = match Client::open(target).await {
        Ok((client, _)) => client,
        Err(failure) => return vec![("daemon.txt", failure.message)],
    };
    let list = json!({"action": "list"});
    let newest = json!({"limit": EVENTS, "newest_first": true});
    let asked = [
        ("daemon.json", "rpc", "hello", json!({})),
        ("metrics.json", "rpc", "metrics", json!({})),
        ("plugins.json", "rpc", "plugins", list.clone()),
        ("sinks.json", "rpc", "sinks", list),
        ("events.json", "events", "list", newest),
    ];
    let mut parts = Vec::new();
    for (name, namespace, method, args) in asked {
        let text = match client.call::<Value>(namespace, method, args).await {
            Ok(answer) => pretty(&without_data(answer)),
            Err(failure) => failure.message,
        };
        parts.push((name, text));
    }
    parts
}

fn without_data(mut answer: Value) -> Value {
    for event in answer["events"].as_array_mut().into_iter().flatten() {
        if let Some(event) = event.as_object_mut() {
            event.remove("data");
        }
    }
    answer
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// What a program prints; that it cannot be started is as good to know.
fn said(program: &str, args: &[&str]) -> String {
    match Command::new(program).args(args).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => format!("{program}: {error}\n"),
    }
}

fn configuration(path: &Path) -> String {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return format!("# {}: {error}\n", path.display()),
    };
    // Neither the text nor what is wrong with it: both may hold a secret.
    let Ok(table) = text.parse::<Table>() else { return "# it is no TOML\n".to_owned() };
    let shown = table.into_iter().map(|(name, value)| {
        let is_shown = SHOWN.contains(&name.as_str());
        (name, if is_shown { value } else { removed(value) })
    });
    shown.collect::<Table>().to_string()
}

/// The same keys without their values.
fn removed(value: Setting) -> Setting {
    match value {
        Setting::Table(table) => {
            Setting::Table(table.into_iter().map(|(name, value)| (name, removed(value))).collect())
        }
        _ => Setting::String(REMOVED.to_owned()),
    }
}

fn write(out: &Path, parts: &[(&str, String)]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out)?;
    let mut archive = tar::Builder::new(file);
    for (name, text) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("sysadmd-support/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Folder;

    #[test]
    fn of_the_configuration_the_keys_are_shown_and_what_may_be_secret_is_not() {
        let folder = Folder::new();
        let file = folder.path().join("sysadmd.toml");
        let text = "listen = [\"127.0.0.1:1\"]\n[sinks.chat]\nurl = \"https://u:xyzzy@h/xyzzy\"\n\
            [plugins.config.mail]\npassword = \"xyzzy\"\nlist = [\"xyzzy\"]\n\
            [later]\nkey = \"xyzzy\"\nsome = [{ more = \"xyzzy\" }]\n";
        fs::write(&file, text).unwrap();
        let shown = configuration(&file);
        assert!(shown.contains("127.0.0.1:1") && shown.contains("password"), "{shown}");
        assert!(!shown.contains("xyzzy"), "{shown}");
        fs::write(&file, "password = xyzzy").unwrap();
        assert!(!configuration(&file).contains("xyzzy"));
    }

    #[test]
    fn events_go_without_their_data() {
        let answer = json!({"events": [{"message": "m", "data": {"token": "xyzzy"}}], "head": 1});
        let shown = without_data(answer);
        assert_eq!(shown, json!({"events": [{"message": "m"}], "head": 1}));
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = Folder::new();
        let out = folder.path().join("bundle.tar");
        write(&out, &[("a.txt", "text".to_owned())]).unwrap();
        assert!(write(&out, &[]).is_err());
    }
}
