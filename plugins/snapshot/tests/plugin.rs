//! The plugin on its link: what it answers, what it publishes, and in which order.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics when it fails")]

#[allow(dead_code, reason = "what only the tests on real file systems need")]
#[path = "suite/kills.rs"]
mod kills;
#[path = "suite/link.rs"]
mod link;
#[path = "plugin/policies.rs"]
mod policies;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use link::Link;
use serde_json::{Value, json};

/// A plugin without configuration and a directory with a file.
fn bench() -> (Link, PathBuf, String) {
    let link = Link::start(&Value::Null);
    let data = link.dir.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "content").unwrap();
    let text = data.to_str().unwrap().to_owned();
    (link, data, text)
}

#[test]
fn one_call_on_a_directory_takes_a_snapshot() {
    let (mut link, _, data) = bench();
    let answer = link.call("snapshot/create", &json!({ "dataset": data })).unwrap();
    assert_eq!(answer["dataset"]["name"], *data);
    assert_eq!(answer["dataset"]["backend"], "tree");
    assert_eq!(answer["consistency"], json!({ "kind": "per-file", "torn": 0, "unread": 0 }));
    let made = &answer["snapshots"][0];
    assert_eq!(made["state"], "complete");

    let event = link.event();
    assert_eq!((&event["class"], event.get("priority")), (&json!("snapshot.created"), None));
    let subject = format!("/datasets/{}", answer["dataset"]["id"].as_str().unwrap());
    assert_eq!(event["subject"], *subject);
    let message = event["message"].as_str().unwrap();
    let (when, rest) = message.split_at("Fri Nov 21 22:20:00 UTC 2026".len());
    assert_eq!(rest, format!(": New snapshot of {data}"));
    assert!(when.contains(" UTC 20"), "{when}");
    assert_eq!(event["data"]["snapshot"], made["id"]);
    assert_eq!(event["data"]["dataset"], answer["dataset"]["id"]);
    assert_eq!(event["data"]["actor"], "local:test");
}

#[test]
fn a_snapshot_is_listed_by_path_by_id_and_among_all_until_it_is_destroyed() {
    let (mut link, _, data) = bench();
    let answer = link.call("snapshot/create", &json!({ "dataset": data })).unwrap();
    let made = &answer["snapshots"][0];
    assert_eq!(link.event()["data"]["name"], made["name"]);
    for args in [json!({ "dataset": data }), json!({ "dataset": made["dataset"] }), Value::Null] {
        let listed = link.call("snapshot/list", &args).unwrap();
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1, "{listed}");
        assert_eq!(listed["snapshots"][0]["id"], made["id"]);
        assert_eq!(listed["snapshots"][0]["dataset_name"], *data);
        assert_eq!((&listed["next"], &listed["problems"]), (&Value::Null, &json!([])));
    }
    let gone = link.call("snapshot/destroy", &json!({ "id": made["id"] })).unwrap();
    assert_eq!(gone["destroyed"], *made);
    let event = link.event();
    assert_eq!(event["class"], "snapshot.destroyed");
    assert_eq!(event["data"]["name"], made["name"]);
    assert_eq!(link.events.len(), 0);
    assert_eq!(link.close(), Some(0));
}

#[test]
fn an_event_comes_after_what_it_tells_is_on_disk() {
    let (mut link, _, data) = bench();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (snaps, note) = (link.dir.join("state/store/snaps"), Rc::clone(&seen));
    link.on_event = Box::new(move |event| {
        let (dataset, hash) = event["data"]["snapshot"].as_str().unwrap().split_once('@').unwrap();
        let manifest = snaps.join(dataset.strip_prefix("tree:").unwrap()).join(hash);
        note.borrow_mut().push((event["class"].clone(), manifest.exists()));
    });
    let made = link.call("snapshot/create", &json!({ "dataset": data })).unwrap();
    link.call("snapshot/destroy", &json!({ "id": made["snapshots"][0]["id"] })).unwrap();
    let told = seen.borrow();
    assert_eq!(*told, [(json!("snapshot.created"), true), (json!("snapshot.destroyed"), false)]);
}

#[test]
fn the_third_failure_in_a_row_is_more_urgent_and_success_ends_the_row() {
    let (mut link, path, data) = bench();
    let create = json!({ "dataset": data });
    link.call("snapshot/create", &create).unwrap();
    assert_eq!(link.event()["class"], "snapshot.created");
    fs::remove_dir_all(&path).unwrap();
    for priority in [6, 6, 7, 7] {
        let fault = link.call("snapshot/create", &create).unwrap_err();
        assert_eq!(fault["kind"], "not-found");
        let event = link.event();
        assert_eq!(
            (&event["class"], &event["priority"]),
            (&json!("snapshot.failed"), &json!(priority))
        );
        assert!(event["message"].as_str().unwrap().contains(&format!("Snapshot of {data} failed")));
    }
    fs::create_dir(&path).unwrap();
    link.call("snapshot/create", &create).unwrap();
    assert_eq!(link.event()["class"], "snapshot.created");
    fs::remove_dir_all(&path).unwrap();
    link.call("snapshot/create", &create).unwrap_err();
    assert_eq!(link.event()["priority"], 6);
}

#[test]
fn what_the_asker_did_wrong_is_told_to_the_asker_only() {
    let (mut link, _, data) = bench();
    let named = json!({ "dataset": data, "name": "same" });
    link.call("snapshot/create", &named).unwrap();
    assert_eq!(link.event()["class"], "snapshot.created");
    let cases = [
        ("snapshot/create", named, "conflict"),
        ("snapshot/create", json!({}), "bad-request"),
        ("snapshot/create", json!({ "dataset": data, "lable": "x" }), "bad-request"),
        ("snapshot/create", json!({ "dataset": data, "label": "a b" }), "bad-request"),
        ("snapshot/create", json!({ "dataset": "/proc" }), "bad-request"),
        ("snapshot/create", json!({ "dataset": "/no/such/directory" }), "not-found"),
        ("snapshot/create", json!({ "dataset": "nopool/data" }), "not-found"),
        ("snapshot/create", json!({ "dataset": "tree:00000000-0000-0000" }), "not-found"),
        ("snapshot/register", json!({ "path": "relative" }), "bad-request"),
        ("snapshot/register", json!({ "path": link.dir.join("state/store") }), "bad-request"),
        ("snapshot/list", json!({ "dataset": "/etc/no-such" }), "not-found"),
        ("snapshot/list", json!({ "limit": 0 }), "bad-request"),
        ("snapshot/list", json!({ "after": "tree:12@34" }), "not-found"),
        ("snapshot/destroy", json!({ "id": "same" }), "bad-request"),
        ("snapshot/destroy", json!({ "id": "tree:12@34" }), "bad-request"),
        ("snapshot/nothing", json!({}), "not-found"),
        ("sysadm/lifepreserver", json!({ "action": "nothing" }), "bad-request"),
    ];
    for (method, args, kind) in cases {
        let fault = link.call(method, &args).unwrap_err();
        assert_eq!(fault["kind"], kind, "{method} {args}: {fault}");
        assert!(fault["message"].as_str().unwrap().len() > 10, "{fault}");
    }
    assert_eq!(link.events.len(), 0, "{:?}", link.events);
}

#[test]
fn a_long_list_comes_in_pages() {
    let (mut link, _, data) = bench();
    for number in 0..7 {
        let name = format!("n{number}");
        link.call("snapshot/create", &json!({ "dataset": data, "name": name })).unwrap();
    }
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let mut args = json!({ "limit": 3 });
        if let Some(id) = after {
            args["after"] = id;
        }
        let page = link.call("snapshot/list", &args).unwrap();
        for one in page["snapshots"].as_array().unwrap() {
            names.push(one["name"].as_str().unwrap().to_owned());
        }
        match &page["next"] {
            Value::Null => break,
            next => after = Some(next.clone()),
        }
    }
    assert_eq!(names, ["n0", "n1", "n2", "n3", "n4", "n5", "n6"]);
}

#[test]
fn classic_clients_get_the_classic_shapes() {
    let (mut link, path, data) = bench();
    let old = |link: &mut Link, args: Value| link.call("sysadm/lifepreserver", &args).unwrap();
    let create = json!({ "action": "createsnap", "dataset": data, "snap": "one", "comment": "c" });
    assert_eq!(
        old(&mut link, create.clone()),
        json!({ "createsnap": { "dataset": data, "snap": "one", "comment": "c" } })
    );
    assert_eq!(link.event()["class"], "snapshot.created");
    let error = old(&mut link, create);
    assert!(error["createsnap"]["error"].as_str().unwrap().starts_with("ERROR: "), "{error}");
    let bare = json!({ "action": "createsnap", "dataset": data, "snap": "two" });
    assert_eq!(old(&mut link, bare), json!({ "createsnap": { "dataset": data, "snap": "two" } }));
    let key = |snap: &str| format!("{data}@{snap}");
    assert_eq!(
        old(&mut link, json!({ "action": "listsnap", "pool": data })),
        json!({ "listsnap": { key("one"): { "comment": "c" }, key("two"): { "comment": "" } } })
    );
    let unknown = json!({ "action": "listsnap", "pool": "nowhere" });
    assert_eq!(old(&mut link, unknown), json!({ "listsnap": {} }));
    let remove = json!({ "action": "removesnap", "dataset": data, "snap": "one" });
    assert_eq!(
        old(&mut link, remove.clone()),
        json!({ "removesnap": { "dataset": data, "snap": "one" } })
    );
    let error = old(&mut link, remove);
    assert!(error["removesnap"]["error"].as_str().unwrap().contains("no snapshot one"), "{error}");
    let number = json!({ "action": "createsnap", "dataset": data, "snap": 10 });
    assert_eq!(
        old(&mut link, number),
        json!({ "createsnap": { "error": "Requires dataset and snap keys" } })
    );

    let pools = link.call("sysadm/zfs", &json!({ "action": "list_pools" })).unwrap();
    let pool = pools["list_pools"][&data].as_object().unwrap();
    let mut keys: Vec<&str> = pool.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["alloc", "altroot", "capacity", "dedup", "expandsz", "frag", "free", "health", "size"]
    );
    assert!(pool.values().all(Value::is_string), "{pool:?}");
    let rows = link.call("sysadm/zfs", &json!({ "action": "datasets", "zpool": data })).unwrap();
    let row = &rows["datasets"][&data];
    assert_eq!(row["mountpoint"], *path.to_str().unwrap());
    assert!(row.as_object().unwrap().values().all(Value::is_string) && row["avail"] != "-");
    let none = link.call("sysadm/zfs", &json!({ "action": "datasets", "zpool": "none" })).unwrap();
    assert!(none["datasets"]["error"].as_str().unwrap().starts_with("cannot open"), "{none}");
}

#[test]
fn every_example_of_the_manifest_works_and_every_event_is_declared() {
    let (mut link, _, _) = bench();
    let manifest: Value = serde_json::from_str(snapshot::MANIFEST).unwrap();
    let mut tried = 0;
    for method in manifest["methods"].as_array().unwrap() {
        for example in method["examples"].as_array().into_iter().flatten() {
            let name = method["method"].as_str().unwrap();
            let answer = link.call(name, &example["args"]).unwrap();
            if let Some(expected) = example.get("result") {
                assert_eq!(&answer, expected, "{name} {}", example["args"]);
            }
            for required in method["result"]["required"].as_array().into_iter().flatten() {
                assert!(answer.get(required.as_str().unwrap()).is_some(), "{name}: {answer}");
            }
            tried += 1;
        }
    }
    assert!(tried >= 12, "{tried}");
    let declared = |event: &Value| {
        let classes = manifest["events"].as_array().unwrap();
        classes.iter().find(|class| class["class"] == event["class"]).cloned().unwrap()
    };
    assert!(!link.events.is_empty());
    for event in &link.events {
        for required in declared(event)["schema"]["required"].as_array().unwrap() {
            assert!(event["data"].get(required.as_str().unwrap()).is_some(), "{event}");
        }
    }
}

#[test]
fn configured_directories_are_the_only_ones() {
    let base = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut link = Link::start(&json!({ "directories": [base.join("no-such-place")] }));
    let data = link.dir.join("data");
    fs::create_dir(&data).unwrap();
    let fault = link.call("snapshot/create", &json!({ "dataset": data })).unwrap_err();
    assert!(fault["message"].as_str().unwrap().contains("configuration"), "{fault}");

    let mut link = Link::start(&json!({ "store": "/nowhere-writable\0" }));
    assert_ne!(link.close(), None);
}
