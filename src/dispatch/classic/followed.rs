//! Jobs that pages of the original follow by their names: packages, updates, virtual machines and
//! sources. What is told of them has another shape, with what their page looks for. Pure.

use serde_json::{Map, Value, json};

/// The part of the original that follows a job of this name; `None`: nobody does.
pub fn system(process_id: &str) -> Option<&'static str> {
    let first = process_id.split("::").next().unwrap_or_default();
    match process_id {
        id if id.starts_with("sysadm_iohyve") => Some("iohyve"),
        id if id.starts_with("sysadm_pkg") => Some("pkg"),
        id if id.starts_with("sysadm_sourcectl_") => Some("sourcectl"),
        _ if first == "sysadm_update_runupdates" => Some("update"),
        _ => None,
    }
}

/// What is told of a job, given what is told of any: the same, unless a page follows it.
pub(super) fn told(mut log: Map<String, Value>) -> Map<String, Value> {
    let text = |log: &Map<String, Value>, name: &str| {
        log.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (process_id, state) = (text(&log, "process_id"), text(&log, "state"));
    let Some(system) = system(&process_id) else { return log };
    let last = log.get("cmd_list").and_then(Value::as_array).and_then(|all| all.last());
    let last = last.and_then(Value::as_str).unwrap_or_default().to_owned();
    let command = Some(text(&log, "current_cmd")).filter(|it| !it.is_empty()).unwrap_or(last);
    let said = text(&log, &command);
    let mut args = Map::new();
    match system {
        "pkg" => package(&mut args, &process_id, &said, state == "finished"),
        "iohyve" => {
            let is_named = process_id.split("::").next() == Some("sysadm_iohyve_fetch");
            if is_named || command.starts_with("iohyve fetch ") {
                args.extend(fetched(&said));
            }
        }
        _ => drop(args.insert("update_log".to_owned(), said.into())),
    }
    args.extend(log.remove_entry("job_id"));
    args.insert("event_system".to_owned(), format!("sysadm/{system}").into());
    args.insert("state".to_owned(), state.into());
    args.insert("process_details".to_owned(), log.into());
    args
}

fn package(args: &mut Map<String, Value>, process_id: &str, said: &str, is_finished: bool) {
    let kind = process_id.split('-').next().unwrap_or_default();
    let action = kind.split_once('_').map_or("", |(_, action)| action);
    args.insert("pkg_log".to_owned(), said.into());
    args.insert("action".to_owned(), action.into());
    match action {
        "pkg_check_upgrade" if is_finished => {
            let has_updates = !said.contains("Your packages are up to date.");
            args.insert("updates_available".to_owned(), has_updates.to_string().into());
        }
        "pkg_audit" if is_finished => {
            let (vulnerable, impacts) = audited(said);
            args.insert("vulnerable_pkgs".to_owned(), vulnerable.into());
            args.insert("impacts_pkgs".to_owned(), impacts.into());
        }
        _ => {}
    }
}

/// The packages that an audit names, and those that depend on them: each once, in its order.
fn audited(said: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut vulnerable, mut impacts) = (Vec::new(), Vec::new());
    let named = said.lines().filter_map(|line| line.strip_prefix("Packages that depend on "));
    for line in named {
        let (package, others) = line.split_once(": ").unwrap_or((line, ""));
        vulnerable.push(package.trim_end_matches(':'));
        impacts.extend(others.split(", "));
    }
    for list in [&mut vulnerable, &mut impacts] {
        let mut seen = std::collections::HashSet::new();
        list.retain(|name| !name.is_empty() && seen.insert(*name));
    }
    (vulnerable, impacts)
}

/// How far a download is, by the last line that says so.
fn fetched(said: &str) -> Map<String, Value> {
    let tells = |line: &&str| line.contains("% of ") || line.ends_with(" Bps");
    let Some(line) = said.lines().rev().find(tells) else { return Map::new() };
    let mut parts = line.splitn(3, '\t');
    let mut next = || parts.next().unwrap_or_default();
    let told = json!({ "filename": next(), "percent_done": next(), "download_rate": next() });
    told.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(log: Value) -> Value {
        let Value::Object(log) = log else { panic!("an object") };
        told(log).into()
    }

    #[test]
    fn names_say_whose_page_follows() {
        for (name, expected) in [
            ("backup", None),
            ("sysadm_update", None),
            ("sysadm_update_checkupdates::{1}", None),
            ("sysadm_update_runupdates", Some("update")),
            ("sysadm_update_runupdates::{1}", Some("update")),
            ("sysadm_update_runupdates2::{1}", None),
            ("sysadm_pkg_install-{1}", Some("pkg")),
            ("sysadm_iohyve_fetch::::{1}", Some("iohyve")),
            ("sysadm_sourcectl_ports::{1}", Some("sourcectl")),
            ("sysadm_sourcectl", None),
            ("", None),
        ] {
            assert_eq!(system(name), expected, "{name}");
        }
    }

    #[test]
    fn a_job_that_nobody_follows_is_told_as_it_is() {
        let log = json!({"process_id": "p", "state": "finished", "cmd_list": ["x"], "x": "1"});
        assert_eq!(of(log.clone()), log);
    }

    #[test]
    fn packages_have_their_log_and_what_was_found() {
        let id = "sysadm_pkg_check_upgrade-{5f}";
        let log = json!({"process_id": id, "state": "running", "cmd_list": ["a", "b"],
            "current_cmd": "a", "a": "half"});
        let expected = json!({"event_system": "sysadm/pkg", "state": "running", "pkg_log": "half",
            "action": "pkg_check_upgrade", "process_details": log});
        assert_eq!(of(log), expected);
        for (said, has_updates) in
            [("Your packages are up to date.\n", "false"), ("3 to do", "true")]
        {
            let log = json!({"process_id": id, "state": "finished", "cmd_list": ["a", "b"],
                "b": said, "job_id": "j"});
            let told = of(log);
            assert_eq!(
                (&told["updates_available"], &told["pkg_log"]),
                (&json!(has_updates), &json!(said))
            );
            assert_eq!(
                (&told["job_id"], &told["process_details"]["job_id"]),
                (&json!("j"), &Value::Null)
            );
        }
        let said = "Packages that depend on openssl: curl, git\nPackages that depend on zlib: git, \n\
            Packages that depend on openssl: curl\nnothing else";
        let told = of(json!({"process_id": "sysadm_pkg_audit-{1}", "state": "finished",
            "cmd_list": ["pkg audit"], "pkg audit": said}));
        assert_eq!(told["vulnerable_pkgs"], json!(["openssl", "zlib"]));
        assert_eq!(told["impacts_pkgs"], json!(["curl", "git"]));
    }

    #[test]
    fn updates_and_downloads_have_what_their_pages_show() {
        let told = of(json!({"process_id": "sysadm_update_runupdates::{1}", "state": "pending",
            "cmd_list": ["up"]}));
        let expected = json!({"event_system": "sysadm/update", "state": "pending", "update_log": "",
            "process_details": {"process_id": "sysadm_update_runupdates::{1}", "state": "pending",
                "cmd_list": ["up"]}});
        assert_eq!(told, expected);
        let told = of(json!({"process_id": "sysadm_iohyve_fetch::x", "state": "running",
            "cmd_list": ["f"], "current_cmd": "f", "f": "a.iso\t1% of 9 MB\t5 kBps\na.iso\t2% of 9 MB\t6 kBps\t1s\nend"}));
        assert_eq!(
            (&told["filename"], &told["percent_done"], &told["download_rate"]),
            (&json!("a.iso"), &json!("2% of 9 MB"), &json!("6 kBps\t1s"))
        );
        let quiet = of(json!({"process_id": "sysadm_iohyve_start::x", "state": "running",
            "cmd_list": ["f"], "f": "1% of 2"}));
        assert_eq!(quiet["percent_done"], Value::Null);
    }
}
