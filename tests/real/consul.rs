//! Consul's own client libraries, as `tests/run` installs them, against the daemon.

use std::path::{Path, PathBuf};

use crate::it::harness::{Program, Site};
use crate::run;
use crate::scripts::{has_checked, script};

#[test]
fn the_python_client_fires_lists_and_follows() {
    with("py_consul.py", "python/bin/python");
}

#[test]
fn the_node_client_fires_lists_and_watches() {
    with("npm_consul.js", "node");
}

/// Runs a script of `tests/clients` with this interpreter of `target/clients`, or of the system.
fn with(name: &str, interpreter: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = root.join("target/clients");
    let own = installed.join(interpreter);
    let program = if interpreter.contains('/') { own } else { PathBuf::from(interpreter) };
    run(async {
        let daemon = daemon().await;
        let token = daemon.token("operator").await;
        let port = daemon.addresses[1].port().to_string();
        let mut script = script(&program, name, &port, &token);
        script.env("NODE_PATH", installed.join("node_modules"));
        has_checked(script).await;
        daemon.stop().await;
    });
}

async fn daemon() -> Program {
    let mut site = Site::new();
    "[consul]\nanonymous_role = \"viewer\"\n".clone_into(&mut site.settings);
    site.plain = true;
    site.spawn().await
}
