//! Keeps the table of plugins: who is new, who is gone, who has changed.
//!
//! One task for all plugins. It starts and retires supervisors and never waits for a plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::Context;
use super::announce::{self, Announcer};
use super::discover::{Origin, PluginSpec, Refusal, discover};
use super::status::{Counters, Face, PluginStatus, State};
use super::supervisor::{self, COMMANDS_MAX, Command, Post};
use super::table::{Entry, Table, Taken, refused};
use crate::lifecycle::{Stop, Tasks};

/// Wishes to the keeper, which takes them at once.
pub(crate) const ERRANDS_MAX: usize = 8;

/// What the host's handles ask of the keeper.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Look at the plugin directory again.
    Rescan(oneshot::Sender<Vec<Refusal>>),
    /// End all plugins, then yourself.
    Shutdown,
}

/// The keeper of all plugins.
pub(crate) struct Keeper {
    context: Arc<Context>,
    tasks: Tasks,
    stop: Stop,
    errands: mpsc::Receiver<Errand>,
    built_in: Vec<PluginSpec>,
    entries: BTreeMap<String, Entry>,
    /// Supervisors, also of plugins that are gone and still ending.
    supervisors: BTreeMap<String, JoinHandle<()>>,
    refused: Vec<PluginStatus>,
    table: watch::Sender<Arc<Table>>,
    announcer: Announcer,
    announcing: JoinHandle<()>,
    manifest_changed: Arc<Notify>,
}

/// Everything the keeper waits for.
enum Wake {
    Errand(Option<Errand>),
    ManifestChanged,
    Stop,
}

impl Keeper {
    /// A keeper of no plugins yet.
    pub(crate) fn new(
        context: Arc<Context>,
        built_in: Vec<PluginSpec>,
        errands: mpsc::Receiver<Errand>,
        tasks: &Tasks,
    ) -> Self {
        let (announcer, changes) = Announcer::new();
        let announcing = tasks.spawn(announce::run(
            changes,
            context.bus.clone(),
            context.settings.alarm.clone(),
        ));
        Self {
            context,
            stop: tasks.stop_signal(),
            tasks: tasks.clone(),
            errands,
            built_in,
            entries: BTreeMap::new(),
            supervisors: BTreeMap::new(),
            refused: Vec::new(),
            table: watch::Sender::default(),
            announcer,
            announcing,
            manifest_changed: Arc::default(),
        }
    }

    /// The table as it changes.
    pub(crate) fn table(&self) -> watch::Receiver<Arc<Table>> {
        self.table.subscribe()
    }

    /// Runs until the daemon stops; then all plugins have ended and their ends are on record.
    pub(crate) async fn run(mut self) {
        loop {
            let wake = tokio::select! {
                errand = self.errands.recv() => Wake::Errand(errand),
                () = self.manifest_changed.notified() => Wake::ManifestChanged,
                () = self.stop.wait() => Wake::Stop,
            };
            match wake {
                Wake::Errand(Some(Errand::Rescan(reply))) => {
                    let refusals = self.rescan().await;
                    // Who asked may have gone; the scan is done all the same.
                    drop(reply.send(refusals));
                }
                Wake::ManifestChanged => self.show(),
                Wake::Stop | Wake::Errand(None | Some(Errand::Shutdown)) => break,
            }
        }
        self.end().await;
    }

    /// Makes what runs match what is found.
    pub(crate) fn apply(&mut self, specs: Vec<PluginSpec>, mut refusals: Vec<Refusal>) {
        let (mut taken, mut seen) = (Taken::default(), BTreeSet::new());
        refusals.retain(|refusal| match self.running_in(&refusal.path) {
            // It goes on with the manifest it has, as after a reload that failed.
            Some((id, entry)) if refusal.path.join("manifest.json").exists() => {
                taken.add(&entry.face.borrow().spec);
                seen.insert(id.clone());
                false
            }
            _ => true,
        });
        let mut found = self.built_in.iter().cloned().chain(specs).collect::<Vec<_>>();
        // What runs has the first claim to its methods, whatever a newcomer declares.
        found.sort_by_key(|spec| match self.running(&spec.manifest.id) {
            Some(entry) if *entry.found == *spec => 0,
            Some(_) => 1,
            None => 2,
        });
        for mut spec in found {
            let id = spec.manifest.id.clone();
            if !seen.insert(id.clone()) {
                let reason = "there is another plugin of this id".to_owned();
                refusals.push(Refusal { path: spec.dir, reason });
                continue;
            }
            if let Some(config) = self.context.settings.configs.get(&id) {
                spec.config = config.clone();
            }
            let objection = taken.objection(&spec).or_else(|| self.context.not_granted(&spec));
            match (&objection, self.running(&id)) {
                (None, _) => taken.add(&spec),
                (Some(_), Some(running)) => taken.add(&running.face.borrow().spec),
                (Some(_), None) => {}
            }
            self.place(Arc::new(spec), objection);
        }
        let gone: Vec<String> =
            self.entries.keys().filter(|id| !seen.contains(*id)).cloned().collect();
        for id in gone {
            self.remove(&id, "its directory is gone");
        }
        let since = self.context.settings.clock.now();
        self.refused = refusals.into_iter().map(|refusal| refused(refusal, since)).collect();
        self.show();
    }

    fn running(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id).filter(|entry| entry.commands.is_some())
    }

    fn running_in(&self, dir: &Path) -> Option<(&String, &Entry)> {
        let mut running = self.entries.iter().filter(|(_, entry)| entry.commands.is_some());
        running.find(|(_, entry)| entry.found.origin == Origin::Directory && entry.found.dir == dir)
    }

    async fn rescan(&mut self) -> Vec<Refusal> {
        let context = Arc::clone(&self.context);
        let scan = spawn_blocking(move || match &context.settings.plugins_dir {
            Some(dir) => discover(dir, context.settings.as_root),
            None => (Vec::new(), Vec::new()),
        });
        match scan.await {
            Ok((specs, refusals)) => {
                self.apply(specs, refusals.clone());
                refusals
            }
            Err(error) => {
                tracing::error!(%error, "the plugin directory could not be looked at");
                Vec::new()
            }
        }
    }

    fn place(&mut self, spec: Arc<PluginSpec>, objection: Option<String>) {
        let id = spec.manifest.id.clone();
        let Some(entry) = self.entries.get_mut(&id) else { return self.add(spec, objection) };
        let reason = entry.face.borrow().reason.clone();
        match (&entry.commands, &objection) {
            (Some(_), None) if *entry.found == *spec => {}
            (None, Some(now)) if *entry.found == *spec && *now == reason => {}
            (Some(commands), None) => {
                tracing::info!(plugin = id, "its manifest has changed");
                // A supervisor takes commands at once; if this one cannot, the next scan will do.
                if commands.try_send(Command::Renew(Arc::clone(&spec))).is_ok() {
                    entry.found = spec;
                }
            }
            (Some(_), Some(reason)) => {
                tracing::warn!(plugin = id, reason, "its new manifest cannot be used");
            }
            (None, _) => {
                self.remove(&id, "its manifest has changed");
                self.add(spec, objection);
            }
        }
    }

    fn add(&mut self, spec: Arc<PluginSpec>, objection: Option<String>) {
        let id = spec.manifest.id.clone();
        let (state, reason) = match objection {
            Some(reason) => (State::Incompatible, reason),
            None => (State::Inactive, "it has just been found".to_owned()),
        };
        if state == State::Incompatible {
            tracing::warn!(plugin = id, reason, "the plugin is not started");
        }
        let now = self.context.settings.clock.now();
        let (face, seen) = watch::channel(Face::new(Arc::clone(&spec), state, reason, now));
        let counters = Arc::<Counters>::default();
        let commands = (state != State::Incompatible).then(|| {
            let (sender, commands) = mpsc::channel(COMMANDS_MAX);
            let post = Post {
                context: Arc::clone(&self.context),
                counters: Arc::clone(&counters),
                commands,
                face,
                announcer: self.announcer.clone(),
                manifest_changed: Arc::clone(&self.manifest_changed),
            };
            self.supervise(&id, post);
            sender
        });
        self.entries.insert(id, Entry { found: spec, face: seen, counters, commands });
    }

    /// A plugin that comes back waits until the one that was removed has ended: they share their
    /// state directory.
    fn supervise(&mut self, id: &str, post: Post) {
        let before = self.supervisors.remove(id);
        let supervisor = self.tasks.spawn(async move {
            if let Some(before) = before
                && let Err(error) = before.await
            {
                tracing::error!(%error, "a supervisor ended badly");
            }
            supervisor::run(post).await;
        });
        self.supervisors.insert(id.to_owned(), supervisor);
    }

    fn remove(&mut self, id: &str, reason: &'static str) {
        if let Some(Entry { commands: Some(commands), .. }) = self.entries.remove(id) {
            // If there is no room it hears it from the end of its commands, though not why.
            drop(commands.try_send(Command::Retire(reason)));
        }
    }

    fn show(&self) {
        let table = Table::new(self.entries.clone(), self.refused.clone());
        self.context.bus.classes().declare(table.audible());
        self.table.send_replace(Arc::new(table));
    }

    async fn end(mut self) {
        let ids: Vec<String> = self.entries.keys().cloned().collect();
        for id in ids {
            self.remove(&id, "the daemon stops");
        }
        for ended in join_all(std::mem::take(&mut self.supervisors).into_values()).await {
            if let Err(error) = ended {
                tracing::error!(%error, "a supervisor ended badly");
            }
        }
        let Self { announcer, announcing, .. } = self;
        drop(announcer);
        if let Err(error) = announcing.await {
            tracing::error!(%error, "changes of state may be missing in the log");
        }
    }
}
