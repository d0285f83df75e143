//! A daemon with a good plugin, a bad one, and bystanders.

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use super::bystanders::Bystanders;
use crate::harness::{Running, Site};

/// The bad plugin's id.
pub(super) const BAD: &str = "bad";

/// The daemon and everybody around it.
pub(super) struct Scene {
    pub(super) running: Running,
    pub(super) admin: SysAdmClient,
    /// Hears the bad plugin's changes of state, from the first on.
    watcher: SysAdmClient,
    bystanders: Bystanders,
}

/// A manifest of the bad plugin.
pub(super) fn bad(behaviour: &[&str]) -> Value {
    kit::plugins::manifest(BAD, behaviour)
}

impl Scene {
    /// Begins with this bad plugin.
    pub(super) async fn with(manifest: Value) -> Self {
        Self::at(Site::new().with_kit().with_plugin(manifest)).await
    }

    /// Begins without it.
    pub(super) async fn without() -> Self {
        Self::at(Site::new().with_kit()).await
    }

    async fn at(site: Site) -> Self {
        let running = site.start().await;
        let (admin, mut watcher) = (running.admin().await, running.admin().await);
        let filter = json!({"classes": ["plugin.state"], "subject": format!("/plugins/{BAD}")});
        let wanted = json!({"sub": "states", "filter": filter, "from": "oldest"});
        watcher.subscribe(wanted).await.expect("the subscription is accepted");
        running.ready("kit").await;
        let bystanders = Bystanders::begin(&running).await;
        Self { running, admin, watcher, bystanders }
    }

    /// The bad plugin's next change of state: an event.
    pub(super) async fn change(&mut self) -> Value {
        self.watcher.event().await["args"].take()
    }

    /// Waits until the bad plugin is in this state; the event that says so. `rpc/plugins` shows the
    /// same, unless it has changed again meanwhile.
    pub(super) async fn until(&mut self, state: &str) -> Value {
        let mut seen = Vec::new();
        loop {
            let change = self.change().await;
            assert_eq!(change["source"], "sysadmd", "{change}");
            let to = change["data"]["to"].as_str().expect("a state").to_owned();
            if to == state {
                return change;
            }
            seen.push(to);
            assert!(seen.len() < 100, "waited for {state}, saw {seen:?}");
        }
    }

    /// The bad plugin, as `rpc/plugins` shows it; null when it does not.
    pub(super) async fn shown(&mut self) -> Value {
        let answer = self.admin.call("rpc", "plugins", json!({"action": "list"})).await;
        let mut listed = answer.expect("the plugins are listed");
        let plugins = listed["plugins"].as_array_mut().expect("a list");
        let place = plugins.iter().position(|plugin| plugin["id"] == BAD);
        place.map_or(Value::Null, |place| plugins.swap_remove(place))
    }

    /// Asks the bad plugin.
    pub(super) async fn call(&mut self, name: &str, args: Value) -> Result<Value, Value> {
        self.admin.call(BAD, name, args).await
    }

    /// Does something to the bad plugin; how it is shown then.
    pub(super) async fn control(&mut self, verb: &str) -> Result<Value, Value> {
        let args = json!({"action": verb, "id": BAD});
        self.admin.call("rpc", "plugins", args).await.map(|mut answer| answer["plugin"].take())
    }

    /// Fails unless everybody else goes on undisturbed.
    pub(super) async fn nobody_minds(&mut self) {
        self.bystanders.go_on().await;
    }

    /// The same once more; then everything ends, and nothing is left.
    pub(super) async fn end(mut self) -> Site {
        self.nobody_minds().await;
        let Self { running, admin, watcher, bystanders } = self;
        bystanders.end().await;
        drop((admin, watcher));
        running.stop().await
    }
}

/// Fails unless it is a refusal of this kind that names `what`.
pub(super) fn assert_refused(answer: &Result<Value, Value>, code: &str, what: &str) {
    let Err(refusal) = answer else { panic!("expected {code}, got {answer:?}") };
    assert_eq!(refusal["code"], code, "{refusal}");
    let sentence = refusal["error"].as_str().expect("a sentence");
    assert!(sentence.contains(what), "expected {what:?} in: {sentence}");
}

/// The processes of a group.
pub(super) fn group(leader: u64) -> Vec<String> {
    let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let of_group = entries.filter_map(stat).filter(|stat| {
        // After the name in parentheses: state, parent, group.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().nth(2) == Some(&leader.to_string())
    });
    of_group.collect()
}
