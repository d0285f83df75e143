//! A daemon that runs as root runs nothing that somebody else could change.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use serde_json::{Value, json};

use crate::it::harness::{Program, Site, until};
use crate::run;

/// The copy of the kit's program in the plugin's own directory.
const PROGRAM: &str = "program";

#[test]
fn what_others_could_change_is_refused_and_the_reason_is_shown() {
    assert!(nix::unistd::geteuid().is_root(), "run tests/run as root");
    run(async {
        let mut program = site().spawn().await;
        program.ready("own").await;
        let dir = program.site().plugins().join("own");
        let (manifest, code) = (dir.join("manifest.json"), dir.join(PROGRAM));
        let cases: [(&str, &dyn Fn(bool)); 4] = [
            ("manifest.json can be written by others", &|bad| mode(&manifest, bad, 0o664, 0o644)),
            ("program can be written by others", &|bad| mode(&code, bad, 0o757, 0o755)),
            ("plugins/own can be written by others", &|bad| mode(&dir, bad, 0o777, 0o755)),
            ("program belongs to user 65534", &|bad| {
                chown(&code, Some(if bad { 65_534 } else { 0 }), None).expect("it changes hands");
            }),
        ];
        for (reason, change) in cases {
            let site = program.stop().await;
            change(true);
            program = site.spawn().await;
            is_shown(&program, "incompatible", reason).await;
            // Mended, it starts by itself.
            change(false);
            program.ready("own").await;
        }
        program.stop().await;
    });
}

#[test]
fn what_became_untrusted_while_it_ran_is_not_started_again() {
    assert!(nix::unistd::geteuid().is_root(), "run tests/run as root");
    run(async {
        let program = site().spawn().await;
        program.ready("own").await;
        let code = program.site().plugins().join("own").join(PROGRAM);
        mode(&code, true, 0o757, 0o755);
        let died = program.admin().await.call("own", "crash", Value::Null).await;
        died.expect_err("it dies in the call");
        is_shown(&program, "quarantined", "program can be written by others").await;
        program.stop().await;
    });
}

/// A site whose plugin `own` brings its own program.
fn site() -> Site {
    let mut manifest = kit::plugins::manifest("own", &["good"]);
    manifest["exec"][0] = format!("./{PROGRAM}").into();
    let site = Site::new().with_plugin(manifest);
    let code = site.plugins().join("own").join(PROGRAM);
    fs::copy(kit::plugins::program(), &code).expect("the program is copied");
    site
}

fn mode(path: &Path, is_bad: bool, bad: u32, good: u32) {
    let mode = if is_bad { bad } else { good };
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode is changed");
}

async fn is_shown(program: &Program, state: &str, reason: &str) {
    let mut admin = program.admin().await;
    until(&format!("it is {state}: {reason}"), async || {
        let answer = admin.call("rpc", "plugins", json!({"action": "list"})).await;
        let listed = answer.expect("the plugins are listed");
        let plugins = listed["plugins"].as_array().expect("a list");
        plugins.iter().any(|plugin| {
            let said = plugin["reason"].as_str().unwrap_or_default();
            plugin["id"] == "own" && plugin["state"] == state && said.contains(reason)
        })
    })
    .await;
}
