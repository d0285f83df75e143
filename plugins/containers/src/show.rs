//! How containers, services, stacks and engines look in answers. Pure.

use std::collections::HashMap;

use sdk::{Value, json};
use uuid::Uuid;

use crate::container::{Container, Phase};
use crate::group::{Place, Service, Stack};
use crate::identity;
use crate::worker::Status;

/// A container.
pub(crate) fn container(place: &Place, it: &Container) -> Value {
    let (service, service_name) = place.service_of(it);
    let stack = place.stack_of(it);
    let details = &it.details;
    let ports: Vec<Value> = details
        .ports
        .iter()
        .map(|port| json!({"protocol": port.protocol, "inner": port.inner, "outer": port.outer}))
        .collect();
    let mounts: Vec<Value> = details
        .mounts
        .iter()
        .map(|it| json!({"source": it.source, "path": it.path, "writable": it.writable}))
        .collect();
    json!({
        "uuid": identity::of_container(&it.id),
        "id": it.id,
        "name": it.name,
        "engine": place.engine,
        "image": it.image,
        "state": it.state().as_str(),
        "phase": it.phase,
        "health": it.health,
        "exit_code": it.exit_code,
        "error": it.error,
        "service": {"uuid": service, "name": service_name},
        "stack": stack.map(|(uuid, name)| json!({"uuid": uuid, "name": name})),
        "node": place.node(),
        "created": it.created,
        "started": it.started,
        "stopped": if it.phase.is_up() { &None } else { &it.finished },
        "labels": it.labels,
        "command": details.command,
        "entrypoint": details.entrypoint,
        "user": details.user,
        "directory": details.directory,
        "hostname": details.hostname,
        "address": details.address,
        "network": details.network,
        "ports": ports,
        "mounts": mounts,
        "restart": details.restart,
        "privileged": details.privileged,
        "read_only": details.read_only,
        "tty": details.tty,
        "memory": details.memory,
        "cpu_shares": details.cpu_shares,
    })
}

/// A service, with its containers' uuids.
pub(crate) fn service(place: &Place, it: &Service, members: &[&Container]) -> Value {
    let first = |pick: fn(&Container) -> &Option<String>| {
        members.iter().filter_map(|it| pick(it).as_deref()).min()
    };
    let restart = members.first().map(|it| it.details.restart.clone());
    json!({
        "uuid": it.uuid,
        "name": it.name,
        "engine": place.engine,
        "image": it.image,
        "state": it.state.as_str(),
        "stack": it.stack.as_ref().map(|(uuid, name)| json!({"uuid": uuid, "name": name})),
        "containers": it.containers.iter().map(|id| identity::of_container(id)).collect::<Vec<_>>(),
        "total": it.containers.len(),
        "running": it.running,
        "created": first(|it| &it.created),
        "started": first(|it| &it.started),
        "restart": restart,
    })
}

/// A stack, with its services' uuids.
pub(crate) fn stack(place: &Place, it: &Stack, services: &[&Service]) -> Value {
    json!({
        "uuid": it.uuid,
        "name": it.name,
        "engine": place.engine,
        "state": it.state.as_str(),
        "services": it.services,
        "running": services.iter().map(|it| it.running).sum::<usize>(),
        "containers": services.iter().map(|it| it.containers.len()).sum::<usize>(),
    })
}

/// An engine.
pub(crate) fn node(place: &Place, status: &Status, running: usize) -> Value {
    let facts = &status.facts;
    json!({
        "uuid": place.node(),
        "cluster": place.cluster(),
        "name": place.engine,
        "state": if status.up == Some(true) { "Deployed" } else { "Unreachable" },
        "reason": status.reason,
        "hostname": facts.hostname,
        "version": facts.version,
        "api": facts.api,
        "driver": facts.driver,
        "cpus": facts.cpus,
        "memory": facts.memory,
        "running": running,
        "seen": status.seen,
    })
}

/// How many of these are up.
pub(crate) fn running(all: &[&Container]) -> usize {
    all.iter().filter(|it| matches!(it.phase, Phase::Running | Phase::Stopping)).count()
}

/// The members of each service.
pub(crate) fn by_service<'a>(
    place: &Place,
    all: &[&'a Container],
) -> HashMap<Uuid, Vec<&'a Container>> {
    let mut members: HashMap<Uuid, Vec<&Container>> = HashMap::new();
    for it in all.iter().copied() {
        members.entry(place.service_of(it).0).or_default().push(it);
    }
    members
}

/// As many of the rows from `offset` on as fit into one answer, and how many there are in all. One
/// row that is too large by itself is given nevertheless: an answer without any would have no end.
pub(crate) fn page(rows: Vec<Value>, offset: usize, limit: usize) -> (Vec<Value>, usize) {
    let total = rows.len();
    let mut bytes = 0;
    let fitting = rows.into_iter().skip(offset).take(limit).take_while(|row| {
        let is_first = bytes == 0;
        bytes += row.to_string().len() + 1;
        is_first || bytes <= PAGE_BYTES
    });
    (fitting.collect(), total)
}

/// A line of the link has a megabyte.
const PAGE_BYTES: usize = 700 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Page after page one gets every row once, however large the rows are.
        #[test]
        fn pages_make_the_whole(sizes in prop::collection::vec(0_usize..400_000, 0..12), limit in 1_usize..6) {
            let rows: Vec<Value> = sizes.iter().map(|size| "x".repeat(*size).into()).collect();
            let (mut found, mut offset) = (Vec::new(), 0);
            loop {
                let (page, total) = page(rows.clone(), offset, limit);
                prop_assert_eq!(total, rows.len());
                if page.is_empty() {
                    break;
                }
                prop_assert!(page.len() <= limit);
                offset += page.len();
                found.extend(page);
            }
            prop_assert_eq!(found, rows);
        }
    }
}
