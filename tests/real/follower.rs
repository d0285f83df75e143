//! A client that follows a list as `docs/guide/system.md` says.

use std::collections::BTreeMap;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

/// A list, kept by its changes.
pub(crate) struct Follower {
    /// Its own connection, on which the changes come.
    client: SysAdmClient,
    list: &'static str,
    /// The member of a row that names it.
    key: &'static str,
    epoch: Value,
    revision: u64,
    rows: BTreeMap<String, Value>,
}

impl Follower {
    /// Subscribes first and asks for the list second.
    pub(crate) async fn new(
        mut client: SysAdmClient,
        list: &'static str,
        class: &str,
        key: &'static str,
    ) -> Self {
        let filter = json!({"classes": [class]});
        client.subscribe(json!({"sub": "follow", "filter": filter})).await.expect("subscribed");
        let mut follower =
            Self { client, list, key, epoch: Value::Null, revision: 0, rows: BTreeMap::new() };
        let (epoch, revision, rows) = follower.fresh().await;
        (follower.epoch, follower.revision, follower.rows) = (epoch, revision, rows);
        follower
    }

    /// Takes every change up to the revision of a fresh list, and fails unless both are the same.
    pub(crate) async fn check(&mut self) {
        let (epoch, revision, rows) = self.fresh().await;
        assert_eq!(epoch, self.epoch, "the plugin has been started again");
        while self.revision < revision {
            let event = self.client.event().await;
            let data = &event["args"]["data"];
            let at = data["revision"].as_u64().expect("a revision");
            if data["epoch"] != self.epoch || at <= self.revision {
                continue;
            }
            assert_eq!(at, self.revision + 1, "no change is left out");
            self.revision = at;
            let name = data["name"].as_str().expect("a name").to_owned();
            match &data["row"] {
                Value::Null => drop(self.rows.remove(&name)),
                row => drop(self.rows.insert(name, row.clone())),
            }
        }
        assert_eq!(self.revision, revision, "a change came before the list that holds it");
        assert_eq!(self.rows, rows, "the list and its changes are not the list of now");
    }

    async fn fresh(&mut self) -> (Value, u64, BTreeMap<String, Value>) {
        let answer = self.client.call("system", self.list, json!({})).await.expect("a list");
        let rows = answer[self.list].as_array().expect("rows").iter();
        let name = |row: &Value| row[self.key].as_str().expect("a name").to_owned();
        let rows = rows.map(|row| (name(row), row.clone())).collect();
        (answer["epoch"].clone(), answer["revision"].as_u64().expect("a revision"), rows)
    }
}

/// What has been told of this subject so far, oldest first: `raised`, `repeated`, `cleared`.
pub(crate) async fn told(client: &mut SysAdmClient, subject: &str) -> Vec<String> {
    tellings(client, subject, |_| true).await
}

/// The same of one condition.
pub(crate) async fn told_of(
    client: &mut SysAdmClient,
    subject: &str,
    condition: &str,
) -> Vec<String> {
    tellings(client, subject, |event| event["data"]["condition"] == condition).await
}

async fn tellings(
    client: &mut SysAdmClient,
    subject: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Vec<String> {
    let filter = json!({"classes": ["system.condition.*"], "subject": subject});
    let page = client.call("events", "list", json!({"filter": filter})).await.expect("a page");
    let events = page["events"].as_array().expect("events").iter().filter(|event| wanted(event));
    let last = |event: &Value| {
        let class = event["class"].as_str().expect("a class");
        class.rsplit('.').next().unwrap_or_default().to_owned()
    };
    events.map(last).collect()
}
