//! The arguments of a change. Pure.

use sdk::{Fault, Value};
use serde::Deserialize;

use super::target::Named;
use crate::redeploy::examine::{Order, Pull};
use crate::redeploy::journal::Plan;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an argument of its own")]
pub(crate) struct Ask {
    pub(crate) named: Named,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
    /// Seconds a container is given to end; absent: as long as it says of itself, usually 10.
    pub(crate) timeout_s: Option<u32>,
    pub(crate) signal: Option<String>,
    /// Also what runs.
    pub(crate) force: bool,
    /// Also the volumes that have no name.
    pub(crate) volumes: bool,
    pub(crate) order: Order,
    pub(crate) pull: Pull,
    /// Whether volumes that have no name go on in the new container.
    pub(crate) reuse_volumes: bool,
    /// Only when the image is another by now.
    pub(crate) if_changed: bool,
    /// So many containers in all.
    pub(crate) to: Option<u32>,
    /// So many more, or fewer.
    pub(crate) by: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an argument of its own")]
struct Args {
    container: Option<String>,
    service: Option<String>,
    stack: Option<String>,
    dry_run: bool,
    timeout_s: Option<u32>,
    signal: Option<String>,
    force: bool,
    volumes: bool,
    order: Option<Order>,
    pull: Option<Pull>,
    reuse_volumes: Option<bool>,
    if_changed: bool,
    to: Option<u32>,
    by: Option<i32>,
}

/// What every change takes; `action` is how classic clients say which.
const USUAL: [&str; 5] = ["container", "service", "stack", "dry_run", "action"];
/// The longest time that a container is given: an hour.
const TIMEOUT_S_MAX: u32 = 3_600;

impl Ask {
    /// Reads arguments; `takes` are those that this change takes beside the usual ones, `usual` what a
    /// redeploy does unless it is told.
    ///
    /// # Errors
    /// `bad-request` with what is wrong.
    pub(crate) fn read(args: &Value, takes: &[&str], usual: (Order, Pull)) -> Result<Self, Fault> {
        let wrong = |what: String| {
            Fault::bad_request(format!("the arguments are wrong: {what}"))
                .with_hint("rpc/discover describes them")
        };
        let Some(members) = args.as_object() else {
            return Err(wrong("expected an object".to_owned()));
        };
        let is_known =
            |name: &&String| USUAL.contains(&name.as_str()) || takes.contains(&name.as_str());
        if let Some(other) = members.keys().find(|name| !is_known(name)) {
            return Err(wrong(format!("unknown member {other:?}")));
        }
        let args = Args::deserialize(args).map_err(|error| wrong(error.to_string()))?;
        let named = match (args.container, args.service, args.stack) {
            (Some(one), None, None) => Named::Container(one),
            (None, Some(one), None) => Named::Service(one),
            (None, None, Some(one)) => Named::Stack(one),
            _ => {
                return Err(wrong(
                    "one of `container`, `service` and `stack` is needed".to_owned(),
                ));
            }
        };
        if args.timeout_s.is_some_and(|s| s > TIMEOUT_S_MAX) {
            return Err(wrong(format!("`timeout_s` is from 0 to {TIMEOUT_S_MAX}")));
        }
        if args.signal.as_deref().is_some_and(|signal| !is_signal(signal)) {
            return Err(wrong("`signal` is a name such as HUP, or a number".to_owned()));
        }
        Ok(Self {
            named,
            dry_run: args.dry_run,
            timeout_s: args.timeout_s,
            signal: args.signal,
            force: args.force,
            volumes: args.volumes,
            order: args.order.unwrap_or(usual.0),
            pull: args.pull.unwrap_or(usual.1),
            reuse_volumes: args.reuse_volumes.unwrap_or(true),
            if_changed: args.if_changed,
            to: args.to,
            by: args.by,
        })
    }

    /// What is asked of those that use what a container's redeploy, which was cut off, has replaced.
    pub(crate) fn again(plan: &Plan) -> Self {
        Self {
            named: Named::Container(plan.name.clone()),
            dry_run: false,
            timeout_s: plan.grace_s,
            signal: None,
            force: false,
            volumes: false,
            order: Order::Auto,
            pull: Pull::Never,
            reuse_volumes: !plan.drops_volumes,
            if_changed: false,
            to: None,
            by: None,
        }
    }
}

/// Whether it can be one; the engine knows which there are.
fn is_signal(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use sdk::json;

    use super::*;

    #[test]
    fn one_thing_is_named_and_nothing_unknown_is_passed_over() {
        let read = |args: Value, takes: &[&str]| {
            Ask::read(&args, takes, (Order::default(), Pull::default()))
        };
        let ask = read(json!({"action": "stop", "service": "web", "timeout_s": 0}), &["timeout_s"]);
        let ask = ask.unwrap();
        assert_eq!((ask.named, ask.timeout_s), (Named::Service("web".to_owned()), Some(0)));
        for (bad, named) in [
            (json!({}), "one of"),
            (json!({"container": "a", "service": "b"}), "one of"),
            (json!({"container": 7}), "string"),
            (json!({"container": "a", "force": true}), "force"),
            (json!({"container": "a", "timeout_s": 3_601}), "3600"),
            (json!({"container": "a", "timeout_s": -1}), "invalid value"),
            (json!([]), "an object"),
        ] {
            let fault = read(bad.clone(), &["timeout_s"]).unwrap_err();
            assert!(fault.message.contains(named), "{bad}: {}", fault.message);
        }
        for bad in ["", "kill", "KILL; x", "ABCDEFGHIJKLMNOPQ"] {
            assert!(read(json!({"container": "a", "signal": bad}), &["signal"]).is_err(), "{bad}");
        }
        for good in ["HUP", "SIGKILL", "9", "RTMIN+1"] {
            assert!(read(json!({"container": "a", "signal": good}), &["signal"]).is_ok(), "{good}");
        }
    }
}
