//! `sysadmctl` and `sysadmd --check` as people start them: a confined token from its making to its
//! end, an audit trail that somebody altered, and jobs.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::{Site, binary};

/// What a program said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

async fn said(command: &mut Command) -> Said {
    let output = command.output().await.expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    Said { code: output.status.code().expect("a number"), out, err }
}

/// `sysadmctl` with these arguments, as the administrator on the unix socket.
async fn ctl(socket: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysadmctl"));
    said(command.env_remove("SYSADMD_TOKEN").arg("--socket").arg(socket).args(args)).await
}

/// What it prints; it must succeed.
pub(crate) async fn done(socket: &Path, args: &[&str]) -> String {
    let said = ctl(socket, args).await;
    assert_eq!(said.code, 0, "{args:?}: {said:?}");
    said.out
}

async fn check(site: &Site) -> Said {
    let config = site.path().join("sysadmd.toml");
    std::fs::write(&config, site.toml()).unwrap();
    let mut command = Command::new(binary());
    command.arg("--check").arg("--config").arg(&config).arg("--state-dir").arg(site.path());
    said(&mut command).await
}

#[tokio::test]
async fn a_confined_token_lives_and_dies_by_the_command_line() {
    let running = Site::new().start().await;
    let socket = running.socket.clone();
    let made = done(
        &socket,
        &[
            "--json",
            "tokens",
            "create",
            "--name",
            "ci",
            "--role",
            "operator",
            "--expires",
            "1h",
            "--methods",
            "events/fire,events/list",
            "--sources",
            "local",
            "--rate",
            "50",
        ],
    )
    .await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let (id, first) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let listed = done(&socket, &["tokens", "list"]).await;
    assert!(listed.contains("methods=events/fire,events/list sources=local 50/s"), "{listed}");

    done(&socket, &["--token", first, "events", "fire", "by the token"]).await;
    let refused = ctl(&socket, &["--token", first, "plugins", "list"]).await;
    assert_eq!(refused.code, 77, "{refused:?}");

    let second = done(&socket, &["tokens", "rotate", id]).await;
    let ended = ctl(&socket, &["--token", first, "events", "list"]).await;
    assert_eq!(ended.code, 77, "{ended:?}");
    done(&socket, &["--token", second.trim(), "events", "fire", "by its new secret"]).await;
    done(&socket, &["tokens", "revoke", id]).await;
    let ended = ctl(&socket, &["--token", second.trim(), "events", "list"]).await;
    assert_eq!(ended.code, 77, "{ended:?}");

    let listed = done(&socket, &["audit", "list", "--method", "rpc/tokens:*"]).await;
    for action in ["create", "rotate", "revoke"] {
        assert!(listed.contains(&format!("rpc/tokens:{action}")), "{action}: {listed}");
    }
    let exported = done(&socket, &["audit", "export"]).await;
    let numbers: Vec<u64> = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    let all: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, all, "every record, in order");
    for secret in [first, second.trim()] {
        assert!(!exported.contains(secret), "a secret is in the trail");
    }
    let roles = done(&socket, &["roles"]).await;
    assert!(["viewer", "operator", "admin"].iter().all(|role| roles.contains(role)), "{roles}");
    running.stop().await;
}

#[tokio::test]
async fn an_altered_audit_record_is_named_by_both_programs() {
    let running = Site::new().start().await;
    let socket = running.socket.clone();
    for message in ["one", "two", "three"] {
        done(&socket, &["events", "fire", message]).await;
    }
    let head = done(&socket, &["audit", "head"]).await;
    let intact = done(&socket, &["audit", "verify", "--head", head.trim()]).await;
    assert!(intact.contains(head.trim()), "{intact}");
    let other = format!("1:{}", "0".repeat(64));
    let other = ctl(&socket, &["audit", "verify", "--head", &other]).await;
    assert_eq!(other.code, 65, "{other:?}");

    let site = running.stop().await;
    let intact = check(&site).await;
    assert_eq!(intact.code, 0, "{intact:?}");
    assert!(intact.err.contains("audit trail is intact"), "{intact:?}");
    let db = rusqlite::Connection::open(site.path().join("sysadmd.db")).unwrap();
    let altered = db.execute("UPDATE audit SET actor = 'somebody else' WHERE seq = 2", []).unwrap();
    assert_eq!(altered, 1);
    drop(db);
    let checked = check(&site).await;
    assert_eq!(checked.code, 65, "{checked:?}");
    assert!(checked.err.contains("record 2"), "{checked:?}");

    let running = site.start().await;
    let verified = ctl(&running.socket, &["audit", "verify"]).await;
    assert_eq!(verified.code, 65, "{verified:?}");
    assert!(verified.err.contains("record 2"), "{verified:?}");
    running.stop().await;
}

#[tokio::test]
async fn jobs_are_run_awaited_read_and_done_again_by_the_command_line() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let socket = running.socket.clone();
    let echo = ["jobs", "run", "kit/echo", r#"{"n":7}"#, "--key", "once", "--wait"];
    let first = done(&socket, &echo).await;
    assert!(first.starts_with("kit/echo: done\n") && first.contains("\"n\": 7"), "{first}");
    assert_eq!(done(&socket, &echo).await, first, "the same key is the same job");

    let program = ["/bin/sh", "-c", "printf 'a\\033[2Jb\\n'; exit 3"];
    let run = [&["--json", "jobs", "run", "--lock", "disk", "--"][..], &program].concat();
    let made: Value = serde_json::from_str(&done(&socket, &run).await).unwrap();
    let id = made["job"]["id"].as_str().unwrap();
    assert_eq!(done(&socket, &["jobs", "logs", "-f", id]).await, "a\\u{1b}[2Jb\n");
    let waited = ctl(&socket, &["jobs", "wait", id]).await;
    assert_eq!(waited.code, 1, "{waited:?}");
    assert!(waited.err.contains("the job is failed: "), "{waited:?}");
    let shown: Value =
        serde_json::from_str(&done(&socket, &["--json", "jobs", "show", id]).await).unwrap();
    assert_eq!(shown["result"]["commands"][0]["status"], 3, "{shown}");
    let refused = ctl(&socket, &["jobs", "abort", id]).await;
    assert_eq!((refused.code, refused.out.contains("failed")), (1, true), "{refused:?}");
    let again = done(&socket, &["jobs", "retry", id]).await;
    assert_ne!(again.trim(), id);
    assert_eq!(ctl(&socket, &["jobs", "wait", again.trim()]).await.code, 1);

    let listed = done(&socket, &["jobs", "list"]).await;
    assert_eq!(listed.lines().count(), 4, "a heading and three jobs: {listed}");
    assert!(listed.lines().nth(1).unwrap().contains(again.trim()), "the newest first: {listed}");
    let listed = done(&socket, &["jobs", "list", "--state", "done", "--limit", "1"]).await;
    assert!(listed.contains("kit/echo") && !listed.contains(id), "{listed}");
    for (wrong, code) in [
        (&["jobs", "show", "00000000-0000-0000-0000-000000000000"][..], 1),
        (&["jobs", "wait", "no id"], 1),
        (&["jobs", "run", "kit", "{}"], 1),
        (&["jobs", "run", "kit/echo", "{n:"], 2),
        (&["jobs", "run", "kit/echo", "--", "/bin/true"], 2),
        (&["jobs", "run"], 2),
        (&["jobs", "list", "--state", "asleep"], 2),
    ] {
        let refused = ctl(&socket, wrong).await;
        assert_eq!(refused.code, code, "{wrong:?}: {refused:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn who_follows_a_job_on_the_command_line_outlives_the_daemon() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let socket = running.socket.clone();
    let sleep = ["jobs", "run", "kit/sleep", r#"{"ms":600000}"#];
    let aborted = done(&socket, &sleep).await;
    assert_eq!(ctl(&socket, &["jobs", "abort", aborted.trim()]).await.code, 0);
    let waited = ctl(&socket, &["jobs", "wait", aborted.trim()]).await;
    assert!(waited.code == 1 && waited.err.contains("the job is aborted"), "{waited:?}");

    let script = "echo begun; exec sleep 600";
    let id = done(&socket, &["jobs", "run", "--", "/bin/sh", "-c", script]).await;
    let mut follow = Command::new(env!("CARGO_BIN_EXE_sysadmctl"));
    // Who follows is no process of the daemon's, so nothing of it names the daemon's directory.
    follow.env_remove("SYSADMD_TOKEN").current_dir(socket.parent().unwrap());
    follow.arg("--socket").arg(socket.file_name().unwrap());
    follow.args(["jobs", "logs", "-f", id.trim()]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut follow = follow.spawn().expect("the program starts");
    let mut out = BufReader::new(follow.stdout.take().expect("its output")).lines();
    assert_eq!(out.next_line().await.unwrap().as_deref(), Some("begun"));
    let running = running.restart().await;
    let followed = follow.wait().await.expect("it ends");
    assert_eq!(followed.code(), Some(0), "it has followed the job to its end");
    assert_eq!(out.next_line().await.unwrap(), None, "nothing is shown twice");
    let waited = ctl(&socket, &["jobs", "wait", id.trim()]).await;
    assert_eq!(waited.code, 1, "{waited:?}");
    assert!(waited.err.contains("the job is interrupted"), "{waited:?}");
    running.stop().await;
}
