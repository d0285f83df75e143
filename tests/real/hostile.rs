//! A plugin that means harm beside a daemon that is root: it has a user of its own, and everything
//! of that user ends with it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::it::harness::{Site, until};
use crate::it::villain::{Scene, VILLAIN};
use crate::run;

#[test]
fn a_plugin_that_means_harm_gets_nowhere() {
    run(async {
        let mut scene = scene(Site::new()).await;
        scene.what_is_allowed_works().await;
        scene.files_are_closed().await;
        scene.sockets_are_closed().await;
        scene.processes_are_closed().await;
        scene.others_are_left_alone().await;
        scene.calls_are_closed().await;
        scene.limits_hold().await;

        scene.refused(json!({"act": "become-root"})).await;
        let program = setuid_program(scene.program.site());
        let user = scene.done(json!({"act": "setuid-program", "path": program})).await;
        let confinement = scene.shown(VILLAIN).await["confinement"].take();
        assert_eq!(user, confinement["user"].to_string(), "a setuid program gives nothing");
        let shadow = json!({"act": "second-name", "path": "/etc/shadow"});
        scene.refused(shadow).await;
        scene.end().await;
    });
}

#[test]
fn every_plugin_has_a_user_of_its_own_and_the_kernel_says_what_is_shown() {
    run(async {
        let mut site = Site::new();
        site.built_in = true;
        let mut scene = scene(site).await;
        scene.program.ready("snapshot").await;
        let mut users = Vec::new();
        for plugin in [VILLAIN, "kit", "snapshot"] {
            let shown = scene.shown(plugin).await;
            let status = fs::read_to_string(format!("/proc/{}/status", shown["pid"]));
            let status = status.expect("the process lives");
            let held = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
                line.split_whitespace().next().expect("a word").to_owned()
            };
            let confinement = &shown["confinement"];
            let user = confinement["user"].as_u64().expect("a number");
            assert_eq!(held("Uid:"), user.to_string());
            assert_eq!(held("Gid:"), user.to_string());
            assert_eq!(status.lines().find(|line| line.starts_with("Groups:")), Some("Groups:\t "));
            assert_eq!((held("NoNewPrivs:"), held("Seccomp:")), ("1".into(), "2".into()));
            assert_eq!(
                held("CapEff:") == "0000000000000000",
                confinement["capabilities"] == json!([])
            );
            assert_eq!(held("CapEff:"), held("CapBnd:"));
            users.push(user);
        }
        assert_eq!(users[2], 0, "snapshots need root");
        assert!(users[0] != users[1] && users[..2].iter().all(|user| *user != 0), "{users:?}");
        let state = scene.state_of(VILLAIN).metadata().expect("a directory");
        assert_eq!((u64::from(state.uid()), state.mode() & 0o7777), (users[0], 0o700));
        scene.restart().await;
        let again = scene.shown(VILLAIN).await["confinement"]["user"].clone();
        assert_eq!(again, users[0], "the same at every start");
        scene.end().await;
    });
}

#[test]
fn what_it_leaves_behind_ends_with_it_however_much_it_is() {
    run(async {
        let mut scene = scene(Site::new()).await;
        let user = scene.shown(VILLAIN).await["confinement"]["user"].to_string();
        let left = scene.done(json!({"act": "leave"})).await;
        let left = left.as_str().expect("a number").to_owned();
        assert!(of_user(&user).contains(&left));
        scene.restart().await;
        // What is killed takes a moment to die.
        until("it has not outlived the plugin", async || !of_user(&user).contains(&left)).await;

        scene.refused(json!({"act": "fork-all"})).await;
        let count = of_user(&user).len();
        assert!((100..=256).contains(&count), "{count} processes");
        scene.neighbour_is_well().await;
        scene.restart().await;
        until("the plugin is alone", async || of_user(&user).len() == 1).await;
        scene.end().await;
        until("nobody is left", async || of_user(&user).is_empty()).await;
    });
}

#[test]
fn a_trap_in_its_state_directory_catches_nobody() {
    run(async {
        let mut scene = scene(Site::new()).await;
        let victim = scene.program.site().path().join("victim");
        fs::create_dir(&victim).expect("a directory");
        fs::write(victim.join("file"), "as it was").expect("a file");
        let seen = |path: &Path| {
            let meta = path.metadata().expect("it is there");
            (meta.uid(), meta.mode(), meta.mtime_nsec())
        };
        let before = [seen(&victim), seen(&victim.join("file"))];
        scene.done(json!({"act": "trap", "path": victim})).await;
        scene.restart().await;
        assert_eq!([seen(&victim), seen(&victim.join("file"))], before);
        let inside = scene.state_of(VILLAIN).join("tmp/file");
        scene.refused(json!({"act": "read", "path": inside})).await;
        scene.end().await;
    });
}

#[test]
fn what_the_manifest_says_of_the_environment_reaches_the_plugin_and_nobody_before_it() {
    run(async {
        let site = Site::new();
        let notes = site.path().join("plugin-state/bad");
        let mut manifest = kit::plugins::manifest(VILLAIN, &["good"]);
        // The loader of every program that has these in its environment writes a file of its own.
        manifest["sandbox"]["environment"] =
            json!({"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": notes.join("note"), "COLOUR": "green"});
        let program = site.with_plugin(manifest).spawn().await;
        program.ready(VILLAIN).await;
        let own = program.admin().await.call(VILLAIN, "self", Value::Null).await;
        let own = own.expect("its portrait");
        assert_eq!(own["env"]["COLOUR"], "green", "{own}");
        assert_eq!(own["env"]["TMPDIR"], json!(notes.join("tmp")), "{own}");
        let written: Vec<_> = notes.read_dir().expect("a directory").flatten().collect();
        let written: Vec<_> = written
            .iter()
            .filter(|it| it.file_name() != "tmp")
            .map(fs::DirEntry::metadata)
            .collect();
        assert!(!written.is_empty(), "the plugin's own loader has it");
        for note in written {
            assert_ne!(note.expect("a file").uid(), 0, "root has read it before");
        }
        program.stop().await;
    });
}

#[test]
fn a_program_that_its_user_cannot_reach_is_named_in_the_reason() {
    run(async {
        let mut manifest = kit::plugins::manifest(VILLAIN, &["good"]);
        manifest["exec"][0] = "./program".into();
        manifest["restart"]["max"] = 1.into();
        let site = Site::new().with_plugin(manifest);
        let dir = site.plugins().join(VILLAIN);
        fs::copy(kit::plugins::program(), dir.join("program")).expect("the program is copied");
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).expect("it is closed");
        let program = site.spawn().await;
        program.plugin_is(VILLAIN, "quarantined").await;
        let answer = program.admin().await.call("rpc", "plugins", json!({"action": "list"})).await;
        let listed = answer.expect("the plugins are listed").to_string();
        assert!(listed.contains("bad/program: ") && listed.contains("chmod o+rx"), "{listed}");
        program.stop().await;
    });
}

#[test]
fn a_state_directory_of_root_becomes_the_plugins() {
    run(async {
        let site = Site::new();
        let dir = site.path().join("plugin-state/bad");
        fs::create_dir_all(dir.join("kept")).expect("a directory");
        fs::write(dir.join("kept/file"), "of a time before").expect("a file");
        let mut scene = scene(site).await;
        scene.done(json!({"act": "append", "path": dir.join("kept/file")})).await;
        let user = scene.shown(VILLAIN).await["confinement"]["user"].clone();
        let owner = dir.join("kept/file").metadata().expect("the file").uid();
        assert_eq!(json!(owner), user);
        scene.end().await;
    });
}

async fn scene(site: Site) -> Scene {
    assert!(nix::unistd::geteuid().is_root(), "run tests/run as root");
    Scene::begin(site, false).await
}

/// A program in the villain's own directory that would run as root.
fn setuid_program(site: &Site) -> std::path::PathBuf {
    let program = site.plugins().join(VILLAIN).join("who");
    fs::copy("/usr/bin/id", &program).expect("the program is copied");
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).expect("its mode is changed");
    program
}

/// The living processes of a user.
fn of_user(user: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let living = entries.filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let word = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.to_owned())
        };
        let is_gone = word("State:")? == "Z";
        (word("Uid:")? == user && !is_gone)
            .then(|| entry.file_name().to_string_lossy().into_owned())
    });
    living.collect()
}
