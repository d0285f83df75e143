//! `sysadm/services`: systemd's services.

use sdk::{Context, Fault, Request, Value, json};
use serde_json::Map;

use super::{action, flag, texts, unknown_action};
use crate::machine::Machine;
use crate::unit::{SUFFIX, Unit, unit_name};
use crate::watch::bus::Verb;

/// The actions that change something, what they do, and under which name they answer.
const CHANGES: [(&str, Verb, &str); 5] = [
    ("start", Verb::Start, "services_started"),
    ("stop", Verb::Stop, "services_stopped"),
    ("restart", Verb::Restart, "services_restarted"),
    ("enable", Verb::Enable, "services_enabled"),
    ("disable", Verb::Disable, "services_disabled"),
];
/// Services in one call.
const SERVICES_MAX: usize = 64;

pub(crate) fn answer(machine: &Machine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let action = action(request);
    if action == "list_services" {
        machine.look_at_services(ctx)?;
        let rows = machine.units().into_iter().map(|(name, unit)| (name, row(&unit)));
        return Ok(json!({ "services": rows.collect::<Map<_, _>>() }));
    }
    let Some((_, verb, answer)) = CHANGES.iter().find(|(name, ..)| *name == action) else {
        let known = CHANGES.map(|(name, ..)| name);
        return Err(unknown_action(request, &[&["list_services"], &known[..]].concat()));
    };
    let services = texts(&request.args, "services").filter(|list| !list.is_empty());
    let services = services.filter(|list| list.len() <= SERVICES_MAX).ok_or_else(|| {
        Fault::bad_request(format!(
            "expected `services`, a name or a list of 1 to {SERVICES_MAX} names"
        ))
    })?;
    let (done, errors) = act(machine, ctx, *verb, &services)?;
    let mut reply = json!({ (*answer): done });
    if !errors.is_empty() {
        reply["errors"] = errors.into();
    }
    Ok(reply)
}

/// One after the other, so that those named first are there for those that need them.
fn act(
    machine: &Machine,
    ctx: &Context,
    verb: Verb,
    services: &[String],
) -> Result<(Vec<String>, Map<String, Value>), Fault> {
    let (mut done, mut errors) = (Vec::new(), Map::new());
    for service in services {
        if ctx.cancelled() {
            errors.insert(service.clone(), "it was not begun any more".into());
            continue;
        }
        let outcome = match unit_name(service) {
            Ok(unit) => machine.bus()?.act(verb, &unit)?,
            Err(sentence) => Err(sentence),
        };
        match outcome {
            Ok(()) => done.push(service.clone()),
            Err(sentence) => drop(errors.insert(service.clone(), sentence.into())),
        }
    }
    // What was done has been seen when the answer comes; that it cannot be seen is told elsewhere.
    drop(machine.look_at_services(ctx));
    Ok((done, errors))
}

fn row(unit: &Unit) -> Value {
    json!({
        "name": unit.name,
        "tag": "",
        "path": unit.path,
        "description": unit.description,
        "is_enabled": flag(unit.is_enabled()),
        "is_running": flag(unit.is_running()),
        "state": unit.active,
        "unit": format!("{}{SUFFIX}", unit.name),
    })
}
