//! Which plugins there are, and which of them answers what.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use protocol::deprecated::has_ending;
use protocol::link::VERSIONS;
use protocol::manifest::Kind;
use protocol::{Class, Deprecated, Role, Time};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::discover::{Origin, PluginSpec, Refusal};
use super::handshake;
use super::status::{Counters, Face, PluginStatus, State};
use super::supervisor::Command;

/// Ids that are the `source` of somebody else's events.
const RESERVED_IDS: [&str; 2] = ["sysadmd", "client"];

/// A plugin as everybody but its supervisor sees it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// What was found last; what is in force stands in the face.
    pub(crate) found: Arc<PluginSpec>,
    pub(crate) face: watch::Receiver<Face>,
    pub(crate) counters: Arc<Counters>,
    /// Its supervisor; `None` when it is incompatible.
    pub(crate) commands: Option<mpsc::Sender<Command>>,
}

/// All plugins at one moment. A new one is made whenever they change.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) entries: BTreeMap<String, Entry>,
    refused: Vec<PluginStatus>,
    routes: HashMap<String, Vec<Route>>,
    /// The newest version of each namespace.
    newest: HashMap<String, u32>,
}

/// One entry of a manifest's `methods`.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    action: Option<String>,
    pub(crate) since: u32,
    pub(crate) deprecated: Option<Arc<Deprecated>>,
    /// The schema of the arguments, if some of them are on their way out.
    pub(crate) ending: Option<Arc<Value>>,
    pub(crate) plugin: String,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) resource: Option<Arc<str>>,
    pub(crate) secrets: Arc<[String]>,
    pub(crate) timeout: Duration,
    pub(crate) resumable: bool,
    pub(crate) jobs: usize,
}

impl Table {
    pub(crate) fn new(entries: BTreeMap<String, Entry>, refused: Vec<PluginStatus>) -> Self {
        let mut routes: HashMap<String, Vec<Route>> = HashMap::new();
        let mut newest: HashMap<String, u32> = HashMap::new();
        for entry in entries.values().filter(|entry| entry.commands.is_some()) {
            let spec = Arc::clone(&entry.face.borrow().spec);
            for (method, route) in routes_of(&spec) {
                let namespace = method.split('/').next().unwrap_or_default().to_owned();
                let version = newest.entry(namespace).or_default();
                *version = route.since.max(*version);
                routes.entry(method).or_default().push(route);
            }
        }
        Self { entries, refused, routes, newest }
    }

    /// The way to a method: the entry for this action, else the one for all; of several versions
    /// the newest that is not newer than this one.
    pub(crate) fn route(
        &self,
        method: &str,
        action: Option<&str>,
        version: u32,
    ) -> Option<(&Entry, &Route)> {
        let routes = self.routes.get(method)?;
        let of = |action: Option<&str>| {
            let mine = routes.iter().filter(|r| r.action.as_deref() == action);
            mine.filter(|r| r.since <= version).max_by_key(|r| r.since)
        };
        let route = action.and_then(|action| of(Some(action))).or_else(|| of(None))?;
        Some((self.entries.get(&route.plugin)?, route))
    }

    /// Every class that a plugin declares, and the least role that may hear it.
    pub(crate) fn audible(&self) -> Vec<(Class, Role)> {
        let running = self.entries.values().filter(|entry| entry.commands.is_some());
        let audible = |entry: &Entry| {
            let face = entry.face.borrow();
            let declared = face.spec.manifest.events.iter();
            declared.map(|class| (class.class.clone(), class.role)).collect::<Vec<_>>()
        };
        running.flat_map(audible).collect()
    }

    /// The newest version of a namespace; `None` when no plugin has it.
    pub(crate) fn newest(&self, namespace: &str) -> Option<u32> {
        self.newest.get(namespace).copied()
    }

    /// Whether the method exists for some action.
    pub(crate) fn knows(&self, method: &str) -> bool {
        self.routes.contains_key(method)
    }

    /// Every plugin, also those that were refused.
    pub(crate) fn statuses(&self) -> Vec<PluginStatus> {
        let plugins =
            self.entries.values().map(|entry| entry.face.borrow().status(&entry.counters));
        plugins.chain(self.refused.iter().cloned()).collect()
    }

    /// Why this spec cannot take the place of the plugin of its id.
    pub(crate) fn objection(&self, spec: &PluginSpec) -> Option<String> {
        let mut taken = Taken::default();
        for (id, entry) in &self.entries {
            if *id != spec.manifest.id && entry.commands.is_some() {
                taken.add(&entry.face.borrow().spec);
            }
        }
        taken.objection(spec)
    }
}

fn routes_of(spec: &PluginSpec) -> impl Iterator<Item = (String, Route)> {
    let manifest = &spec.manifest;
    manifest.methods.iter().map(|method| {
        let route = Route {
            action: method.action.clone(),
            since: method.since,
            deprecated: method.deprecated.clone().map(Arc::new),
            ending: has_ending(&method.params).then(|| Arc::new(method.params.clone())),
            plugin: manifest.id.clone(),
            kind: method.kind,
            role: method.role,
            resource: method.resource.as_deref().map(Arc::from),
            secrets: method.secrets.iter().cloned().collect(),
            timeout: Duration::from_millis(method.timeout_ms.unwrap_or(manifest.limits.call_ms)),
            resumable: method.resumable,
            jobs: manifest.limits.calls.div_ceil(2),
        };
        (method.method.clone(), route)
    })
}

/// The methods that plugins have taken, and by whom.
#[derive(Debug, Default)]
pub(crate) struct Taken(HashMap<String, String>);

impl Taken {
    pub(crate) fn add(&mut self, spec: &PluginSpec) {
        for method in &spec.manifest.methods {
            self.0.insert(method.method.clone(), spec.manifest.id.clone());
        }
    }

    /// Why the plugin cannot run beside those that have been added.
    pub(crate) fn objection(&self, spec: &PluginSpec) -> Option<String> {
        let manifest = &spec.manifest;
        if RESERVED_IDS.contains(&manifest.id.as_str()) {
            return Some(format!("the id {:?} belongs to the daemon", manifest.id));
        }
        if handshake::common_versions(manifest).is_empty() {
            return Some(format!(
                "it speaks plugin protocol {} to {}; this daemon speaks {VERSIONS:?}",
                manifest.api.min, manifest.api.max
            ));
        }
        manifest.methods.iter().find_map(|method| {
            let owner = self.0.get(&method.method).filter(|owner| **owner != manifest.id)?;
            Some(format!("its method {} is already answered by the plugin {owner}", method.method))
        })
    }
}

/// How a directory that is no plugin is shown.
pub(crate) fn refused(refusal: Refusal, since: Time) -> PluginStatus {
    let name = refusal.path.file_name().unwrap_or(refusal.path.as_os_str());
    PluginStatus {
        id: name.to_string_lossy().into_owned(),
        version: String::new(),
        description: String::new(),
        state: State::Incompatible,
        reason: refusal.reason,
        pid: None,
        restarts: 0,
        since,
        calls: 0,
        calls_failed: 0,
        events_published: 0,
        events_refused: 0,
        origin: Origin::Directory,
        confinement: None,
        unavailable: Vec::new(),
    }
}
