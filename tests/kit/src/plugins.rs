//! Plugins for tests: the manifest of the plugin that misbehaves on demand, and its program.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! # let plugin_dir = std::path::Path::new("/nowhere");
//! let mut manifest = kit::plugins::manifest("kit", &["slow", "200"]);
//! manifest["limits"]["call_ms"] = 100.into();
//! kit::plugins::install(plugin_dir, manifest)?;
//! # Ok(()) }
//! ```
//!
//! What it can do: `target/debug/misbehave help`.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The manifest of a kit plugin with this id that behaves like this: the first word is the
/// behaviour (`good`, `hang`, …), the others its numbers. Its methods are `ID/echo` and so on, its
/// classes `ID.event` (`log`), `ID.state` (`latest`), `ID.pulse` (`none`) and those that the classic
/// `SysAdm` subscriptions render. Change any member before [`install`].
///
/// Health is asked for often and restarts come fast, so that tests need not wait.
pub fn manifest(id: &str, behaviour: &[&str]) -> Value {
    let mut exec = vec![program().to_string_lossy().into_owned()];
    exec.extend(["--id", id].map(str::to_owned));
    exec.extend(behaviour.iter().map(|word| (*word).to_owned()));
    json!({
        "manifest_version": 1,
        "id": id,
        "description": "Behaves and misbehaves on demand, for tests",
        "version": "1.2.3",
        "exec": exec,
        "limits": { "start_ms": 5_000, "call_ms": 5_000, "stop_ms": 1_000 },
        "restart": { "backoff_min_ms": 10, "backoff_max_ms": 100, "max": 5, "window_s": 60 },
        "health": { "interval_ms": 500, "timeout_ms": 500 },
        "methods": methods(id),
        "events": classes(id),
        "alerts": alerts(id),
    })
}

fn methods(id: &str) -> Value {
    let method = |name: &str, kind: &str, role: &str, summary: &str| json!({ "method": format!("{id}/{name}"), "kind": kind, "role": role, "summary": summary });
    let mut echo = method("echo", "query", "viewer", "Answers its arguments");
    echo["examples"] = json!([
        { "args": { "n": [1, "two", null] }, "result": { "n": [1, "two", null] } },
        { "args": null, "result": null },
    ]);
    let mut sleep =
        method("sleep", "query", "viewer", "Takes `ms`; tells progress; can be cancelled");
    sleep["examples"] = json!([{ "args": { "ms": 1 } }]);
    json!([
        echo,
        sleep,
        method("publish", "mutate", "operator", "Publishes `draft` `n` times, `batch` at once"),
        method(
            "ring",
            "mutate",
            "operator",
            "Says `raise`, `clear` or `sync` of alerts, `n` times"
        ),
        method("fault", "query", "viewer", "Answers with the fault it is given"),
        method("panic", "mutate", "operator", "Panics in the call"),
        method("self", "query", "operator", "Its process: pid, environment, limits, context"),
        method(
            "print",
            "mutate",
            "operator",
            "Prints `text` to its standard output, as a slip would"
        ),
        method("log", "mutate", "operator", "Logs `message` at `level`"),
        method("hang", "mutate", "operator", "Never answers, not even when cancelled"),
        method("eat", "mutate", "admin", "Allocates and touches `bytes`"),
        method("exit", "mutate", "admin", "Exits with `code`"),
        method("crash", "mutate", "admin", "Dies of SIGABRT"),
        method("hostile", "mutate", "admin", "Does the act of malice `act`; what the kernel said"),
    ])
}

fn classes(id: &str) -> Value {
    let class = |class: &str, retain: &str, priority: u8| json!({ "class": class, "role": "viewer", "retain": retain, "priority_default": priority });
    json!([
        class(&format!("{id}.event"), "log", 1),
        class(&format!("{id}.state"), "latest", 1),
        class(&format!("{id}.pulse"), "none", 0),
        class("job.state", "log", 1),
        class("system.state", "latest", 1),
        class("snapshot.created", "log", 1),
        class("replication.started", "log", 1),
        class("replication.progress", "latest", 0),
        class("replication.finished", "log", 1),
        class("replication.failed", "log", 7),
    ])
}

/// `ID.broken`, told at once, and `ID.flapping`, which must be over for a minute; both no more urgent
/// than 7.
fn alerts(id: &str) -> Value {
    json!([
        {
            "kind": format!("{id}.broken"),
            "summary": "It is broken",
            "advice": "Mend it",
            "priority_max": 7,
            "clear_for_s": 0,
        },
        { "kind": format!("{id}.flapping"), "priority_max": 7, "clear_for_s": 60 },
    ])
}

/// Writes `DIR/ID/manifest.json` so that a daemon with this plugin directory starts the plugin.
/// Returns the manifest's path.
///
/// # Errors
/// When the directory cannot be written, or the manifest has no id.
pub fn install(plugin_dir: &Path, mut manifest: Value) -> io::Result<PathBuf> {
    let id = manifest["id"].as_str().ok_or_else(|| io::Error::other("the manifest has no id"))?;
    let dir = plugin_dir.join(id);
    let path = dir.join("manifest.json");
    // The plugin reads its limits from the same text as the daemon.
    let told = Value::String(format!("--manifest={}", path.display()));
    if let Some(exec) = manifest["exec"].as_array_mut()
        && !exec.is_empty()
        && exec.iter().any(|word| word == "--id")
    {
        exec.insert(1, told);
    }
    std::fs::create_dir_all(&dir)?;
    // A plugin with a user of its own could not run it from where this checkout is.
    if manifest["exec"][0] == json!(program()) && !is_open_to_others(program()) {
        std::fs::copy(program(), dir.join("program"))?;
        manifest["exec"][0] = json!("./program");
    }
    std::fs::write(&path, manifest.to_string())?;
    Ok(path)
}

/// Whether other users can run the program at this path.
pub fn is_open_to_others(program: &Path) -> bool {
    let lets_through = |path: &Path| path.metadata().is_ok_and(|it| it.mode() & 0o001 != 0);
    program.ancestors().all(lets_through)
}

/// The path of the program `misbehave`, built if need be.
///
/// # Panics
/// When it is not there and cannot be built; the message has the command.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| workspace_program("sysadmd-kit", "misbehave"))
}

/// The path of a program of this workspace, built if need be: a test of one package cannot ask
/// cargo for the binaries of another. With `SYSADMD_PROGRAMS_BUILT` in the environment what is
/// there is taken as it is, which saves waiting for cargo's lock.
///
/// # Panics
/// When it is not there and cannot be built; the message has the command.
#[allow(
    clippy::panic,
    reason = "test support: a test that lacks its program fails with the command"
)]
pub fn workspace_program(package: &str, name: &str) -> PathBuf {
    let dir = profile_dir();
    let path = dir.join(name);
    let is_self = std::env::current_exe().is_ok_and(|own| own == path);
    let is_built = is_self || std::env::var_os("SYSADMD_PROGRAMS_BUILT").is_some();
    if let (false, Some(cargo)) = (is_built, std::env::var_os("CARGO")) {
        let profile = match dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", package, "--bin", name])
            .args(["--profile", profile, "--target-dir"])
            .arg(dir.parent().unwrap_or(&dir))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "cannot build it: cargo build --package {package} --bin {name}"
        );
    }
    assert!(path.exists(), "run: cargo build --package {package} --bin {name}");
    path
}

/// `target/debug`, or whichever profile the running test or program was built with.
fn profile_dir() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let dir = own.parent().unwrap_or(Path::new("/"));
    let inner = ["deps", "examples"].iter().any(|name| dir.ends_with(name));
    if inner { dir.parent().unwrap_or(dir) } else { dir }.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_one_the_daemon_reads() {
        let text = manifest("kit", &["good"]).to_string();
        let read = protocol::Manifest::parse(&text).unwrap();
        assert!(Path::new(&read.exec[0]).is_absolute());
        assert!(read.methods.iter().any(|method| method.method == "kit/echo"));
    }
}
