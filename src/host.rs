//! Floor 4: plugin processes.
//!
//! It knows what plugins declare, starts their processes, passes calls to them and records what
//! they publish; it starts them again when they end and gives up on those that end too often. It
//! must not know clients, protocols or who may do what: `dispatch` has judged a call before it
//! comes here. `dispatch` calls it, `daemon` starts and stops it.
//!
//! [`Host`] is a handle. Behind it work one task for all plugins (`keeper`: which are there) and
//! one for each (`supervisor`: whether it runs), in which the plugin's processes live
//! (`instance`).

mod announce;
mod backoff;
mod call;
mod calls;
mod command;
mod confinement;
mod discover;
pub(crate) mod handshake;
mod health;
mod instance;
mod keeper;
pub mod launch;
pub(crate) mod lines;
pub(crate) mod permission;
mod process;
pub(crate) mod publish;
mod state_dir;
mod status;
mod supervisor;
mod table;
#[cfg(test)]
mod tests;
mod voice;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::link::Progress;
use protocol::manifest::{ClassDeclaration, Kind, Method};
use protocol::sandbox::Rights;
use protocol::{Class, Deprecated, Fault, FaultKind, Json, Request, Role};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use uuid::Uuid;

pub use self::command::{CommandEnd, CommandRun};
pub use self::confinement::Confinement;
pub use self::discover::{Origin, PluginSpec, Refusal, discover};
pub use self::status::{PluginStatus, State};
pub use self::supervisor::Verb;

pub(crate) use self::instance::is_interrupted;
use self::keeper::{ERRANDS_MAX, Errand, Keeper};
use self::status::Face;
use self::supervisor::Command;
use self::table::{Entry, Table};
use crate::alarm::Alarm;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::lifecycle::Tasks;
use crate::sight::Call;

/// All plugins. Cheap to clone; the plugins live until [`Host::shutdown`] or until the daemon's
/// tasks are told to stop, whatever becomes of the handles.
#[derive(Debug, Clone)]
pub struct Host {
    context: Arc<Context>,
    table: watch::Receiver<Arc<Table>>,
    errands: mpsc::Sender<Errand>,
}

/// What the host needs to know of its daemon.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// The daemon's state directory; plugins get `plugin-state/ID` in it.
    pub state_dir: PathBuf,
    /// Where plugins are looked for; `None`: nowhere.
    pub plugins_dir: Option<PathBuf>,
    /// The daemon runs as root: plugins that somebody else could change are refused.
    pub as_root: bool,
    /// The configuration's section for each plugin, by id.
    pub configs: BTreeMap<String, Value>,
    /// What the administrator grants each plugin, by id.
    pub grants: BTreeMap<String, Rights>,
    /// The program whose role `launch` puts limits on plugins: the daemon's own binary. `None`
    /// starts them without limits, for unit tests, whose own binary has no such role.
    pub launcher: Option<PathBuf>,
    /// The daemon's version, told to plugins.
    pub version: String,
    /// The database's instance, told to plugins.
    pub instance: Uuid,
    /// Where the time of a change of state comes from.
    pub clock: Clock,
    /// Where plugins' alerts go, and our own about plugins.
    pub alarm: Alarm,
}

/// What every part of this floor needs to know.
#[derive(Debug)]
struct Context {
    settings: HostSettings,
    bus: Bus,
}

/// Who asks, as `dispatch` has established it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Names this call in `cancel`, `progress` and the log; unique among the calls in flight.
    pub request_id: String,
    /// Who asks, for example `token:backup` or `local:root`.
    pub actor: String,
    /// What they may do.
    pub role: Role,
    /// Which version of the namespace they speak.
    pub version: u32,
    /// As much of the call as says who may hear how far it is.
    pub call: Arc<Call>,
}

/// Hears what a plugin says of a call while it works on it. It must not wait.
pub trait Follower: std::fmt::Debug + Send + Sync {
    /// How far it is.
    fn progress(&self, progress: &Progress);
    /// A line for whoever follows the call.
    fn note(&self, text: &str);
}

/// How a call is watched that outlives its reply.
#[derive(Debug)]
pub struct Watch {
    /// Who hears of it.
    pub follower: Arc<dyn Follower>,
    /// Rung to have the plugin told that it should end the call; its answer is still waited for.
    pub end: Option<oneshot::Receiver<()>>,
    /// How long it may take, in the place of what its method says.
    pub timeout: Duration,
}

/// What has to be known of a method before it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodInfo {
    /// The plugin that answers it.
    pub plugin: String,
    /// Whether it changes anything.
    pub kind: Kind,
    /// The least role that may call it.
    pub role: Role,
    /// What it is done to, with arguments in braces.
    pub resource: Option<Arc<str>>,
    /// Arguments that are secrets.
    pub secrets: Arc<[String]>,
    /// Whether asking again goes on where a call was interrupted.
    pub resumable: bool,
    /// How many calls of the plugin may be jobs at once, so that others still find a place.
    pub jobs: usize,
    /// Whether the plugin takes calls at this moment.
    pub ready: bool,
    /// From which version of the namespace on this entry holds.
    pub since: u32,
    /// That it is on its way out.
    pub deprecated: Option<Arc<Deprecated>>,
    /// JSON Schema of the arguments, if some of them are on their way out.
    pub ending: Option<Arc<Value>>,
}

/// A method and who declares it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeclaredMethod {
    /// The plugin's id.
    pub plugin: String,
    /// Whether the plugin takes calls at this moment.
    pub ready: bool,
    /// The declaration.
    #[serde(flatten)]
    pub method: Method,
}

/// An event class and who declares it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeclaredClass {
    /// The plugin's id, which is also the source of these events.
    pub plugin: String,
    /// The declaration.
    #[serde(flatten)]
    pub class: ClassDeclaration,
}

impl Host {
    /// Looks into the plugin directory and starts the built-in plugins and those found there.
    /// Returns at once: their states tell how far they are.
    pub fn start(
        built_in: Vec<PluginSpec>,
        settings: HostSettings,
        bus: Bus,
        tasks: &Tasks,
    ) -> Self {
        let (errands, errand_inbox) = mpsc::channel(ERRANDS_MAX);
        let context = Arc::new(Context { settings, bus });
        let (specs, refusals) = match &context.settings.plugins_dir {
            Some(dir) => discover(dir, context.settings.as_root),
            None => (Vec::new(), Vec::new()),
        };
        for Refusal { path, reason } in &refusals {
            tracing::warn!(path = %path.display(), reason, "not a plugin");
        }
        let mut keeper = Keeper::new(Arc::clone(&context), built_in, errand_inbox, tasks);
        let table = keeper.table();
        keeper.apply(specs, refusals);
        drop(tasks.spawn(keeper.run()));
        Self { context, table, errands }
    }

    /// Asks the plugin that declares the method and waits for its answer, which is passed on as
    /// the plugin wrote it, until the method's deadline. Whoever drops the future gives up; the plugin is told.
    ///
    /// # Errors
    /// The plugin's own fault; `not-found`; `unavailable` when the plugin is down (at once) or
    /// ends while it works; `too-many` when its places are taken; `too-large` for arguments beyond
    /// its line; `timeout`.
    pub async fn call(&self, caller: &Caller, request: &Request) -> Result<Json, Fault> {
        self.ask(caller, request, None).await
    }

    /// The same for a call that somebody follows and may ask to end.
    ///
    /// # Errors
    /// As [`Host::call`].
    pub async fn call_watched(
        &self,
        caller: &Caller,
        request: &Request,
        watch: Watch,
    ) -> Result<Json, Fault> {
        self.ask(caller, request, Some(watch)).await
    }

    async fn ask(
        &self,
        caller: &Caller,
        request: &Request,
        watch: Option<Watch>,
    ) -> Result<Json, Fault> {
        let table = self.current();
        let method = request.method();
        let action = request.action();
        let Some((entry, route)) = table.route(&method, action, caller.version) else {
            return Err(unknown(&table, &method, action));
        };
        entry.counters.calls.add_one();
        let missing = missing(entry, &method, request.action());
        let outcome = match missing {
            Some(fault) => Err(fault),
            None => call::ask(entry, route, caller, request, watch).await,
        };
        if outcome.is_err() {
            entry.counters.calls_failed.add_one();
        }
        outcome
    }

    /// What a method needs, if a plugin declares it for this action or for all, in the version of
    /// its namespace that is given or the newest one before it.
    pub fn method(&self, method: &str, action: Option<&str>, version: u32) -> Option<MethodInfo> {
        let table = self.current();
        let (entry, route) = table.route(method, action, version)?;
        Some(MethodInfo {
            plugin: route.plugin.clone(),
            kind: route.kind,
            role: route.role,
            resource: route.resource.clone(),
            secrets: Arc::clone(&route.secrets),
            resumable: route.resumable,
            jobs: route.jobs,
            ready: is_ready(entry) && missing(entry, method, action).is_none(),
            since: route.since,
            deprecated: route.deprecated.clone(),
            ending: route.ending.clone(),
        })
    }

    /// Runs one command as the daemon's own user, without a shell, until it has ended.
    pub async fn run_command(&self, run: CommandRun<'_>) -> CommandEnd {
        command::run(self.context.settings.launcher.as_deref(), run).await
    }

    /// The newest version of a namespace that some plugin has; `None` when none has it.
    pub fn newest_version(&self, namespace: &str) -> Option<u32> {
        self.current().newest(namespace)
    }

    /// Every declared method, by plugin.
    pub fn methods(&self) -> Vec<DeclaredMethod> {
        self.declared(|plugin, face| {
            let works =
                |method: &Method| face.missing(&method.method, method.action.as_deref()).is_none();
            let declare = |method: &Method| DeclaredMethod {
                plugin: plugin.to_owned(),
                ready: face.link.is_some() && works(method),
                method: method.clone(),
            };
            face.spec.manifest.methods.iter().map(declare).collect()
        })
    }

    /// Every declared event class, by plugin. The daemon's own are [`crate::bus::own_classes`].
    pub fn classes(&self) -> Vec<DeclaredClass> {
        self.declared(|plugin, face| {
            let declare = |class: &ClassDeclaration| DeclaredClass {
                plugin: plugin.to_owned(),
                class: class.clone(),
            };
            face.spec.manifest.events.iter().map(declare).collect()
        })
    }

    /// Every declared class that is on its way out.
    pub fn ending_classes(&self) -> Vec<(Class, Deprecated)> {
        self.declared(|_, face| {
            let ending = face.spec.manifest.events.iter();
            ending.filter_map(|it| Some((it.class.clone(), it.deprecated.clone()?))).collect()
        })
    }

    /// Every plugin, in the order of their ids; then the directories that were refused.
    pub fn status(&self) -> Vec<PluginStatus> {
        self.current().statuses()
    }

    /// Does what somebody wants of a plugin and waits for the outcome: running, or ended.
    ///
    /// # Errors
    /// `not-found`; `conflict` when the plugin is incompatible, or when somebody else wants
    /// something else meanwhile; `unavailable` or `failed` when it does not start, with the reason.
    pub async fn control(&self, id: &str, verb: Verb) -> Result<PluginStatus, Fault> {
        let table = self.current();
        let entry = table
            .entries
            .get(id)
            .ok_or_else(|| Fault::not_found(format!("there is no plugin {id:?}")))?;
        let Some(commands) = &entry.commands else {
            let reason = entry.face.borrow().reason.clone();
            let sentence = format!("the plugin {id} cannot run here: {reason}");
            return Err(Fault::new(FaultKind::Conflict, sentence));
        };
        let spec = match verb {
            Verb::Reload => self.read_again(&table, entry).await?,
            Verb::Start | Verb::Stop | Verb::Restart => None,
        };
        let (reply, outcome) = oneshot::channel();
        let command = Command::Do { verb, spec, reply };
        let stopping = |()| Fault::new(FaultKind::Unavailable, "the daemon is stopping");
        commands.send(command).await.map_err(|_| stopping(()))?;
        outcome.await.map_err(|_| stopping(()))?
    }

    /// Looks at the plugin directory again: starts what is new, ends what is gone, reloads what
    /// has another manifest. Returns what was refused, without waiting for any plugin.
    pub async fn rescan(&self) -> Vec<Refusal> {
        let (reply, refusals) = oneshot::channel();
        match self.errands.send(Errand::Rescan(reply)).await {
            Ok(()) => refusals.await.unwrap_or_default(),
            // The daemon stops: there is nothing to start any more.
            Err(_) => Vec::new(),
        }
    }

    /// Ends all plugins, at the same time and each within its grace, and returns when they are
    /// gone and their last events are recorded.
    pub async fn shutdown(&self) {
        // An error says that the keeper is gone already, and so are the plugins.
        if self.errands.send(Errand::Shutdown).await.is_ok() {
            self.errands.closed().await;
        }
    }

    fn current(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    fn declared<T>(&self, of: impl Fn(&str, &Face) -> Vec<T>) -> Vec<T> {
        let table = self.current();
        let running = table.entries.iter().filter(|(_, entry)| entry.commands.is_some());
        running
            .flat_map(|(id, entry)| {
                let face = entry.face.borrow();
                of(id, &face)
            })
            .collect()
    }

    /// The plugin's manifest as it is on disk now.
    async fn read_again(
        &self,
        table: &Table,
        entry: &Entry,
    ) -> Result<Option<Arc<PluginSpec>>, Fault> {
        let found = Arc::clone(&entry.found);
        if found.origin == Origin::BuiltIn {
            return Ok(None);
        }
        let refused = |reason: String| {
            Fault::new(FaultKind::Failed, reason).with_hint("the old process goes on as before")
        };
        let (dir, as_root) = (found.dir.clone(), self.context.settings.as_root);
        let read = spawn_blocking(move || discover::read_one(&dir, as_root)).await;
        let mut spec =
            read.map_err(|_| Fault::internal())?.map_err(|refusal| refused(refusal.reason))?;
        spec.config = found.config.clone();
        match table.objection(&spec).or_else(|| self.context.not_granted(&spec)) {
            Some(reason) => Err(refused(reason)),
            None => Ok(Some(Arc::new(spec))),
        }
    }
}

impl Context {
    fn plugin_state_dir(&self, id: &str) -> PathBuf {
        state_dir::path(&self.settings.state_dir, id)
    }

    /// Why the plugin may not have what it asks for; `None` when it may.
    fn not_granted(&self, spec: &PluginSpec) -> Option<String> {
        let nothing = Rights::default();
        let granted = self.settings.grants.get(&spec.manifest.id).unwrap_or(&nothing);
        permission::not_granted(spec, granted)
    }
}

fn is_ready(entry: &Entry) -> bool {
    entry.face.borrow().link.is_some()
}

/// Says that the method is there and this machine cannot do it: like one that is not there.
fn missing(entry: &Entry, method: &str, action: Option<&str>) -> Option<Fault> {
    let face = entry.face.borrow();
    let reason = face.missing(method, action)?;
    let whole = action.map_or_else(|| method.to_owned(), |action| format!("{method} {action}"));
    Some(Fault::not_found(format!("{whole} does not work on this machine: {reason}")))
}

fn unknown(table: &Table, method: &str, action: Option<&str>) -> Fault {
    let sentence = match action {
        Some(action) if table.knows(method) => format!("{method} has no action {action:?}"),
        None if table.knows(method) => format!("{method} needs an action in its arguments"),
        _ => format!("there is no method {method:?}"),
    };
    Fault::not_found(sentence)
}
