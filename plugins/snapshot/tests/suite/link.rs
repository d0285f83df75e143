//! The snapshot plugin as a process of its own, with a state directory that goes with it.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use kit::link::{self, Start};
use serde_json::Value;
use uuid::Uuid;

/// The plugin, and what it has published.
pub(crate) struct Link(link::Link);

impl Link {
    /// Starts the plugin with a state directory of its own and this configuration.
    pub(crate) fn start(config: &Value) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plugin-{}", Uuid::new_v4()));
        let start = Start::example("snapshot", "snapshot-plugin", config);
        Self(link::Link::start(&dir, &start))
    }
}

impl Deref for Link {
    type Target = link::Link;

    fn deref(&self) -> &link::Link {
        &self.0
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut link::Link {
        &mut self.0
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.kill();
        let _left = fs::remove_dir_all(&self.0.dir);
    }
}
