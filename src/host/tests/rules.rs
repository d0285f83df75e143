//! What is not let in: manifests, programs, names that are taken.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn write(dir: &Place, id: &str, manifest: &str) -> PathBuf {
    let plugin = dir.join("plugins").join(id);
    std::fs::create_dir_all(&plugin).unwrap();
    std::fs::write(plugin.join("manifest.json"), manifest).unwrap();
    let program = plugin.join("run");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn a_directory_says_which_plugins_it_holds_and_why_not() {
    let dir = Place::new();
    let of = |id: &str, exec: &str| {
        format!(r#"{{"manifest_version":1,"id":"{id}","version":"1.0.0","exec":["{exec}","-v"]}}"#)
    };
    let program = write(&dir, "good", &of("good", "./run"));
    write(&dir, "misnamed", &of("other", "./run"));
    write(&dir, "relative", &of("relative", "run"));
    write(&dir, "missing", &of("missing", "./walk"));
    write(&dir, "broken", "{");
    write(&dir, "empty", r#"{"manifest_version":1,"id":"empty","version":"1"}"#);
    let plain = write(&dir, "plain", &of("plain", "./run"));
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::create_dir(dir.join("plugins/.hidden")).unwrap();
    std::fs::write(dir.join("plugins/file"), "").unwrap();
    let (specs, refusals) = discover(&dir.join("plugins"), false);
    assert_eq!(specs.len(), 1);
    assert_eq!((&specs[0].program, specs[0].args.len()), (&program, 1));
    let reason = |id: &str| {
        let path = dir.join("plugins").join(id);
        refusals.iter().find(|refusal| refusal.path == path).unwrap().reason.clone()
    };
    for (id, expected) in [
        ("misnamed", "directory's name"),
        ("relative", "./"),
        ("missing", "not an executable file"),
        ("plain", "not an executable file"),
        ("broken", "manifest.json"),
        ("empty", "exec is empty"),
    ] {
        assert!(reason(id).contains(expected), "{id}: {}", reason(id));
    }
    assert_eq!(refusals.len(), 6);
    assert_eq!(discover(&dir.join("nowhere"), true), (Vec::new(), Vec::new()));
}

#[test]
fn as_root_nothing_is_run_that_somebody_else_can_change() {
    let dir = Place::new();
    let manifest =
        r#"{"manifest_version":1,"id":"loose","version":"1.0.0","exec":["/bin/sh","./run"]}"#;
    let code = write(&dir, "loose", manifest);
    std::fs::set_permissions(&code, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (specs, refusals) = discover(&dir.join("plugins"), true);
    assert!(specs.is_empty(), "the script is open to everybody, whoever runs this test");
    assert!(refusals[0].reason.contains("root"), "{}", refusals[0].reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_incompatible_is_never_started() {
    let mut future = kit::plugins::manifest("future", &["good"]);
    future["api"] = json!({ "min": 7, "max": 9 });
    let mut thief = kit::plugins::manifest("thief", &["good"]);
    thief["methods"][0]["method"] = "kit/echo".into();
    let reserved = kit::plugins::manifest("sysadmd", &["good"]);
    let yard = Yard::new(&[manifest(&["good"]), future, thief, reserved]);
    yard.until("kit", State::Ready).await;
    for (id, expected) in [
        ("future", "protocol 7 to 9"),
        ("thief", "already answered by the plugin kit"),
        ("sysadmd", "belongs to the daemon"),
    ] {
        let status = yard.status(id);
        assert_eq!((status.state, status.pid), (State::Incompatible, None));
        assert!(status.reason.contains(expected), "{}", status.reason);
        let fault = yard.host.control(id, Verb::Start).await.unwrap_err();
        assert!(fault.message.contains(expected), "{fault}");
    }
    assert_eq!(yard.host.method("kit/echo", None, 1).unwrap().plugin, "kit");
    std::fs::remove_dir_all(yard.dir.join("plugins/kit")).unwrap();
    yard.host.rescan().await;
    yard.until("thief", State::Ready).await;
    assert_eq!(yard.call("echo", json!(1)).await, Ok(json!(1)));
    yard.end().await;
}
