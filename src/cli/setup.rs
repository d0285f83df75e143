//! `sysadmctl setup`: what is left to decide when the package is there. The first administrator's
//! token, shown once; where the daemon listens, with which certificate, and who is admin.
//!
//! What is not said with an option is asked for on a terminal, and left as it is everywhere else. A
//! changed configuration is checked by `sysadmd --check` before it takes the place of the old one.

mod ask;
mod settings;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Group;
use serde_json::{Value, json};

use super::client::{Client, Hello};
use super::exit::{Exit, Failure};
use super::output::{self, Style};
use super::service;
use super::target::{Connection, Target};

/// What the token is called.
const TOKEN: &str = "first-administrator";

/// What to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Setup {
    /// Listen here with TLS; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// PEM file with the certificate to use instead of the daemon's own
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Members of this group of the machine are admin, too; may be repeated
    #[arg(long, value_name = "GROUP")]
    admin_group: Vec<String>,
    /// Make no token
    #[arg(long)]
    no_token: bool,
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/sysadmd/sysadmd.toml")]
    config: PathBuf,
}

impl Setup {
    /// Whether nothing of the configuration is to be changed.
    fn leaves_settings(&self) -> bool {
        self.listen.is_empty() && self.certificate.is_none() && self.admin_group.is_empty()
    }
}

/// Runs the command.
pub(crate) async fn run(
    setup: &Setup,
    connection: &Connection,
    style: Style,
) -> Result<(), Failure> {
    let mut setup = setup.clone();
    let on_terminal = io::stdin().is_terminal() && io::stderr().is_terminal() && !style.json;
    if setup.leaves_settings() && on_terminal {
        ask::fill(&mut setup, &mut io::stdin().lock(), &mut io::stderr())?;
    }
    let changed = !setup.leaves_settings();
    if changed {
        change(&setup)?;
    }
    let (mut client, hello) = Client::open(&Target::choose(connection)?).await?;
    let token = if setup.no_token { None } else { first_token(&mut client).await? };
    tell(style, &hello, token.as_ref(), changed)
}

/// Makes the token, unless somebody has one with which all can be done.
async fn first_token(client: &mut Client) -> Result<Option<Value>, Failure> {
    let listed: Value = client.call("rpc", "tokens", json!({"action": "list"})).await?;
    let mut tokens = listed["tokens"].as_array().into_iter().flatten();
    if tokens.any(|token| token["role"] == "admin") {
        return Ok(None);
    }
    let args = json!({"action": "create", "name": TOKEN, "role": "admin"});
    client.call("rpc", "tokens", args).await.map(Some)
}

/// The token alone goes to standard output.
fn tell(style: Style, hello: &Hello, token: Option<&Value>, changed: bool) -> Result<(), Failure> {
    if style.json {
        let secret = token.map(|token| &token["token"]);
        return output::value(
            style,
            &json!({"hostname": hello.hostname, "version": hello.version,
                "fingerprint": hello.fingerprint, "token": secret, "changed": changed}),
        );
    }
    output::remark(&format!("sysadmd {} runs on {}", hello.version, hello.hostname));
    if let Some(fingerprint) = &hello.fingerprint {
        output::remark(&format!("its certificate has the SHA-256 {fingerprint}"));
    }
    if changed {
        output::remark(&format!(
            "the configuration is changed; to use it: {}",
            service::command("restart")
        ));
    }
    let Some(token) = token else {
        output::remark("an administrator has a token; another: sysadmctl tokens create");
        return Ok(());
    };
    output::remark("the first administrator's token. Keep it now: it is not shown again.");
    output::line(&output::text(&token["token"]))
}

/// Puts what was decided into the configuration, if the daemon would take it.
fn change(setup: &Setup) -> Result<(), Failure> {
    for group in &setup.admin_group {
        if !matches!(Group::from_name(group), Ok(Some(_))) {
            return Err(Failure::usage(format!("there is no group {group} on this machine"))
                .with_hint(format!("groupadd --system {group}")));
        }
    }
    let path = &setup.config;
    let old =
        fs::read_to_string(path).map_err(|error| Failure::file("cannot read", path, &error))?;
    let new = settings::edited(&old, setup)
        .map_err(|why| Failure::new(Exit::File, format!("{}: {why}", path.display())))?;
    let draft = path.with_extension("toml.new");
    let put = write(&draft, path, &new)
        .map_err(|error| Failure::file("cannot write", &draft, &error))
        .and_then(|()| check(&draft))
        .and_then(|()| {
            fs::rename(&draft, path).map_err(|error| Failure::file("cannot replace", path, &error))
        });
    if put.is_err() {
        // It is of no use to anybody; there may be none.
        fs::remove_file(&draft).ok();
    }
    put
}

/// With the mode of the file it is to replace.
fn write(draft: &Path, like: &Path, text: &str) -> io::Result<()> {
    let mode = fs::metadata(like)?.permissions().mode();
    // One that was left there has a mode of its own, or leads elsewhere.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file: File = options.write(true).create_new(true).mode(mode & 0o7777).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Has the daemon's own program read it.
fn check(draft: &Path) -> Result<(), Failure> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("sysadmd"));
    let program = beside.filter(|it| it.exists()).unwrap_or_else(|| "/usr/sbin/sysadmd".into());
    let output = Command::new(&program).arg("--check").arg("--config").arg(draft).output();
    let output = output.map_err(|error| Failure::file("cannot start", &program, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.trim().trim_start_matches("sysadmd: ");
    Err(Failure::new(Exit::Failed, format!("nothing was changed: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Folder};

    #[tokio::test]
    async fn the_token_is_made_once() {
        let fake = Fake::new();
        let script = async {
            for (there, makes) in
                [(json!([{"role": "viewer"}]), true), (json!([{"role": "admin"}]), false)]
            {
                let mut visitor = fake.accept().await;
                let list = visitor.request("rpc/tokens").await;
                visitor.answer(&list, json!({ "tokens": there })).await;
                if makes {
                    let create = visitor.request("rpc/tokens").await;
                    assert_eq!(create["args"]["role"], "admin");
                    visitor.answer(&create, json!({"token": "sad_x"})).await;
                }
            }
        };
        let target = fake.target();
        let ask = async {
            let mut tokens = Vec::new();
            for _ in 0..2 {
                let (mut client, _) = Client::open(&target).await.unwrap();
                tokens.push(first_token(&mut client).await.unwrap());
            }
            assert_eq!(tokens, [Some(json!({"token": "sad_x"})), None]);
        };
        tokio::join!(script, ask);
    }

    #[test]
    fn a_group_that_is_not_there_changes_nothing() {
        let folder = Folder::new();
        let config = folder.path().join("sysadmd.toml");
        fs::write(&config, "# mine\n").unwrap();
        let setup = Setup {
            admin_group: vec!["no-such-group".to_owned()],
            config: config.clone(),
            ..Setup::default()
        };
        assert_eq!(change(&setup).unwrap_err().exit, Exit::Usage);
        assert_eq!(fs::read_to_string(config).unwrap(), "# mine\n");
    }

    #[test]
    fn what_is_written_has_the_mode_of_what_it_replaces() {
        let folder = Folder::new();
        let (old, new) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&old, "").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
        let elsewhere = folder.path().join("c");
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &new).unwrap();
        write(&new, &old, "x = 1\n").unwrap();
        let made = fs::symlink_metadata(&new).unwrap();
        assert!(made.is_file() && made.permissions().mode() & 0o777 == 0o640);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "");
    }
}
