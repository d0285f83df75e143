//! A list of jobs and what changes it, for any order of what clients do, of restarts and of old jobs
//! that make room.

use std::collections::BTreeMap;

use kit::client::SysAdmClient;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{end, jobs};
use crate::harness::{Running, Site, until};

/// Daemons that live through a sequence each.
const CASES: u32 = 6;
/// Jobs that have ended and are kept: few, so that some are forgotten.
const KEPT: usize = 4;

/// What a client does.
#[derive(Debug, Clone)]
enum Act {
    /// Has this run, in a line or at once.
    Run(&'static [&'static str], Option<&'static str>),
    /// Ends one of those there are.
    Abort(usize),
    /// Does one of those there are again.
    Retry(usize),
    /// The daemon is stopped and started.
    Restart,
    /// Another client begins to follow.
    Follow,
}

fn act() -> impl Strategy<Value = Act> {
    const COMMANDS: [&[&str]; 3] = [&["/bin/true"], &["/bin/false"], &["/bin/sleep", "1000"]];
    let command = proptest::sample::select(COMMANDS.to_vec());
    let line = proptest::sample::select(vec![None, Some("a"), Some("b")]);
    prop_oneof![
        8 => (command, line).prop_map(|(command, line)| Act::Run(command, line)),
        4 => any::<usize>().prop_map(Act::Abort),
        2 => any::<usize>().prop_map(Act::Retry),
        1 => Just(Act::Restart),
        2 => Just(Act::Follow),
    ]
}

/// Jobs by their ids, without what is only of the moment.
type Rows = BTreeMap<String, Value>;

fn put(rows: &mut Rows, job: &Value) {
    let mut job = job.clone();
    let members = job.as_object_mut().expect("a job");
    for of_the_moment in ["progress", "log_bytes", "queue_position"] {
        members.remove(of_the_moment);
    }
    rows.insert(job["id"].as_str().expect("an id").to_owned(), job);
}

/// A client that has asked for the list once.
struct Follower {
    rows: Rows,
    cursor: Value,
}

impl Follower {
    async fn new(client: &mut SysAdmClient) -> Self {
        let (rows, cursor, _) = fresh(client).await;
        Self { rows, cursor }
    }

    /// Takes what came behind its cursor, on a connection of its own.
    async fn check(&mut self, running: &Running) {
        let (rows, _, head) = fresh(&mut running.admin().await).await;
        let mut client = running.admin().await;
        // An event behind everything that is in the list tells where to stop.
        let mark = json!({"class": "user.mark", "message": "here"});
        let mark = client.call("events", "fire", mark).await.expect("it is fired");
        assert!(mark["seq"].as_u64() > Some(head));
        let filter = json!({"classes": ["job.*", "user.mark"]});
        let wanted = json!({"sub": "jobs", "filter": filter, "from": self.cursor});
        let answer = client.subscribe(wanted).await.expect("subscribed");
        assert_eq!(answer["gap"], Value::Null);
        loop {
            let event = client.event().await;
            let args = &event["args"];
            self.cursor = args["cursor"].clone();
            if args["seq"] == mark["seq"] {
                break;
            }
            self.take(&args["data"]);
        }
        assert_eq!(self.rows, rows, "the list and its changes are not the list of now");
    }

    fn take(&mut self, data: &Value) {
        for id in data["forgotten"].as_array().into_iter().flatten() {
            self.rows.remove(id.as_str().expect("an id"));
        }
        // What happens within a job says only which one it is.
        if data["job"]["state"].is_string() {
            put(&mut self.rows, &data["job"]);
        }
    }
}

/// The list of now, the cursor behind it, and its newest event.
async fn fresh(client: &mut SysAdmClient) -> (Rows, Value, u64) {
    let listed = jobs(client, "list", json!({"limit": 4000})).await.expect("a list");
    let mut rows = Rows::new();
    listed["jobs"].as_array().expect("jobs").iter().for_each(|job| put(&mut rows, job));
    (rows, listed["cursor"].clone(), listed["head_seq"].as_u64().expect("a number"))
}

/// Nothing changes any more: what would end by itself has ended, and lines wait behind what stays.
async fn until_still(client: &mut SysAdmClient) {
    let (mut before, mut same) = (None, 0);
    until("jobs rest", async || {
        let (rows, _, head) = fresh(client).await;
        let is_brief = |job: &Value| {
            let words = job["process_id"].as_str().unwrap_or_default();
            job["state"] == "running" && (words.contains("brief") || job["abort_asked"] == true)
        };
        let now = (head, rows.len());
        let rests = !rows.values().any(is_brief) && before == Some(now);
        same = if rests { same + 1 } else { 0 };
        before = Some(now);
        same > 20
    })
    .await;
}

/// A daemon, and what was asked of it.
struct Life {
    running: Running,
    client: SysAdmClient,
    made: Vec<String>,
    followers: Vec<Follower>,
}

impl Life {
    async fn begin() -> Self {
        let mut site = Site::new();
        site.settings = format!("[jobs]\nkept = {KEPT}\n");
        let running = site.start().await;
        let mut client = running.admin().await;
        let followers = vec![Follower::new(&mut client).await];
        Self { running, client, made: Vec::new(), followers }
    }

    async fn does(mut self, act: Act) -> Self {
        match act {
            Act::Run(command, line) => self.run(command, line).await,
            Act::Abort(which) => {
                self.of_one("abort", which).await;
            }
            Act::Retry(which) => {
                let again = self.of_one("retry", which).await;
                self.made.extend(again["job"]["id"].as_str().map(str::to_owned));
            }
            Act::Follow => self.followers.push(Follower::new(&mut self.client).await),
            Act::Restart => {
                drop(self.client);
                self.running = self.running.restart().await;
                self.client = self.running.admin().await;
            }
        }
        self
    }

    async fn run(&mut self, command: &[&str], line: Option<&str>) {
        let name = if command.len() == 1 { "brief" } else { "lasting" };
        let mut args = json!({"commands": [command], "process_id": name});
        if let Some(line) = line {
            args["queue"] = line.into();
        }
        self.made.push(super::start(&mut self.client, args).await);
    }

    /// Of one of those that were made; it may be forgotten by now.
    async fn of_one(&mut self, action: &str, which: usize) -> Value {
        let Some(id) = self.made.get(which % self.made.len().max(1)) else { return Value::Null };
        jobs(&mut self.client, action, json!({ "id": id })).await.unwrap_or_default()
    }
}

async fn live(acts: Vec<Act>) {
    let mut life = Life::begin().await;
    for act in acts {
        life = life.does(act).await;
    }
    let Life { running, mut client, mut followers, .. } = life;
    until_still(&mut client).await;
    for follower in &mut followers {
        follower.check(&running).await;
    }
    drop(client);
    running.stop().await;
}

#[test]
fn a_list_of_jobs_and_its_changes_are_the_list_of_the_end() {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 8,
        ..Config::default()
    };
    let sequences = proptest::collection::vec(act(), 1..16);
    let tested = TestRunner::new(config).run(&sequences, |acts| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(live(acts));
        Ok(())
    });
    tested.expect("every sequence holds");
}

#[tokio::test]
async fn what_is_forgotten_is_told_and_gone() {
    let mut site = Site::new();
    site.settings = format!("[jobs]\nkept = {KEPT}\n");
    let running = site.start().await;
    let mut client = running.admin().await;
    let mut follower = Follower::new(&mut client).await;
    let mut ids = Vec::new();
    for _ in 0..KEPT + 3 {
        let id = super::start(&mut client, json!({"commands": [["/bin/true"]]})).await;
        end(&mut client, &id).await;
        ids.push(id);
    }
    until("the oldest is forgotten", async || {
        jobs(&mut client, "show", json!({"id": ids[0]})).await.is_err()
    })
    .await;
    let refusal = jobs(&mut client, "show", json!({"id": ids[0]})).await.unwrap_err();
    assert_eq!(refusal["code"], "404", "{refusal}");
    until_still(&mut client).await;
    follower.check(&running).await;
    assert!(!follower.rows.contains_key(&ids[0]) && follower.rows.contains_key(&ids[KEPT + 2]));
    drop(client);
    running.stop().await;
}
