//! Tests with real processes: the kit's plugin that misbehaves on demand.

mod calling;
mod events;
mod lives;
mod rules;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use protocol::{Event, Fault, Request, Role};
use serde_json::{Value, json};

use super::*;
use crate::lifecycle::Gone;
use crate::store::{Store, StoreSettings};

/// A host over a store of its own; everything is removed at the end.
struct Yard {
    dir: Place,
    store: Store,
    bus: Bus,
    host: Host,
    tasks: Tasks,
    gone: Gone,
}

impl Yard {
    /// A host whose plugin directory holds these manifests.
    fn new(manifests: &[Value]) -> Self {
        let dir = Place::new();
        for manifest in manifests {
            kit::plugins::install(&dir.join("plugins"), manifest.clone()).unwrap();
        }
        let clock = Clock::system();
        let settings = StoreSettings { max_age: None, max_bytes: None, audit_max_age: None };
        let store = Store::open(&dir.join("state"), clock.clone(), settings).unwrap();
        let (tasks, gone) = Tasks::new();
        let instance = store.instance();
        let bus = Bus::start(store.log(), clock.clone(), instance, tasks.clone()).unwrap();
        let settings = HostSettings {
            state_dir: dir.join("state"),
            plugins_dir: Some(dir.join("plugins")),
            as_root: false,
            configs: BTreeMap::from([("kit".to_owned(), json!({ "colour": "green" }))]),
            grants: BTreeMap::new(),
            launcher: None,
            version: "0.0.1".to_owned(),
            instance,
            clock,
            alarm: Alarm::new().0,
        };
        let host = Host::start(Vec::new(), settings, bus.clone(), &tasks);
        Self { dir, store, bus, host, tasks, gone }
    }

    /// A host with one plugin `kit` that behaves like this.
    fn of(behaviour: &[&str]) -> Self {
        Self::new(&[manifest(behaviour)])
    }

    /// The same, when it takes calls.
    async fn ready(behaviour: &[&str]) -> Self {
        let yard = Self::of(behaviour);
        yard.until("kit", State::Ready).await;
        yard
    }

    fn status(&self, id: &str) -> PluginStatus {
        self.host.status().into_iter().find(|status| status.id == id).unwrap()
    }

    async fn until(&self, id: &str, state: State) -> PluginStatus {
        eventually(&format!("{id} to be {state:?}"), || {
            Some(self.status(id)).filter(|status| status.state == state)
        })
        .await
    }

    async fn call(&self, name: &str, args: Value) -> Result<Value, Fault> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let request_id = format!("r{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let (actor, call) = ("local:test".to_owned(), Arc::new(crate::sight::tests::call(name)));
        let caller = Caller { request_id, actor, role: Role::Operator, version: 1, call };
        let answer = self.host.call(&caller, &Request::new("kit", name, args)).await?;
        Ok(answer.read().unwrap())
    }

    /// Every recorded event of this class, oldest first.
    async fn events(&self, class: &str) -> Vec<Arc<Event>> {
        let log = self.bus.log();
        let mut events: Vec<Arc<Event>> = Vec::new();
        loop {
            let after = events.last().and_then(|event| event.seq).unwrap_or(0);
            let more = log.read(after, 1000, 1 << 24).await.unwrap();
            if more.is_empty() {
                break;
            }
            events.extend(more);
        }
        events.retain(|event| event.class.as_str() == class);
        events
    }

    /// The states a plugin has been in, from the events.
    async fn states(&self, id: &str) -> Vec<String> {
        let subject = format!("/plugins/{id}");
        let events = self.events("plugin.state").await;
        let of_it = events.iter().filter(|event| event.subject == subject);
        of_it.map(|event| data(event)["to"].as_str().unwrap().to_owned()).collect()
    }

    /// Ends everything, and sees that no task and no process is left.
    async fn end(self) {
        let pids: Vec<u32> = self.host.status().iter().filter_map(|status| status.pid).collect();
        self.host.shutdown().await;
        for pid in pids {
            assert!(!is_alive(pid), "process {pid} is left");
        }
        let Self { dir: _dir, store, bus, host, tasks, gone } = self;
        tasks.stop();
        drop((bus, host, tasks));
        assert!(gone.wait(Duration::from_secs(10)).await, "a task is left");
        store.close();
    }
}

fn manifest(behaviour: &[&str]) -> Value {
    kit::plugins::manifest("kit", behaviour)
}

/// A directory that is gone when the test is over, also when it failed.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("sysadmd-host-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(dir.join("plugins")).unwrap();
        Self(dir)
    }

    fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn data(event: &Event) -> Value {
    event.data.read().unwrap()
}

fn is_alive(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

/// Waits until there is something to see.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(seen) = look() {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}
