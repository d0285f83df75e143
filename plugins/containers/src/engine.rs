//! One engine: how it is asked, and how its answers become the model's words.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, HealthStatusEnum,
    HostConfig, MountPoint, PortMap,
};
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::time::timeout;

use crate::container::{Container, Details, Health, Mount, Phase, Port};
use crate::model::Row;
use crate::signal::{EVENTS, TYPES};

/// How long an answer may take: the engine may be busy with a thousand containers.
const ANSWER: Duration = Duration::from_secs(20);

/// What an engine says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) version: String,
    pub(crate) api: String,
    pub(crate) driver: String,
    pub(crate) hostname: String,
    pub(crate) cpus: i64,
    pub(crate) memory: i64,
}

/// Connects to an engine and agrees on a version with it.
///
/// # Errors
/// A sentence about why not.
pub(crate) async fn connect(socket: &str) -> Result<(Docker, Facts), String> {
    let docker = Docker::connect_with_unix(socket, ANSWER.as_secs(), API_DEFAULT_VERSION)
        .map_err(|error| sentence(&error))?;
    let docker = within(docker.negotiate_version()).await?;
    let (version, info) = (within(docker.version()).await?, within(docker.info()).await?);
    let facts = Facts {
        version: version.version.unwrap_or_default(),
        api: version.api_version.unwrap_or_default(),
        driver: info.driver.unwrap_or_default(),
        hostname: info.name.unwrap_or_default(),
        cpus: info.ncpu.unwrap_or_default(),
        memory: info.mem_total.unwrap_or_default(),
    };
    Ok((docker, facts))
}

/// Waits for an answer, and no longer than that takes at most.
///
/// # Errors
/// A sentence about why there is none.
pub(crate) async fn within<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(|error| sentence(&error)),
        Err(_) => Err(format!("no answer within {} seconds", ANSWER.as_secs())),
    }
}

/// The question for events from this moment on, in nanoseconds since 1970.
pub(crate) fn events_from(since: i64) -> EventsOptions {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let filters =
        HashMap::from([("type".to_owned(), list(&TYPES)), ("event".to_owned(), list(&EVENTS))]);
    let (seconds, nanos) = (since.div_euclid(1_000_000_000), since.rem_euclid(1_000_000_000));
    EventsOptions {
        since: Some(format!("{seconds}.{nanos:09}")),
        until: None,
        filters: Some(filters),
    }
}

/// Every container, as the list has it.
///
/// # Errors
/// A sentence about why not.
pub(crate) async fn list(docker: &Docker) -> Result<Vec<Row>, String> {
    let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let rows = within(docker.list_containers(Some(all))).await?;
    Ok(rows.into_iter().filter_map(row).collect())
}

/// One container; `None` when there is none of that id.
///
/// # Errors
/// A sentence about why it cannot be said.
pub(crate) async fn inspect(docker: &Docker, id: &str) -> Result<Option<Container>, String> {
    let asked = docker.inspect_container(id, None::<InspectContainerOptions>);
    match timeout(ANSWER, asked).await {
        Ok(Ok(seen)) => Ok(Some(container(&seen))),
        Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
        Ok(Err(error)) => Err(sentence(&error)),
        Err(_) => Err(format!("no answer within {} seconds", ANSWER.as_secs())),
    }
}

/// What went wrong, for the log.
pub(crate) fn sentence(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

fn row(summary: ContainerSummary) -> Option<Row> {
    let names = summary.names.unwrap_or_default();
    // Links make further names, with the other container's before them.
    let own = names.iter().find(|name| !name[1.min(name.len())..].contains('/'));
    let phase = match summary.state? {
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => Phase::Running,
        ContainerSummaryStateEnum::PAUSED => Phase::Paused,
        ContainerSummaryStateEnum::RESTARTING => Phase::Restarting,
        ContainerSummaryStateEnum::REMOVING => Phase::Removing,
        ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY => Phase::Created,
        ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD => Phase::Exited,
    };
    Some(Row {
        id: summary.id?,
        name: own.or(names.first())?.trim_start_matches('/').to_owned(),
        phase,
        health: health_in(summary.status.as_deref().unwrap_or_default()),
    })
}

/// The list says it only in a sentence for people.
fn health_in(status: &str) -> Option<Health> {
    if status.ends_with("(healthy)") {
        Some(Health::Healthy)
    } else if status.ends_with("(unhealthy)") {
        Some(Health::Unhealthy)
    } else if status.ends_with("(health: starting)") {
        Some(Health::Starting)
    } else {
        None
    }
}

pub(crate) fn container(seen: &ContainerInspectResponse) -> Container {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let config = seen.config.clone().unwrap_or_default();
    let name = text(&seen.name);
    let image = text(&config.image);
    let mut it = Container::new(&text(&seen.id), name.trim_start_matches('/'), &image);
    it.labels = config.labels.clone().unwrap_or_default().into_iter().collect();
    it.created = seen.created.clone().and_then(moment);
    if let Some(state) = &seen.state {
        it.started = state.started_at.clone().and_then(moment);
        it.finished = state.finished_at.clone().and_then(moment);
        it.error = text(&state.error);
        it.oom = state.oom_killed.unwrap_or(false);
        it.health = state.health.as_ref().and_then(|health| match health.status? {
            HealthStatusEnum::STARTING => Some(Health::Starting),
            HealthStatusEnum::HEALTHY => Some(Health::Healthy),
            HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
            HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
        });
        it.was_healthy = matches!(it.health, Some(Health::Healthy | Health::Unhealthy));
        let is = |flag: Option<bool>| flag.unwrap_or(false);
        it.phase = if is(state.restarting) {
            Phase::Restarting
        } else if is(state.paused) {
            Phase::Paused
        } else if is(state.running) {
            Phase::Running
        } else if it.started.is_none() && it.error.is_empty() {
            Phase::Created
        } else if it.error.is_empty() {
            Phase::Exited
        } else {
            Phase::Failed
        };
        // A container that was never started has the number of a success.
        it.exit_code = state.exit_code.filter(|_| !it.phase.is_up() && it.phase != Phase::Created);
    }
    it.details = details(seen);
    it
}

fn details(seen: &ContainerInspectResponse) -> Details {
    let config = seen.config.clone().unwrap_or_default();
    let host = seen.host_config.clone().unwrap_or_default();
    let network = seen.network_settings.clone().unwrap_or_default();
    let addresses = network.networks.unwrap_or_default();
    let first = addresses.values().find_map(|it| it.ip_address.clone().filter(|ip| !ip.is_empty()));
    let exposed = config.exposed_ports.unwrap_or_default();
    Details {
        command: config.cmd.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        directory: config.working_dir.unwrap_or_default(),
        hostname: config.hostname.unwrap_or_default(),
        tty: config.tty.unwrap_or(false),
        ports: ports(&exposed, &network.ports.unwrap_or_default()),
        mounts: seen.mounts.iter().flatten().map(mount).collect(),
        address: first.unwrap_or_default(),
        network: host.network_mode.clone().unwrap_or_default(),
        volumes_from: host.volumes_from.clone().unwrap_or_default(),
        links: host.links.clone().unwrap_or_default(),
        restart: restart(&host),
        privileged: host.privileged.unwrap_or(false),
        read_only: host.readonly_rootfs.unwrap_or(false),
        memory: host.memory.unwrap_or(0),
        cpu_shares: host.cpu_shares.unwrap_or(0),
    }
}

fn restart(host: &HostConfig) -> String {
    let policy = host.restart_policy.as_ref().and_then(|policy| policy.name);
    policy.map(|name| name.to_string()).filter(|name| !name.is_empty()).unwrap_or("no".to_owned())
}

fn mount(point: &MountPoint) -> Mount {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let name = point.name.clone().filter(|name| !name.is_empty());
    Mount {
        source: name.unwrap_or_else(|| text(&point.source)),
        path: text(&point.destination),
        writable: point.rw.unwrap_or(true),
    }
}

/// Ports that are declared, and those of them that are on the machine.
fn ports(exposed: &[String], published: &PortMap) -> Vec<Port> {
    let mut ports = Vec::new();
    let mut names: Vec<&String> = exposed.iter().chain(published.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (number, protocol) = name.split_once('/').unwrap_or((name, "tcp"));
        let Ok(inner) = number.parse() else { continue };
        let bindings = published.get(name).cloned().flatten().unwrap_or_default();
        let mut outers: Vec<u16> = bindings
            .iter()
            .filter_map(|binding| binding.host_port.as_deref()?.parse().ok())
            .collect();
        outers.sort_unstable();
        outers.dedup();
        let port = |outer| Port { protocol: protocol.to_owned(), inner, outer };
        if outers.is_empty() {
            ports.push(port(None));
        }
        ports.extend(outers.into_iter().map(|outer| port(Some(outer))));
    }
    ports
}

/// The engine writes the year 1 for never.
fn moment(text: String) -> Option<String> {
    (!text.is_empty() && !text.starts_with("0001-")).then_some(text)
}

#[cfg(test)]
mod tests {
    use bollard::models::PortBinding;

    use super::*;

    #[test]
    fn health_is_read_from_the_lists_sentence() {
        assert_eq!(health_in("Up 5 minutes (healthy)"), Some(Health::Healthy));
        assert_eq!(health_in("Up 5 minutes (unhealthy)"), Some(Health::Unhealthy));
        assert_eq!(health_in("Up 1 second (health: starting)"), Some(Health::Starting));
        assert_eq!(health_in("Exited (5) 3 minutes ago"), None);
    }

    #[test]
    fn a_port_may_be_declared_published_or_both() {
        let exposed = ["53/udp".to_owned(), "80/tcp".to_owned()];
        let at = |host: &str| PortBinding { host_ip: None, host_port: Some(host.to_owned()) };
        let published = HashMap::from([("80/tcp".to_owned(), Some(vec![at("8080"), at("8080")]))]);
        let read: Vec<_> = ports(&exposed, &published)
            .into_iter()
            .map(|port| (port.inner, port.protocol, port.outer))
            .collect();
        assert_eq!(read, [(53, "udp".to_owned(), None), (80, "tcp".to_owned(), Some(8080))]);
    }

    #[test]
    fn events_are_asked_for_from_a_moment_on() {
        let asked = events_from(1_795_298_094_056_095_857);
        assert_eq!(asked.since.as_deref(), Some("1795298094.056095857"));
    }

    #[test]
    fn an_inspection_becomes_a_container() {
        let seen = serde_json::json!({
            "Id": "abc", "Name": "/web", "RestartCount": 2, "Created": "2026-11-26T10:00:00Z",
            "State": {"Status": "exited", "Running": false, "ExitCode": 5, "Error": "",
                      "StartedAt": "2026-11-26T10:00:01Z", "FinishedAt": "2026-11-26T10:00:02Z"},
            "Config": {"Image": "web:1", "Labels": {"a": "b"}, "Cmd": ["sleep", "1"]},
            "HostConfig": {"RestartPolicy": {"Name": "on-failure"}},
        });
        let it = container(&serde_json::from_value(seen).unwrap());
        assert_eq!((it.name.as_str(), it.phase, it.exit_code), ("web", Phase::Exited, Some(5)));
        assert_eq!(it.details.restart, "on-failure");
        let fresh = serde_json::json!({"Id": "abc", "State": {"Status": "created", "ExitCode": 0,
            "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"}});
        let it = container(&serde_json::from_value(fresh).unwrap());
        assert_eq!((it.phase, it.exit_code, it.started), (Phase::Created, None, None));
    }
}
