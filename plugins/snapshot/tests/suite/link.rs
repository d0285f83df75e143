//! The snapshot plugin as a process of its own, with a state directory that goes with it.

use std::ffi::OsString;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use kit::link::{self, Start};
use serde_json::Value;
use uuid::Uuid;

/// The plugin, and what it has published.
pub(crate) struct Link {
    link: link::Link,
    /// Whether the directory stays when the plugin ends.
    stays: bool,
}

impl Link {
    /// Starts the plugin with a state directory of its own and this configuration.
    pub(crate) fn start(config: &Value) -> Self {
        Self::begin(config, &Self::fresh())
    }

    /// A directory for a plugin, with a state directory in it.
    pub(crate) fn fresh() -> PathBuf {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plugin-{}", Uuid::new_v4()));
        fs::create_dir_all(dir.join("state")).unwrap();
        dir.canonicalize().unwrap()
    }

    /// Starts the plugin in such a directory, which goes with it.
    pub(crate) fn begin(config: &Value, dir: &Path) -> Self {
        let link = link::Link::start(dir, &Start::example("snapshot", "snapshot-plugin", config));
        Self { link, stays: false }
    }

    /// Starts the plugin behind a program that watches it, in a directory that stays; nothing when
    /// it ends before it has said hello.
    pub(crate) fn watched(watcher: &[OsString], dir: &Path) -> Option<Self> {
        let mut start = Start::example("snapshot", "snapshot-plugin", &Value::Null);
        start.command.splice(0..0, watcher.iter().cloned());
        link::Link::try_start(dir, &start).map(|link| Self { link, stays: true })
    }

    /// The next event of this class, waited for; others are passed over.
    pub(crate) fn await_event(&mut self, class: &str) -> Value {
        loop {
            while let Some(event) = self.events.pop_front() {
                if event["class"] == class {
                    return event;
                }
            }
            assert!(self.hear().is_some(), "the plugin ended before {class}");
        }
    }

    /// What it says next about the clock; `ask` has what it says meanwhile read.
    pub(crate) fn await_clock(&mut self, ask: &mut dyn FnMut(&mut Self)) -> Value {
        loop {
            let at = self.events.iter().position(|it| it["class"] == "snapshot.clock-suspect");
            if let Some(event) = at.and_then(|at| self.events.remove(at)) {
                return event;
            }
            ask(self);
        }
    }

    /// Ends it and leaves its directory.
    pub(crate) fn end(mut self) -> PathBuf {
        self.stays = true;
        self.close();
        self.dir.clone()
    }
}

impl Deref for Link {
    type Target = link::Link;

    fn deref(&self) -> &link::Link {
        &self.link
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut link::Link {
        &mut self.link
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.link.kill();
        if !self.stays {
            let _left = fs::remove_dir_all(&self.link.dir);
        }
    }
}
