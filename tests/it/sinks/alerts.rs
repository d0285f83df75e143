//! Sinks that tell people of alerts: over HTTP, through programs; what they are told, and how often.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kit::client::SysAdmClient;
use kit::receiver::{Act, Receiver};
use serde_json::{Value, json};

use super::said;
use crate::harness::{Running, Site, until};

/// A site with the kit and these sinks.
async fn start(sinks: &str) -> (Running, SysAdmClient) {
    let mut site = Site::new().with_kit();
    site.settings = sinks.replace("SITE", &site.path().display().to_string());
    let running = site.start().await;
    running.ready("kit").await;
    let client = running.admin().await;
    (running, client)
}

/// Settings of a sink called `name` at this receiver.
fn http(name: &str, kind: &str, receiver: &Receiver, more: &str) -> String {
    let url = format!("http://{}/canary-topic", receiver.addr);
    format!("[sinks.{name}]\nkind = \"{kind}\"\nurl = \"{url}\"\nretry_max_s = 1\n{more}\n")
}

async fn raise(client: &mut SysAdmClient, subject: &str) -> u64 {
    let raise = json!({"kind": "kit.broken", "subject": subject, "message": "it is broken"});
    let said = client.call("kit", "ring", json!({ "raise": raise })).await.expect("it is raised");
    said["id"].as_u64().expect("a number")
}

async fn clear(client: &mut SysAdmClient, subject: &str) {
    let clear = json!({"kind": "kit.broken", "subject": subject});
    client.call("kit", "ring", json!({ "clear": clear })).await.expect("it is cleared");
}

async fn alerts(client: &mut SysAdmClient, args: Value) -> Value {
    client.call("rpc", "alerts", args).await.expect("it is done")
}

/// What of each alert a receiver was told: the verb, or the type, and the subject.
fn heard(bodies: &[String]) -> Vec<(String, String)> {
    let read = |body: &String| {
        let told: Value = serde_json::from_str(body).expect("JSON");
        let word = told["verb"].as_str().or(told["type"].as_str()).expect("a word").to_owned();
        (word, told["alert"]["subject"].as_str().unwrap_or_default().to_owned())
    };
    bodies.iter().map(read).collect()
}

fn pair(verb: &str, subject: &str) -> (String, String) {
    (verb.to_owned(), subject.to_owned())
}

/// How the sink of this name is.
async fn status(client: &mut SysAdmClient, name: &str) -> Value {
    let answer = client.call("rpc", "sinks", json!({"action": "list"})).await.expect("a list");
    let sinks = answer["sinks"].as_array().expect("sinks").clone();
    sinks.into_iter().find(|sink| sink["name"] == name).expect("it is there")
}

/// A script in the site's directory.
fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it may be run");
    path
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_flaps_is_told_once_and_what_is_silent_never() {
    let (hook, phone) = (Receiver::start(None), Receiver::start(None));
    let (chat, archive) = (Receiver::start(None), Receiver::start(None));
    let classes = "classes = [\"alert.*\"]";
    let sinks = [
        http("hook", "webhook", &hook, ""),
        http("phone", "ntfy", &phone, "recoveries = false"),
        http("chat", "cloudevents", &chat, classes),
        http("archive", "cloudevents", &archive, &format!("{classes}\nalerts = \"all\"")),
    ];
    let (running, mut admin) = start(&sinks.concat()).await;
    let id = raise(&mut admin, "/quiet").await;
    clear(&mut admin, "/quiet").await;
    alerts(&mut admin, json!({"action": "silence", "id": id, "for_s": 3600})).await;
    raise(&mut admin, "/quiet").await;
    clear(&mut admin, "/quiet").await;
    let flapping = json!({"kind": "kit.flapping", "subject": "/f"});
    let flaps = json!({"raise": flapping, "clear": flapping, "n": 40});
    let flaps = admin.call("kit", "ring", flaps).await.expect("it flaps");
    alerts(&mut admin, json!({"action": "close", "id": flaps["id"]})).await;
    raise(&mut admin, "/last").await;
    let expected = [
        pair("raised", "/quiet"),
        pair("cleared", "/quiet"),
        pair("raised", "/f"),
        pair("cleared", "/f"),
        pair("raised", "/last"),
    ];
    until("the webhook has the last", async || hook.taken().len() >= expected.len()).await;
    assert_eq!(heard(&hook.taken()), expected);
    let first = &hook.received()[0];
    assert_eq!(first.header("Content-Type"), Some("application/json"));
    assert!(first.head.starts_with("POST /canary-topic HTTP/1.1\r\n"), "{}", first.head);
    until("the phone has the last", async || phone.taken().len() >= 3).await;
    let texts = phone.taken();
    let told: Vec<Value> = texts.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    assert!(phone.received()[0].head.starts_with("POST / HTTP/1.1\r\n"));
    assert_eq!((told.len(), &told[0]["topic"]), (3, &json!("canary-topic")), "{told:?}");
    assert_eq!(told[0]["tags"], json!(["warning", "kit.broken"]));
    let verbs = |receiver: &Receiver| -> Vec<String> {
        let read = |body: &String| serde_json::from_str::<Value>(body).unwrap();
        let verb = |it: Value| it["data"]["data"]["verb"].as_str().unwrap_or_default().to_owned();
        receiver.taken().iter().map(|body| verb(read(body))).collect()
    };
    until("the chat has the last", async || chat.taken().len() >= expected.len()).await;
    let same: Vec<String> = expected.into_iter().map(|(verb, _)| verb).collect();
    assert_eq!(verbs(&chat), same);
    until("the archive has the last", async || {
        archive.taken().last().is_some_and(|body| body.contains("/last"))
    })
    .await;
    let all = verbs(&archive);
    assert!(all.contains(&"silenced".to_owned()) && all.len() > same.len() + 3, "{all:?}");
    let listed = admin.call("rpc", "sinks", json!({"action": "list"})).await.unwrap();
    assert!(!listed.to_string().contains("canary"), "{listed}");
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn thresholds_are_of_the_kind_of_alert() {
    let (all, some) = (Receiver::start(None), Receiver::start(None));
    let of = "min_priority_of = { \"kit.*\" = 7, \"kit.flapping\" = 9 }\nmin_priority = 10";
    let sinks = http("all", "webhook", &all, "") + &http("some", "webhook", &some, of);
    let (running, mut admin) = start(&sinks).await;
    for (kind, subject, priority) in [
        ("kit.flapping", "/a", 3),
        ("kit.broken", "/b", 6),
        ("kit.broken", "/c", 7),
        ("kit.broken", "/b", 7),
    ] {
        let it = json!({"kind": kind, "subject": subject, "priority": priority, "message": "m"});
        admin.call("kit", "ring", json!({ "raise": it })).await.expect("it is raised");
    }
    clear(&mut admin, "/b").await;
    until("all are told", async || all.taken().len() >= 5).await;
    until("some are told", async || some.taken().len() >= 3).await;
    let expected = [pair("raised", "/c"), pair("worsened", "/b"), pair("cleared", "/b")];
    assert_eq!(heard(&some.taken()), expected);
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_webhook_that_is_away_gets_each_once_and_what_it_never_takes_is_given_up() {
    let hook = Receiver::start(None);
    hook.plan([Act::Answer(503, ""), Act::Cut, Act::Hang, Act::Answer(500, "")]);
    hook.judge(|it| it.body.contains("\"/never\"").then_some(Act::Answer(422, "")));
    let settings = http("hook", "webhook", &hook, "timeout_s = 1\nattempts = 2");
    let (running, mut admin) = start(&settings).await;
    for subject in ["/a", "/never", "/b"] {
        raise(&mut admin, subject).await;
    }
    clear(&mut admin, "/a").await;
    let expected = [pair("raised", "/a"), pair("raised", "/b"), pair("cleared", "/a")];
    until("the last is told", async || hook.taken().len() >= expected.len()).await;
    drop(admin);
    let running = running.restart().await;
    let mut admin = running.admin().await;
    raise_after_restart(&running, &mut admin).await;
    until("what came later is told", async || hook.taken().len() > expected.len()).await;
    let heard = heard(&hook.taken());
    assert_eq!(heard[..3], expected);
    assert_eq!(heard[3..], [pair("raised", "/later")], "once each");
    assert_eq!(said(&mut admin).await, ["sink.failing", "sink.recovered", "sink.dead_letter"]);
    drop(admin);
    running.stop().await;
}

async fn raise_after_restart(running: &Running, admin: &mut SysAdmClient) {
    running.ready("kit").await;
    raise(admin, "/later").await;
}

#[tokio::test]
async fn a_command_reads_the_alert_and_whatever_it_does_nothing_is_lost() {
    let sinks = "[sinks.run]\nkind = \"command\"\ncommand = [\"SITE/run\", \"a 'word'; $HOME\"]\n\
        timeout_s = 1\nretry_max_s = 1\nattempts = 2\n";
    let (running, mut admin) = start(sinks).await;
    let dir = running.site.path().to_path_buf();
    raise(&mut admin, "/a").await;
    until("a missing program is trouble", async || {
        let shown = status(&mut admin, "run").await;
        shown["state"] == "failing" && shown["trouble"].as_str().unwrap().contains("No such file")
    })
    .await;
    let hanging = format!("sleep 3000 & echo $$ >> {0}/hung; exec sleep 3000", dir.display());
    script(&dir, "run", &hanging);
    until("it hangs and is ended", async || lines(&dir.join("hung")).len() >= 2).await;
    let hung: u32 = lines(&dir.join("hung"))[0].parse().expect("a process");
    until("the first is gone", async || !Path::new(&format!("/proc/{hung}")).exists()).await;
    let noisy = "head -c 50000000 /dev/zero; head -c 1000 /dev/zero >&2; exit 3";
    script(&dir, "run", noisy);
    until("its status is trouble", async || {
        let shown = status(&mut admin, "run").await;
        shown["trouble"].as_str().is_some_and(|why| why.contains("status 3"))
    })
    .await;
    let kept = dir.join("kept");
    let keeping = format!(
        "[ \"$1\" = \"a 'word'; \\$HOME\" ] || exit 3\nread -r line\n\
         case \"$line\" in *'\"/never\"'*) exit 65;; esac\necho \"$line\" >> {}",
        kept.display()
    );
    script(&dir, "run", &keeping);
    for subject in ["/never", "/b"] {
        raise(&mut admin, subject).await;
    }
    until("both are kept", async || lines(&kept).len() >= 2).await;
    assert_eq!(heard(&lines(&kept)), [pair("raised", "/a"), pair("raised", "/b")]);
    until("the dead letter is told", async || said(&mut admin).await.len() >= 3).await;
    assert_eq!(said(&mut admin).await, ["sink.failing", "sink.recovered", "sink.dead_letter"]);
    let tested = admin.call("rpc", "sinks", json!({"action": "test", "name": "run"})).await;
    assert_eq!(tested.unwrap()["test"]["status"], 0);
    assert_eq!(heard(&lines(&kept)[2..]), [pair("test", "")]);
    let shown = status(&mut admin, "run").await;
    assert_eq!((&shown["kind"], &shown["state"]), (&json!("command"), &json!("running")));
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_mail_program_gets_the_recipients_as_arguments_and_one_message() {
    let sinks = "[sinks.mail]\nkind = \"mail\"\nto = [\"root\", \"ops@example.org\"]\n\
        sender = \"nas@example.org\"\nsendmail = \"SITE/sendmail\"\nretry_max_s = 1\n";
    let (running, mut admin) = start(sinks).await;
    let dir = running.site.path().to_path_buf();
    // As some mail systems do, it delivers when whoever called it has gone on.
    let taking = format!(
        "echo \"$*\" >> {0}/to; cat > {0}/queued; (sleep 1; mv {0}/queued {0}/message.1) &",
        dir.display()
    );
    script(&dir, "sendmail", &taking);
    let message = "first\nBcc: all@example.org\r\nX: y\n\n.\nlast ü";
    let raise = json!({"kind": "kit.broken", "subject": "/m", "message": message});
    let args = json!({ "raise": raise });
    // Where line ends are refused to begin with, none can reach a mail.
    if admin.call("kit", "ring", args).await.is_err() {
        self::raise(&mut admin, "/m\nBcc: x").await;
    }
    let to = dir.join("to");
    until("it is mailed", async || lines(&to).len() == 1).await;
    assert_eq!(lines(&to), ["-i -f nas@example.org root ops@example.org"]);
    let sent = || {
        let files = fs::read_dir(&dir).expect("the site").flatten().map(|it| it.path());
        let mut sent: Vec<PathBuf> =
            files.filter(|path| path.to_string_lossy().contains("/message.")).collect();
        sent.pop().map(|path| fs::read_to_string(path).expect("a message")).unwrap_or_default()
    };
    until("it is whole", async || sent().ends_with('\n')).await;
    let sent = sent();
    let (head, body) = sent.split_once("\n\n").expect("head and body");
    assert!(head.contains("\nTo: root, ops@example.org\n"), "{head}");
    assert!(head.lines().all(|line| !line.to_lowercase().starts_with("bcc")), "{head}");
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=\n".contains(&b);
    assert!(body.bytes().all(is_base64), "{body}");
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn the_alert_of_a_sink_ends_when_it_is_paused_or_taken_out() {
    let gone = Receiver::start(None);
    gone.judge(|_| Some(Act::Answer(503, "")));
    let (running, mut admin) = start(&http("gone", "webhook", &gone, "")).await;
    raise(&mut admin, "/a").await;
    let open = async |client: &mut SysAdmClient| {
        let listed = alerts(client, json!({"action": "list", "kind": "sink.failing"})).await;
        let alerts = listed["alerts"].as_array().expect("alerts").clone();
        alerts.iter().filter(|alert| alert["state"] == "open").count()
    };
    until("its alert is open", async || open(&mut admin).await == 1).await;
    let order = |action: &str| json!({"action": action, "name": "gone"});
    admin.call("rpc", "sinks", order("pause")).await.expect("it is paused");
    until("a paused one is no alert", async || open(&mut admin).await == 0).await;
    admin.call("rpc", "sinks", order("resume")).await.expect("it goes on");
    until("it is an alert again", async || open(&mut admin).await == 1).await;
    drop(admin);
    let mut site = running.stop().await;
    let sinks = std::mem::take(&mut site.settings);
    let running = site.start().await;
    let mut admin = running.admin().await;
    until("the alert of what is gone ends", async || open(&mut admin).await == 0).await;
    drop(admin);
    let mut site = running.stop().await;
    site.settings = sinks;
    let running = site.start().await;
    let mut admin = running.admin().await;
    until("it comes back and still fails", async || open(&mut admin).await == 1).await;
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_while_it_tells_of_an_alert_tells_it_again() {
    let hook = Receiver::start(None);
    hook.plan([Act::Hang, Act::Hang]);
    let sinks = "[sinks.run]\nkind = \"command\"\ncommand = [\"SITE/run\"]\nretry_max_s = 1\n";
    let mut site = Site::new().with_kit();
    let dir = site.path().to_path_buf();
    site.settings = sinks.replace("SITE", &dir.display().to_string());
    site.settings += &http("hook", "webhook", &hook, "timeout_s = 60");
    let (begun, kept) = (dir.join("begun"), dir.join("kept"));
    script(&dir, "run", &format!("echo $$ >> {}; exec sleep 3000", begun.display()));
    let program = site.spawn().await;
    program.ready("kit").await;
    let mut admin = program.admin().await;
    raise(&mut admin, "/a").await;
    until("both are being told", async || !hook.received().is_empty() && lines(&begun).len() == 1)
        .await;
    drop(admin);
    // One receiver has the alert and has not said so, the other is a program that has not ended.
    let site = program.kill().await;
    script(&dir, "run", &format!("cat >> {}", kept.display()));
    let program = site.spawn().await;
    until("the program has it", async || lines(&kept).len() == 1).await;
    let first: u32 = lines(&begun)[0].parse().expect("a process");
    until("the first is gone", async || !Path::new(&format!("/proc/{first}")).exists()).await;
    // The second request hangs as well, and so does the daemon's end.
    until("it is told again", async || hook.received().len() > 1).await;
    let running = program.kill().await.start().await;
    let mut admin = running.admin().await;
    running.ready("kit").await;
    clear(&mut admin, "/a").await;
    until("its end is told", async || hook.taken().len() == 2 && lines(&kept).len() == 2).await;
    let expected = [pair("raised", "/a"), pair("cleared", "/a")];
    assert_eq!((heard(&hook.taken()), heard(&lines(&kept))), (expected.to_vec(), expected.into()));
    drop(admin);
    running.stop().await;
}
