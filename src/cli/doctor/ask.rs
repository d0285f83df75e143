//! What the daemon itself knows: its time, its plugins, its audit trail.

use protocol::Time;
use serde_json::{Value, json};

use super::Finding;
use super::place::Place;
use crate::cli::client::{Client, Hello};
use crate::cli::output;
use crate::cli::plugins;
use crate::cli::service;

const TIME: &str = "log-time";
const PLUGINS: &str = "plugins";
const CONFINED: &str = "confinement";
const AUDIT: &str = "audit-trail";
/// As far as two clocks may lie apart, in microseconds.
const APART: u64 = 60_000_000;

/// Whether the daemon, its newest event and this machine agree on the time.
pub(super) async fn clock(client: &mut Client, hello: &Hello, now: Time) -> Finding {
    let asked = client.call("events", "list", json!({"limit": 1, "newest_first": true})).await;
    let newest =
        asked.ok().and_then(|page: Value| page["events"][0]["time"].as_str()?.parse().ok());
    judge_time(hello.time, newest, now)
}

fn judge_time(daemon: Time, newest: Option<Time>, now: Time) -> Finding {
    if daemon.micros().abs_diff(now.micros()) > APART {
        let what = format!("the daemon's clock says {daemon}, and here it is {now}");
        return Finding::problem(TIME, what, service::command("restart"));
    }
    match newest {
        Some(newest) if newest.micros() > now.micros().saturating_add(APART) => Finding::problem(
            TIME,
            format!("the newest event is of {newest}, later than now ({now}): a clock was wrong"),
            "set the clock (timedatectl set-ntp true); new events get times behind that one until then",
        ),
        _ => Finding::ok(TIME, "the daemon and its newest event agree with the clock"),
    }
}

/// Plugins that do not serve, and those that are less confined than they could be.
pub(super) async fn plugins(client: &mut Client, place: &Place) -> Vec<Finding> {
    let answer = match plugins::plugins(client).await {
        Ok(answer) => answer,
        Err(failure) => return vec![Finding::unknown(PLUGINS, failure.message)],
    };
    let list = answer["plugins"].as_array().map_or(&[][..], Vec::as_slice);
    let mut findings: Vec<Finding> = list.iter().filter_map(|it| judge_plugin(it, place)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(PLUGINS, format!("all {} are well", list.len())));
    }
    let open: Vec<String> =
        list.iter().filter(|it| is_open(it)).map(|it| output::text(&it["id"])).collect();
    findings.push(if open.is_empty() {
        Finding::ok(CONFINED, "every plugin that runs is held by seccomp and Landlock")
    } else {
        let what = format!("not held by seccomp and Landlock: {}", open.join(", "));
        Finding::warning(CONFINED, what, "a kernel that has both; see seccomp and landlock above")
    });
    findings
}

fn judge_plugin(plugin: &Value, place: &Place) -> Option<Finding> {
    let (id, state) = (output::text(&plugin["id"]), output::text(&plugin["state"]));
    let what = format!("{id} is {state}: {}", output::text(&plugin["reason"]));
    match state.as_str() {
        "ready" | "inactive" | "stopping" => None,
        "starting" | "degraded" => {
            let mend = format!("wait a little; then sysadmctl plugins restart {id}");
            Some(Finding::warning(PLUGINS, what, mend))
        }
        "incompatible" => {
            let folder = place.plugins.join(&id);
            let mend = format!("sysadmctl plugin check {}", folder.display());
            Some(Finding::problem(PLUGINS, what, mend))
        }
        _ => {
            let mend =
                format!("journalctl -u sysadmd says why; then sysadmctl plugins restart {id}");
            Some(Finding::problem(PLUGINS, what, mend))
        }
    }
}

fn is_open(plugin: &Value) -> bool {
    let held = &plugin["confinement"];
    held.is_object() && (held["seccomp"] != true || held["landlock"].is_null())
}

/// Whether the audit trail is as it was written.
pub(super) async fn audit(client: &mut Client) -> Finding {
    let asked = client.call("rpc", "audit", json!({"action": "verify"})).await;
    match asked {
        Ok::<Value, _>(verdict) if verdict["intact"] == true => {
            Finding::ok(AUDIT, format!("{} records are as they were written", verdict["last"]))
        }
        Ok(verdict) => Finding::problem(
            AUDIT,
            format!(
                "record {} is not as it was written: {}",
                verdict["seq"],
                output::text(&verdict["what"])
            ),
            "somebody or something has changed the database: keep a copy of the state directory, \
             find out who could write it, and compare with a backup",
        ),
        Err(failure) => Finding::unknown(AUDIT, failure.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn clocks_may_lie_a_minute_apart() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let verdict = |daemon, newest, now| judge_time(at(daemon), newest, at(now)).verdict;
        assert_eq!(verdict(1000, None, 1060), Verdict::Ok);
        assert_eq!(verdict(1000, None, 1061), Verdict::Problem);
        assert_eq!(verdict(1000, Some(at(1059)), 1000), Verdict::Ok);
        assert_eq!(verdict(1000, Some(at(1061)), 1000), Verdict::Problem);
    }
}
