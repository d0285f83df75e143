//! Every member of every answer of the classic classes, by name and type, as clients of the original
//! know them: texts where it has texts, and nothing that is not listed here.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::daemon;

/// Compares an answer with its shape: `"text"`, `"flag"` (`"true"` or `"false"`), `"digits"`, `"number"`,
/// `"yes"` (`true`), an array of one shape, an object of members. A member `"?name"` may be absent;
/// `"*"` stands for any number of members of one shape, `"name#"` for any whose name ends with a
/// number. What is wrong is named by its place.
fn wrong(place: &str, value: &Value, shape: &Value) -> Vec<String> {
    let judged = |right: bool| {
        if right { Vec::new() } else { vec![format!("{place} is {value}, and not {shape}")] }
    };
    match shape {
        Value::String(kind) => judged(match kind.as_str() {
            "text" => value.is_string(),
            "flag" => value == "true" || value == "false",
            "digits" => value.as_str().is_some_and(|text| text.parse::<u64>().is_ok()),
            "number" => value.is_u64(),
            "yes" => *value == true,
            other => panic!("no shape: {other}"),
        }),
        Value::Array(shapes) => match value.as_array() {
            None => judged(false),
            Some(values) => {
                let each = values.iter().enumerate();
                each.flat_map(|(n, it)| wrong(&format!("{place}[{n}]"), it, &shapes[0])).collect()
            }
        },
        Value::Object(shapes) => match value.as_object() {
            None => judged(false),
            Some(members) => {
                let missing = shapes.keys().filter(|name| {
                    !name.starts_with('?')
                        && !name.ends_with(['*', '#'])
                        && !members.contains_key(*name)
                });
                let missing = missing.map(|name| format!("{place}.{name} is missing"));
                let each = members.iter().flat_map(|(name, member)| {
                    let place = format!("{place}.{name}");
                    let numbered =
                        format!("{}#", name.trim_end_matches(|c: char| c.is_ascii_digit()));
                    let known = [name.clone(), format!("?{name}"), numbered, "*".to_owned()];
                    match known.iter().find_map(|name| shapes.get(name)) {
                        Some(shape) => wrong(&place, member, shape),
                        None => vec![format!("{place} is nothing that the original has")],
                    }
                });
                missing.chain(each).collect()
            }
        },
        other => panic!("no shape: {other}"),
    }
}

#[test]
fn what_differs_is_found() {
    let shape = json!({"cpu#": {"busy": "digits"}, "?a": "flag", "list": ["text"]});
    assert_eq!(wrong("it", &json!({"cpu1": {"busy": "5"}, "list": []}), &shape), [""; 0]);
    for (value, place) in [
        (json!({}), "it.list"),
        (json!({"list": [1]}), "it.list[0]"),
        (json!({"list": [], "a": true}), "it.a"),
        (json!({"list": [], "b": "x"}), "it.b"),
        (json!({"list": [], "cpu": {"busy": 5}}), "it.cpu.busy"),
        (json!([]), "it"),
    ] {
        let found = wrong("it", &value, &shape);
        assert!(found.len() == 1 && found[0].starts_with(place), "{value}: {found:?}");
    }
}

/// What the class `systemmanager` answers, by action, below the action's own name.
fn manager() -> Value {
    json!({
        "batteryinfo": {"battery": "flag", "?status": "text", "?level": "text", "?timeleft": "text"},
        "cpupercentage": {"busytotal": "text", "cpu#": {"busy": "text"}},
        "cputemps": {"*": "text"},
        "externalmounts": {"*": {"type": "text", "filesystem": "text", "path": "text"}},
        "memorystats": {"free": "digits", "inactive": "digits", "cache": "digits",
                        "wired": "digits", "active": "digits"},
        "procinfo": {"*": {"username": "text", "thr": "digits", "pri": "text", "nice": "text",
                           "size": "text", "res": "text", "state": "text", "cpu": "text",
                           "time": "text", "wcpu": "text", "command": "text"}},
        "sysctllist": {"*": {"value": "text", "type": "text", "?description": "text"}},
        "systeminfo": {"arch": "text", "systemversion": "text", "kernelversion": "text",
                       "kernelident": "text", "hostname": "text", "uptime": "text",
                       "cputype": "text", "cpucores": "digits", "totalmem": "digits"},
        "deviceinfo": {"*": {"class": "text", "vendor": "text", "device": "text",
                             "?subclass": "text", "?driver": "text"}},
    })
}

/// What the other classes answer, at the top.
fn others() -> [(&'static str, Value, Value); 4] {
    [
        (
            "users",
            json!({"action": "usershow"}),
            json!({"*": {"name": "text", "uid": "digits", "gid": "digits", "class": "text",
                         "change": "text", "expire": "text", "comment": "text",
                         "home_dir": "text", "shell": "text", "?canremove": "flag",
                         "?personacrypt_enabled": "flag"}}),
        ),
        (
            "users",
            json!({"action": "groupshow"}),
            json!({"*": {"name": "text", "gid": "digits", "users": ["text"]}}),
        ),
        (
            "network",
            json!({"action": "list-devices"}),
            json!({"*": {"ipv4": "text", "ipv6": "text", "netmask": "text", "description": "text",
                         "MAC": "text", "status": "text", "is_active": "flag", "is_dhcp": "flag",
                         "is_wireless": "flag"}}),
        ),
        (
            "network",
            json!({"action": "list-settings"}),
            json!({"*": {"device": "text", "associated_device": "text", "use_dhcp": "flag",
                         "static_ipv4": "text", "static_ipv6": "text", "static_netmask": "text",
                         "static_gateway": "text"}}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_the_members_that_clients_know() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    let mut found = Vec::new();
    for (action, shape) in manager().as_object().unwrap() {
        let args = json!({ "action": action });
        let answer = admin.call("sysadm", "systemmanager", args).await.unwrap();
        found.extend(wrong("systemmanager", &answer, &json!({ action: shape })));
    }
    for (class, args, shape) in others() {
        let answer = admin.call("sysadm", class, args.clone()).await.unwrap();
        assert!(!answer.as_object().unwrap().is_empty(), "{class} {args} tells nothing");
        found.extend(wrong(&format!("{class} {}", args["action"]), &answer, &shape));
    }
    let one = "kernel.ostype";
    for (args, shape) in [
        (json!({"action": "getsysctl", "sysctl": one}), json!({one: "text"})),
        (json!({"action": "getsysctl", "sysctl": [one]}), json!({one: "text"})),
        (json!({"action": "killproc"}), json!({"error": "text"})),
        (json!({"action": "getsysctl"}), json!({"error": "text"})),
    ] {
        let action = args["action"].as_str().unwrap().to_owned();
        let answer = admin.call("sysadm", "systemmanager", args).await.unwrap();
        found.extend(wrong("systemmanager", &answer, &json!({ action: shape })));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_listed_with_real_flags_and_numbers() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    let dir = running.site.path().join("listed");
    std::fs::create_dir_all(dir.join("inner")).unwrap();
    std::fs::write(dir.join("file"), "12345").unwrap();
    std::fs::write(dir.join(".hidden"), "").unwrap();
    symlink("file", dir.join("link")).unwrap();
    let list = async |admin: &mut kit::client::SysAdmClient, args: Value| {
        admin.call("sysadm", "fs", args).await.unwrap()
    };
    let answer = list(&mut admin, json!({"action": "DirList", "dir": dir})).await;
    let entries = answer.as_object().unwrap().values().next().unwrap();
    let shape = json!({"inner": {"dir": "yes"}, "link": {"symlink": "yes", "target": "text"},
                       "file": {"size": "number", "owner": "text", "group": "text"}});
    assert_eq!(wrong("dirlist", entries, &shape), [""; 0], "{answer}");
    assert_eq!(entries["file"]["size"], 5);
    for (args, expected) in [
        (json!({"action": "dirlist", "dir": dir.join("none")}), json!({})),
        (json!({"action": "dirlist"}), json!({"error": "Requires dir key"})),
        (json!({"action": "dirlist", "dir": ""}), json!({"error": "Empty dir name"})),
    ] {
        assert_eq!(list(&mut admin, args).await, json!({"dirlist": expected}));
    }
    drop(admin);
    running.stop().await;
}
