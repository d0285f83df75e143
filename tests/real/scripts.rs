//! Scripts in `tests/clients` that drive the daemon with other people's client libraries.

use std::path::Path;

use tokio::process::Command;

/// A script to be run by this interpreter, with what the daemon's address and a token of its are.
pub(crate) fn script(interpreter: &Path, name: &str, port: &str, token: &str) -> Command {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut command = Command::new(interpreter);
    command.arg(scripts.join(name)).args([port, token]).kill_on_drop(true);
    command
}

/// Runs one to its end, where it says how many checks it has made.
pub(crate) async fn has_checked(mut script: Command) {
    let output = script.output().await;
    let output = output.unwrap_or_else(|error| {
        let program = script.as_std().get_program().display();
        panic!("{program}: {error}; tests/run installs what is needed")
    });
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script:?}: {said}{complaint}");
    assert!(said.trim_end().ends_with("checks"), "{said}");
}
