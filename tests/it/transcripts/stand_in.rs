//! `replay-server`, which stands in for a daemon: every client that keeps to its script is answered,
//! and one that does not is told where it departed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use kit::client::{SysAdmClient, Target};
use kit::plugins::workspace_program;
use kit::transcript::{Conversation, Names};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::play::Play;
use super::stage::Stage;
use super::{paths, root};
use crate::harness::PATIENCE;

/// The program, and where it serves each conversation.
struct StandIn {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    served: BTreeMap<String, Value>,
    certificate: Option<String>,
}

impl StandIn {
    async fn start(arguments: &[&str]) -> Self {
        let program =
            tokio::task::spawn_blocking(|| workspace_program("sysadmd-kit", "replay-server"));
        let mut command = Command::new(program.await.unwrap());
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut served, mut certificate) = (BTreeMap::new(), None);
        loop {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it is ready in time");
            let said: Value = serde_json::from_str(&line.unwrap().expect("it is ready")).unwrap();
            if said["ready"] == true {
                return Self { child, lines, served, certificate };
            }
            if let Some(name) = said["conversation"].as_str() {
                served.insert(name.to_owned(), said.clone());
            }
            certificate = said["certificate"].as_str().map(str::to_owned).or(certificate);
        }
    }

    fn address(&self, name: &str) -> SocketAddr {
        let url = self.served[name]["url"].as_str().unwrap();
        url.split_once("//").unwrap().1.parse().unwrap()
    }

    fn names(&self, name: &str) -> Names {
        let mut names = Names::default();
        for (name, value) in self.served[name]["names"].as_object().unwrap() {
            names.set(name, value.as_str().unwrap());
        }
        names
    }

    /// Waits for its end: the exit status, what it reported, and what it complained of.
    async fn end(mut self) -> (ExitStatus, Vec<Value>, String) {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").unwrap();
        let mut said = Vec::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            said.push(serde_json::from_str(&line).unwrap());
        }
        let mut complaints = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut complaints).await.unwrap();
        (status, said, complaints)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conversation_can_be_had_without_a_daemon() {
    let folder = root().to_string_lossy().into_owned();
    let stand_in = StandIn::start(&["--once", "--tls", &folder]).await;
    let mut differences = Vec::new();
    let all: Vec<Conversation> =
        paths("", "jsonl").iter().map(|path| Conversation::read(path).unwrap()).collect();
    assert_eq!(stand_in.served.len(), all.len());
    for conversation in &all {
        let name = conversation.name();
        let (address, names) = (stand_in.address(&name), stand_in.names(&name));
        let mut play = Play::on(Stage::script(address, names, &conversation.needs));
        if let Err(differs) = play.have(conversation).await {
            differences.push(differs);
        }
    }
    let (status, said, complaints) = stand_in.end().await;
    assert!(differences.is_empty(), "{}\n{complaints}", differences.join("\n"));
    let had = said.iter().filter(|line| line["had"].is_string()).count();
    assert!(status.success(), "{complaints}");
    assert_eq!(had, all.len(), "{said:?}");
}

#[tokio::test]
async fn a_client_that_departs_is_told_where() {
    let file = root().join("sysadm-v1/fire-needs-a-user-class.jsonl");
    let file = file.to_string_lossy().into_owned();
    let stand_in = StandIn::start(&["--once", &file]).await;
    let name = "sysadm-v1/fire-needs-a-user-class";
    let token = stand_in.names(name).fill("$OPERATOR");
    let target = Target::Plain { addr: stand_in.address(name), token: Some(token) };
    let mut client = SysAdmClient::connect(target).await.expect("the login is in the script");
    client.send("events", "fire", json!({"class": "user.note", "message": "too early"})).await;
    let (code, reason) = client.closed().await;
    assert_eq!(code, 4000);
    let expected = format!("{file}:6: /args/class: expected");
    assert!(expected.starts_with(&reason) || reason.starts_with(&expected), "{reason}");
    drop(client);
    let (status, said, complaints) = stand_in.end().await;
    assert_eq!(status.code(), Some(1));
    let whole = format!("{expected} \"snapshot.created\", got \"user.note\"");
    assert_eq!(complaints.trim(), whole);
    assert_eq!(said, [json!({"departed": name, "at": whole})]);
}

/// What a stranger's program does, with the certificate it was told to believe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_has_a_conversation_over_rest() {
    let file = root().join("sysadm-v1/rest-who-asks.jsonl").to_string_lossy().into_owned();
    let stand_in = StandIn::start(&["--once", "--tls", &file]).await;
    let name = "sysadm-v1/rest-who-asks";
    let certificate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(certificate.path(), stand_in.certificate.as_ref().unwrap()).unwrap();
    let url = format!("https://{}", stand_in.address(name));
    let token = stand_in.names(name).fill("$TOKEN");
    let curl = async |words: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--noproxy", "*", "--write-out", " %{http_code}", "--cacert"]);
        let output = command.arg(certificate.path()).args(words).output();
        let output = timeout(PATIENCE, output).await.expect("curl ends");
        let output = output.expect("curl (apt-get install -y --no-install-recommends curl)");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let query = format!("{url}/rpc/query");
    assert!(curl(&[&query]).await.ends_with(" 401"));
    assert!(curl(&["--user", "any:wrong", &query]).await.ends_with(" 401"));
    let echo = format!("{url}/kit/echo");
    let user = format!("any:{token}");
    let said = curl(&["--user", &user, "--data", r#"{"n": 1}"#, &echo]).await;
    assert_eq!(said, "{\"args\":{\"n\":1}} 200");
    let bearer = format!("Authorization: Bearer {token}");
    let said = curl(&["-H", &bearer, "--data", r#"{ "args": [1, 2] }"#, &echo]).await;
    assert_eq!(said, "{\"args\":[1,2]} 200");
    let (status, said, complaints) = stand_in.end().await;
    assert!(status.success(), "{complaints}");
    assert_eq!(said, [json!({"had": name})]);
}
