//! The container image: built by a real engine, and run without any privilege over files that cannot
//! be written.

use std::process::Command;

use kit::lab::wait_for;
use serde_json::Value;

use super::{built_by, root};
use crate::engine::Dockerd;

const NAME: &str = "sysadmd";

/// How the guide runs it, but for the network.
const OPTIONS: [&str; 15] = [
    "--detach",
    "--name",
    NAME,
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--tmpfs=/run",
    "--tmpfs=/tmp",
    "--volume=sysadmd:/var/lib/sysadmd",
    "--log-driver=json-file",
    "--stop-timeout=45",
    "--pids-limit=512",
    "--memory=512m",
    "--init=false",
];

fn image(engine: &Dockerd) -> String {
    let mut build = Command::new(root().join("packaging/build"));
    build.env("DOCKER_HOST", format!("unix://{}", engine.socket().display()));
    build.env("DOCKER_API_VERSION", "1.41").env("DOCKER_BUILDKIT", "0").env("ENGINE", "docker");
    let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/image");
    built_by(build, &["--profile", "dev", "--out", out, "--version", "1.0.0", "image"])
}

fn ctl(engine: &Dockerd, words: &[&str]) -> Value {
    let begin = ["exec", NAME, "/usr/bin/sysadmctl", "--json"];
    let said = engine.must(&[&begin[..], words].concat());
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn the_image_runs_without_privileges_and_keeps_its_state() {
    let mut engine = Dockerd::new(&[]);
    engine.start();
    let image = image(&engine);
    assert_eq!(image, "sysadmd:1.0.0");
    engine.must(&[&["run"][..], &OPTIONS, &[&image]].concat());
    it_answers(&engine);
    assert!(ctl(&engine, &["setup"])["token"].as_str().is_some_and(|it| it.starts_with("sad_")));
    nothing_is_wrong(&engine);
    let fired = ["events", "fire", "it was here"];
    let before = ctl(&engine, &fired);
    engine.must(&["stop", NAME]);
    let code = engine.must(&["inspect", "--format", "{{.State.ExitCode}}", NAME]);
    assert_eq!(code, "0", "it was asked to stop");
    engine.must(&["start", NAME]);
    it_answers(&engine);
    let after = engine.must(&["exec", NAME, "/usr/bin/sysadmctl", "--json", "events", "list"]);
    let id = before["event_id"].as_str().expect("an id");
    assert!(after.contains(id), "{id}: {after}");
}

/// The image's own check of its health says so.
fn it_answers(engine: &Dockerd) {
    let check = engine.must(&["inspect", "--format", "{{json .Config.Healthcheck.Test}}", NAME]);
    let check: Vec<String> = serde_json::from_str(&check).expect("JSON");
    let words: Vec<&str> = check.iter().skip(1).map(String::as_str).collect();
    wait_for("it to be healthy", || {
        engine.try_to(&[&["exec", NAME][..], &words].concat()).status.success()
    });
}

fn nothing_is_wrong(engine: &Dockerd) {
    let begin = ["exec", NAME, "/usr/bin/sysadmctl", "--json", "doctor"];
    let said = String::from_utf8_lossy(&engine.try_to(&begin).stdout).into_owned();
    assert!(said.contains("state-directory") && !said.contains("\"problem\""), "{said}");
}
