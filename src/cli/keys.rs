//! `sysadmctl keys`: RSA keys that log users of the daemon's machine in without a password.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{self, Column, Style};
use super::target::Target;

/// More than any public key the daemon takes.
const FILE_BYTES_MAX: u64 = 8 * 1024;
/// Digits of the key's SHA-256 in the table: enough to tell registered keys apart.
const DIGITS: usize = 16;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Show the registered keys that you may see
    List,
    /// Let a key log a user in
    Register(RegisterOptions),
    /// Take that back, and cut what is connected by the key
    Revoke {
        /// The public key, PEM
        file: PathBuf,
        /// Whose it is [default: you]
        #[arg(long)]
        user: Option<String>,
    },
}

/// Which key, of whom.
#[derive(Debug, Args)]
pub(crate) struct RegisterOptions {
    /// The public key, PEM; `openssl pkey -in KEY -pubout` makes it of the private one
    file: PathBuf,
    /// Whose it is, a user of the daemon's machine [default: you]
    #[arg(long)]
    user: Option<String>,
    /// What to call it
    #[arg(long)]
    nickname: Option<String>,
    /// Whom to ask about it
    #[arg(long)]
    email: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(
    command: KeysCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (args, done) = match command {
        KeysCommand::List => return list(target, style).await,
        KeysCommand::Register(RegisterOptions { file, user, nickname, email }) => {
            let pub_key = read(&file)?;
            let args = json!({"action": "register_ssl_cert", "pub_key": pub_key, "user": user,
                "nickname": nickname, "email": email});
            (args, "registered")
        }
        KeysCommand::Revoke { file, user } => {
            let pub_key = read(&file)?;
            (json!({"action": "revoke_ssl_cert", "pub_key": pub_key, "user": user}), "revoked")
        }
    };
    let (mut client, _) = Client::open(target).await?;
    let answer: Value = client.call("rpc", "settings", given(args)).await?;
    if style.json { output::value(style, &answer) } else { output::line(done) }
}

async fn list(target: &Target, style: Style) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let answer: Value = client.call("rpc", "settings", json!({"action": "list_ssl_certs"})).await?;
    if style.json {
        return output::value(style, &answer);
    }
    output::table(style, &json!({ "keys": rows(&answer) }), "keys", &COLUMNS)
}

/// Without what was not given.
fn given(args: Value) -> Value {
    match args {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect())
        }
        other => other,
    }
}

/// The PEM text of a public key as the daemon takes it: base64 in one line.
fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| Failure::file("read", path, &error))?;
    let refuse = |what: &str, hint: &str| {
        Failure::new(Exit::File, format!("{} {what}", path.display())).with_hint(hint)
    };
    // Never on its way to anybody, not even to be refused there.
    if text.contains("PRIVATE KEY-----") {
        let hint = "register the public one; it is made with: openssl pkey -in KEY -pubout";
        return Err(refuse("holds a private key, which must not leave you", hint));
    }
    if !text.contains("-----BEGIN ") {
        let hint = "expected PEM, a text that begins with -----BEGIN PUBLIC KEY-----";
        return Err(refuse("holds no public key", hint));
    }
    Ok(STANDARD.encode(text))
}

/// The classic answer (user to key to three lines of text) as a list.
fn rows(answer: &Value) -> Vec<Value> {
    let users = answer.as_object().into_iter().flatten();
    let keys = users.flat_map(|(user, keys)| {
        keys.as_object().into_iter().flatten().map(move |key| (user, key))
    });
    let row = |(user, (key, told)): (&String, (&String, &Value))| {
        let mut row = Map::from_iter([("user".to_owned(), json!(user))]);
        row.insert("sha256".to_owned(), digest(key).into());
        for line in told.as_str().unwrap_or_default().lines() {
            if let Some((name, value)) = line.split_once(": ") {
                row.insert(name.to_owned(), value.into());
            }
        }
        Value::Object(row)
    };
    keys.map(row).collect()
}

/// The first digits of what `sha256sum` says of the key's file, as OpenSSL writes it.
fn digest(key: &str) -> Option<String> {
    let pem = STANDARD.decode(key).ok()?;
    let mut digits = Sha256::digest(pem).iter().fold(String::new(), |mut digits, byte| {
        // A `String` takes everything that is written to it.
        write!(digits, "{byte:02x}").ok();
        digits
    });
    digits.truncate(DIGITS);
    Some(digits)
}

const COLUMNS: [Column; 5] = [
    ("USER", |key| output::text(&key["user"])),
    ("NICKNAME", |key| output::text(&key["Nickname"])),
    ("EMAIL", |key| output::text(&key["Email"])),
    ("REGISTERED", |key| output::moment(&output::text(&key["Date Registered"]))),
    ("SHA256", |key| output::text(&key["sha256"])),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";

    #[tokio::test]
    async fn a_key_goes_as_base64_of_its_text() {
        let fake = Fake::new();
        let file = fake.folder.path().join("key.pem");
        std::fs::write(&file, PEM).unwrap();
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("rpc/settings").await;
            let sent = json!({"action": "register_ssl_cert", "pub_key": STANDARD.encode(PEM),
                "user": "ann"});
            assert_eq!(request["args"], sent);
            visitor.answer(&request, json!({})).await;
        };
        let options =
            RegisterOptions { file, user: Some("ann".to_owned()), nickname: None, email: None };
        let target = fake.target();
        let style = Style { json: false, colour: false };
        let ((), done) = tokio::join!(script, run(KeysCommand::Register(options), &target, style));
        done.unwrap();
    }

    #[test]
    fn a_private_key_stays_here() {
        let folder = crate::cli::fake::Folder::new();
        let file = folder.path().join("key");
        assert_eq!(read(&file).unwrap_err().exit, Exit::File, "there is no file");
        for text in [PEM.replace("PUBLIC", "PRIVATE"), PEM.replace("PUBLIC", "RSA PRIVATE")] {
            std::fs::write(&file, text).unwrap();
            let failure = read(&file).unwrap_err();
            assert!(failure.message.contains("private"), "{failure}");
        }
        std::fs::write(&file, "ssh-rsa AAAA").unwrap();
        assert!(read(&file).unwrap_err().message.contains("no public key"));
    }

    #[test]
    fn the_classic_list_becomes_rows() {
        let key = STANDARD.encode(PEM);
        let told = "Nickname: laptop\nEmail: \nDate Registered: 2026-11-22T10:00:00.000000Z";
        let rows = rows(&json!({"ann": { key: told }}));
        assert_eq!(rows.len(), 1);
        let shown = COLUMNS.map(|(_, show)| show(&rows[0]));
        assert_eq!(shown[..4], ["ann", "laptop", "-", "2026-11-22 10:00:00.000Z"]);
        assert_eq!(shown[4].len(), DIGITS);
    }
}
