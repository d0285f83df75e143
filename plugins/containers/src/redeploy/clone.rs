//! What a container would have to be made of to be the same again, from another image or of the same
//! name's newer one. Pure.
//!
//! An inspection mixes what somebody asked for with what the image brought along and what the engine
//! filled in. Only the first is taken over, so that a newer image's own settings count.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointIpamConfig, EndpointSettings,
    HostConfig, ImageConfig, MountType, NetworkingConfig,
};

use crate::container::ACTION;

/// What differs on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// For [`ACTION`].
    pub(crate) action: String,
    /// Of which image.
    pub(crate) image: String,
    /// Whether volumes without a name go on in it.
    pub(crate) keeps_volumes: bool,
    /// Whether it is to run beside the old one for good: what only one can have is left out.
    pub(crate) is_replica: bool,
    /// Labels that are set beside those that are there.
    pub(crate) labels: BTreeMap<String, String>,
    /// Ids that have become others: of containers whose network is shared.
    pub(crate) swapped: BTreeMap<String, String>,
}

/// What is to be made, and which networks it is connected to before it starts: older engines take
/// only one when it is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clone {
    pub(crate) body: ContainerCreateBody,
    pub(crate) networks: Vec<(String, EndpointSettings)>,
}

/// A copy of a container, whose image has these settings.
pub(crate) fn of(old: &ContainerInspectResponse, image: &ImageConfig, wanted: &Wanted) -> Clone {
    let id = old.id.clone().unwrap_or_default();
    let host = host_config(old, wanted);
    let shares_network =
        host.network_mode.as_deref().is_some_and(|it| it.starts_with("container:"));
    let (first, networks) = networks(old, &id, wanted);
    let mut body = own_settings(old, image);
    body.image = Some(wanted.image.clone());
    // The engine names an unnamed host after the id.
    body.hostname = body.hostname.filter(|name| !id.starts_with(name.as_str()) || name.len() < 12);
    if shares_network {
        (body.hostname, body.domainname, body.exposed_ports) = (None, None, None);
    }
    let labels = body.labels.get_or_insert_default();
    labels.insert(ACTION.to_owned(), wanted.action.clone());
    labels.extend(wanted.labels.clone());
    body.host_config = Some(host);
    body.networking_config = first.map(|(name, endpoint)| NetworkingConfig {
        endpoints_config: Some(HashMap::from([(name, endpoint)])),
    });
    Clone { body, networks }
}

/// The settings of the process that the image has not brought along.
fn own_settings(old: &ContainerInspectResponse, image: &ImageConfig) -> ContainerCreateBody {
    let own = old.config.clone().unwrap_or_default();
    let other = |mine: Option<String>, its: &Option<String>| {
        mine.filter(|text| !text.is_empty() && Some(text) != its.as_ref())
    };
    let without = |mine: Option<Vec<String>>, its: &Option<Vec<String>>| {
        let its = its.as_deref().unwrap_or_default();
        mine.map(|all| all.into_iter().filter(|one| !its.contains(one)).collect::<Vec<_>>())
    };
    let same = |mine: &Option<Vec<String>>, its: &Option<Vec<String>>| {
        mine.as_deref().unwrap_or_default() == its.as_deref().unwrap_or_default()
    };
    // With an entry point of its own the image's command does not count.
    let is_own_entry = !same(&own.entrypoint, &image.entrypoint);
    let cmd = own.cmd.clone().filter(|_| is_own_entry || !same(&own.cmd, &image.cmd));
    let labels = own.labels.map(|all| {
        let its = image.labels.clone().unwrap_or_default();
        all.into_iter().filter(|(name, text)| its.get(name) != Some(text)).collect()
    });
    ContainerCreateBody {
        hostname: own.hostname,
        domainname: own.domainname.filter(|name| !name.is_empty()),
        user: other(own.user, &image.user),
        exposed_ports: without(own.exposed_ports, &image.exposed_ports),
        tty: own.tty,
        open_stdin: own.open_stdin,
        stdin_once: own.stdin_once,
        env: without(own.env, &image.env),
        cmd,
        healthcheck: own.healthcheck.filter(|check| Some(check) != image.healthcheck.as_ref()),
        volumes: without(own.volumes, &image.volumes),
        working_dir: other(own.working_dir, &image.working_dir),
        entrypoint: own.entrypoint.filter(|_| is_own_entry),
        network_disabled: own.network_disabled,
        labels,
        stop_signal: other(own.stop_signal, &image.stop_signal),
        stop_timeout: own.stop_timeout,
        shell: own.shell.filter(|shell| Some(shell) != image.shell.as_ref()),
        ..ContainerCreateBody::default()
    }
}

fn host_config(old: &ContainerInspectResponse, wanted: &Wanted) -> HostConfig {
    let mut host = old.host_config.clone().unwrap_or_default();
    (host.container_id_file, host.console_size) = (None, None);
    // `/db:/web/alias` is what the engine tells, `db:alias` what it takes.
    host.links = host.links.map(|links| links.iter().map(|link| told_link(link)).collect());
    for mode in [&mut host.network_mode, &mut host.pid_mode, &mut host.ipc_mode] {
        let now = mode.as_deref().and_then(|mode| mode.strip_prefix("container:"));
        if let Some(id) = now.and_then(|id| wanted.swapped.get(id)) {
            *mode = Some(format!("container:{id}"));
        }
    }
    if wanted.keeps_volumes {
        keep_volumes(old, &mut host);
    }
    host
}

fn told_link(link: &str) -> String {
    match link.split_once(':') {
        Some((to, alias)) => {
            let alias = alias.rsplit('/').next().unwrap_or(alias);
            format!("{}:{alias}", to.trim_start_matches('/'))
        }
        None => link.to_owned(),
    }
}

/// Has volumes without a name go on: by the names that the engine has given them.
fn keep_volumes(old: &ContainerInspectResponse, host: &mut HostConfig) {
    let binds = host.binds.get_or_insert_default();
    for point in old.mounts.iter().flatten() {
        let is_volume = point.typ.as_deref() == Some("volume");
        let (Some(name), Some(path)) = (&point.name, &point.destination) else { continue };
        if !is_volume || name.is_empty() {
            continue;
        }
        let mounts = host.mounts.iter_mut().flatten();
        if let Some(mount) = mounts.into_iter().find(|it| it.target.as_ref() == Some(path)) {
            if mount.typ == Some(MountType::VOLUME) {
                mount.source.get_or_insert_with(|| name.clone());
            }
            continue;
        }
        let is_bound = |bind: &String| bind.split(':').nth(1) == Some(path.as_str());
        if !binds.iter().any(is_bound) {
            let end = if point.rw == Some(false) { ":ro" } else { "" };
            binds.push(format!("{name}:{path}{end}"));
        }
    }
}

type Endpoint = (String, EndpointSettings);

/// The network that it is made with, and the others.
fn networks(
    old: &ContainerInspectResponse,
    id: &str,
    wanted: &Wanted,
) -> (Option<Endpoint>, Vec<Endpoint>) {
    let mode = old.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    let mode = mode.unwrap_or("default");
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return (None, Vec::new());
    }
    let is_usual = matches!(mode, "default" | "bridge");
    let all = old.network_settings.as_ref().and_then(|network| network.networks.clone());
    let mut all: Vec<Endpoint> = all.unwrap_or_default().into_iter().collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let is_first = |(name, it): &Endpoint| {
        name == mode || it.network_id.as_deref() == Some(mode) || is_usual && name == "bridge"
    };
    let place = all.iter().position(is_first).or((all.len() == 1).then_some(0));
    let first = place.map(|place| all.remove(place));
    let asked = |(name, it): Endpoint| (name, asked_for(it, id, wanted));
    // The usual network takes neither names nor addresses.
    let first = first.filter(|_| !is_usual).map(asked);
    (first, all.into_iter().map(asked).collect())
}

/// What somebody asked for of a connection; the rest the engine has filled in.
fn asked_for(it: EndpointSettings, id: &str, wanted: &Wanted) -> EndpointSettings {
    let aliases = it.aliases.map(|all| {
        all.into_iter()
            .filter(|alias| alias.len() < 12 || !id.starts_with(alias.as_str()))
            .collect()
    });
    let address = it.ipam_config.filter(|_| !wanted.is_replica);
    EndpointSettings {
        ipam_config: address,
        links: it.links,
        aliases,
        driver_opts: it.driver_opts,
        ..EndpointSettings::default()
    }
}

/// Why two of this container cannot run beside each other, even if the second is given another
/// address; the first reason that is found.
pub(crate) fn alone_for_good(old: &ContainerInspectResponse) -> Option<String> {
    let host = old.host_config.clone().unwrap_or_default();
    for (port, bindings) in host.port_bindings.iter().flatten() {
        let fixed = bindings.iter().flatten().filter_map(|it| it.host_port.as_deref());
        if let Some(outer) = fixed.into_iter().find(|outer| !outer.is_empty() && *outer != "0") {
            return Some(format!("its port {port} is the machine's port {outer}"));
        }
    }
    let mode = host.network_mode.as_deref().unwrap_or_default();
    if mode == "host" {
        return Some("it uses the machine's own network".to_owned());
    }
    if mode.starts_with("container:") {
        return Some("it uses another container's network".to_owned());
    }
    None
}

/// Why two of this container cannot run beside each other; the first reason that is found.
pub(crate) fn alone(old: &ContainerInspectResponse) -> Option<String> {
    if let Some(why) = alone_for_good(old) {
        return Some(why);
    }
    let networks = old.network_settings.iter().flat_map(|it| it.networks.iter().flatten());
    let has_address = |it: &EndpointIpamConfig| {
        [&it.ipv4_address, &it.ipv6_address].into_iter().flatten().any(|ip| !ip.is_empty())
    };
    let mut fixed = networks.filter(|(_, it)| it.ipam_config.as_ref().is_some_and(has_address));
    fixed.next().map(|(name, _)| format!("its address in the network {name} is fixed"))
}

/// What two of this container would both write to; the first path that is found.
pub(crate) fn shared(old: &ContainerInspectResponse) -> Option<String> {
    let lasting = |typ: &Option<String>| matches!(typ.as_deref(), Some("volume" | "bind"));
    let mut writable =
        old.mounts.iter().flatten().filter(|it| lasting(&it.typ) && it.rw != Some(false));
    writable
        .next()
        .map(|it| format!("it writes to {}", it.destination.as_deref().unwrap_or("a volume")))
}

#[cfg(test)]
mod tests;
