//! Services and stacks: what containers belong together by their labels, and how they are as a
//! whole. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::container::{Container, REPLICA_OF, State};
use crate::identity;

pub(crate) const PROJECT: &str = "com.docker.compose.project";
pub(crate) const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const SWARM_STACK: &str = "com.docker.stack.namespace";
pub(crate) const SWARM_SERVICE: &str = "com.docker.swarm.service.name";

/// Whether somebody has said by labels what a container belongs to.
pub(crate) fn is_labelled(it: &Container) -> bool {
    [PROJECT, SWARM_SERVICE, SWARM_STACK].iter().any(|label| it.label(label).is_some())
}

/// The name that a lone container's service has: that of the one it does the same as. While one is
/// replaced, two have its name with an ending.
fn lone_name(it: &Container) -> &str {
    let is_tag = |tag: &str| tag.len() == 8 && tag.bytes().all(|b| b.is_ascii_hexdigit());
    let stem = [".new-", ".old-"].iter().find_map(|ending| {
        it.name.rsplit_once(ending).filter(|(_, tag)| is_tag(tag)).map(|(stem, _)| stem)
    });
    it.label(REPLICA_OF).or(stem).unwrap_or(&it.name)
}

/// How several containers are as a whole, in the words of Docker Cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Whole {
    #[serde(rename = "Not running")]
    NotRunning,
    Starting,
    Running,
    #[serde(rename = "Partly running")]
    PartlyRunning,
    Stopping,
    Stopped,
    Terminated,
}

impl Whole {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotRunning => "Not running",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::PartlyRunning => "Partly running",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Terminated => "Terminated",
        }
    }
}

/// Containers that do the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) stack: Option<(Uuid, String)>,
    pub(crate) state: Whole,
    pub(crate) image: String,
    /// The engine's ids of its containers.
    pub(crate) containers: Vec<String>,
    pub(crate) running: usize,
    /// Whether somebody will miss it: none of it runs, and nobody has asked for that.
    pub(crate) is_missed: bool,
}

/// Services that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stack {
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) state: Whole,
    pub(crate) services: Vec<Uuid>,
}

/// Where this is: the machine and the engine on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) installation: String,
    pub(crate) engine: String,
}

impl Place {
    fn uuid(&self, kind: &str, parts: &[&str]) -> Uuid {
        let place = [self.installation.as_str(), &self.engine, kind];
        identity::hashed(&place.iter().chain(parts).copied().collect::<Vec<_>>())
    }

    /// The engine as a node.
    pub(crate) fn node(&self) -> Uuid {
        self.uuid("node", &[])
    }

    /// All engines of this machine.
    pub(crate) fn cluster(&self) -> Uuid {
        identity::hashed(&[&self.installation, "nodecluster"])
    }

    /// The stack that a container belongs to.
    pub(crate) fn stack_of(&self, it: &Container) -> Option<(Uuid, String)> {
        let name = it.label(PROJECT).or_else(|| it.label(SWARM_STACK))?;
        Some((self.uuid("stack", &[name]), name.to_owned()))
    }

    /// The service that a container belongs to: its uuid and name. A lone one is its own service.
    pub(crate) fn service_of(&self, it: &Container) -> (Uuid, String) {
        if let Some(name) = it.label(SWARM_SERVICE) {
            return (self.uuid("swarm-service", &[name]), name.to_owned());
        }
        let is_one_off = it.label(ONE_OFF).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        match (it.label(PROJECT), it.label(SERVICE)) {
            (Some(project), Some(name)) if !is_one_off => {
                (self.uuid("service", &[project, name]), name.to_owned())
            }
            _ => {
                let name = lone_name(it);
                (self.uuid("lone", &[name]), name.to_owned())
            }
        }
    }

    /// Every service.
    pub(crate) fn services(&self, containers: &[&Container]) -> BTreeMap<Uuid, Service> {
        let mut members: BTreeMap<Uuid, (String, Vec<&Container>)> = BTreeMap::new();
        for it in containers.iter().copied() {
            let (uuid, name) = self.service_of(it);
            members.entry(uuid).or_insert_with(|| (name, Vec::new())).1.push(it);
        }
        let service = |(uuid, (name, of)): (Uuid, (String, Vec<&Container>))| {
            let stack = of.iter().find_map(|it| self.stack_of(it));
            let is_kept = stack.is_some() || of.iter().any(|it| it.is_kept_up());
            let state = whole(&of);
            let failed = |it: &&Container| {
                matches!(it.state(), State::StoppedWithErrors | State::StartFailed)
            };
            let service = Service {
                uuid,
                name,
                stack,
                state,
                image: of.first().map(|it| it.image.clone()).unwrap_or_default(),
                containers: of.iter().map(|it| it.id.clone()).collect(),
                running: of.iter().filter(|it| it.phase.is_up()).count(),
                is_missed: is_kept && state == Whole::Stopped && of.iter().any(failed),
            };
            (uuid, service)
        };
        members.into_iter().map(service).collect()
    }

    /// Every service and every stack.
    pub(crate) fn groups(&self, containers: &[&Container]) -> Groups {
        let services = self.services(containers);
        let stacks = stacks(&services);
        (services, stacks)
    }
}

/// Services and stacks, by their uuids.
pub(crate) type Groups = (BTreeMap<Uuid, Service>, BTreeMap<Uuid, Stack>);

/// Every stack.
pub(crate) fn stacks(services: &BTreeMap<Uuid, Service>) -> BTreeMap<Uuid, Stack> {
    let mut members: BTreeMap<Uuid, (String, Vec<&Service>)> = BTreeMap::new();
    for service in services.values() {
        if let Some((uuid, name)) = &service.stack {
            members.entry(*uuid).or_insert_with(|| (name.clone(), Vec::new())).1.push(service);
        }
    }
    let stack = |(uuid, (name, of)): (Uuid, (String, Vec<&Service>))| {
        let state = of_services(&of.iter().map(|service| service.state).collect::<Vec<_>>());
        (uuid, Stack { uuid, name, state, services: of.iter().map(|it| it.uuid).collect() })
    };
    members.into_iter().map(stack).collect()
}

/// How containers are as a whole. Those that are done do not count, unless all are.
fn whole(of: &[&Container]) -> Whole {
    let counted = of.iter().filter(|it| !it.is_done());
    let states: Vec<State> = counted.map(|it| it.state()).collect();
    let all = || of.iter().map(|it| it.state()).collect();
    let states = if states.is_empty() { all() } else { states };
    let count = |state: State| states.iter().filter(|it| **it == state).count();
    let (running, starting) = (count(State::Running), count(State::Starting));
    match states.len() {
        0 => Whole::NotRunning,
        all if running == all => Whole::Running,
        _ if running > 0 => Whole::PartlyRunning,
        _ if starting > 0 => Whole::Starting,
        _ if count(State::Stopping) > 0 => Whole::Stopping,
        _ => Whole::Stopped,
    }
}

fn of_services(states: &[Whole]) -> Whole {
    let is_any = |wanted: Whole| states.contains(&wanted);
    if states.iter().all(|state| *state == Whole::Running) {
        Whole::Running
    } else if is_any(Whole::Running) || is_any(Whole::PartlyRunning) {
        Whole::PartlyRunning
    } else if is_any(Whole::Starting) {
        Whole::Starting
    } else if is_any(Whole::Stopping) {
        Whole::Stopping
    } else {
        Whole::Stopped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::container::Phase;

    fn place() -> Place {
        Place { installation: "here".to_owned(), engine: "docker".to_owned() }
    }

    fn member(id: &str, project: &str, service: &str, phase: Phase) -> Container {
        let mut it = Container::new(id, &format!("{project}-{service}-{id}"), "image");
        (it.phase, it.settled) = (phase, true);
        it.labels.insert(PROJECT.to_owned(), project.to_owned());
        it.labels.insert(SERVICE.to_owned(), service.to_owned());
        it
    }

    #[test]
    fn labels_make_services_and_stacks() {
        let mut job = member("3", "shop", "migrate", Phase::Exited);
        job.exit_code = Some(0);
        job.details.restart = "no".to_owned();
        let mut one_off = member("4", "shop", "web", Phase::Running);
        one_off.labels.insert(ONE_OFF.to_owned(), "True".to_owned());
        let mut lone = Container::new("5", "lone", "image");
        lone.phase = Phase::Running;
        let all = [
            member("1", "shop", "web", Phase::Running),
            member("2", "shop", "web", Phase::Exited),
            job,
            one_off,
            lone,
        ];
        let services = place().services(&all.iter().collect::<Vec<_>>());
        let found = |name: &str| services.values().find(|service| service.name == name).unwrap();
        let web = found("web");
        assert_eq!((web.state, web.running, web.containers.len()), (Whole::PartlyRunning, 1, 2));
        assert_eq!(found("migrate").state, Whole::Stopped);
        assert_eq!(found("lone").stack, None);
        assert_eq!(found("shop-web-4").state, Whole::Running, "a one-off is a service of its own");
        let stacks = stacks(&services);
        assert_eq!(stacks.len(), 1);
        let shop = stacks.values().next().unwrap();
        assert_eq!((shop.name.as_str(), shop.state), ("shop", Whole::PartlyRunning));
    }

    #[test]
    fn a_service_is_missed_when_none_of_it_runs_and_nobody_has_asked_for_that() {
        let mut it = member("1", "shop", "web", Phase::Exited);
        let missed = |it: &Container| place().services(&[it]).values().any(|it| it.is_missed);
        it.exit_code = Some(1);
        assert!(missed(&it));
        it.requested = true;
        assert!(!missed(&it));
        let mut lone = Container::new("5", "lone", "image");
        (lone.phase, lone.exit_code) = (Phase::Exited, Some(1));
        assert!(!missed(&lone), "nobody wants it kept up");
        lone.details.restart = "always".to_owned();
        assert!(missed(&lone));
    }

    #[test]
    fn a_service_keeps_its_uuid_when_its_containers_are_made_anew() {
        let uuid = |id: &str| place().service_of(&member(id, "shop", "web", Phase::Running)).0;
        assert_eq!(uuid("1"), uuid("2"));
        let elsewhere = Place { engine: "podman".to_owned(), ..place() };
        assert_ne!(uuid("1"), elsewhere.service_of(&member("1", "shop", "web", Phase::Running)).0);
        assert_ne!(place().node(), elsewhere.node());
        assert_eq!(place().cluster(), elsewhere.cluster());
    }

    #[test]
    fn a_lone_service_outlives_the_container_that_it_is() {
        let named = |name: &str| place().service_of(&Container::new("1", name, "image"));
        let web = named("web");
        assert_eq!(named("web.old-0a1b2c3d"), web);
        assert_eq!(named("web.new-0a1b2c3d"), web);
        assert_ne!(named("web.new-today").0, web.0, "somebody's own name");
        let mut other = Container::new("2", "web-2", "image");
        other.labels.insert(REPLICA_OF.to_owned(), "web".to_owned());
        assert_eq!(place().service_of(&other), web);
    }

    proptest! {
        /// Every container is in exactly one service, and the whole is Running only when all are.
        #[test]
        fn each_container_has_one_service(all in prop::collection::vec((0_u8..3, 0_u8..3, any::<bool>()), 0..12)) {
            let all: Vec<Container> = all.iter().enumerate().map(|(id, (project, service, up))| {
                let phase = if *up { Phase::Running } else { Phase::Exited };
                member(&id.to_string(), &format!("p{project}"), &format!("s{service}"), phase)
            }).collect();
            let services = place().services(&all.iter().collect::<Vec<_>>());
            let members: usize = services.values().map(|service| service.containers.len()).sum();
            prop_assert_eq!(members, all.len());
            for service in services.values() {
                let is_all = service.running == service.containers.len();
                prop_assert_eq!(service.state == Whole::Running, is_all);
            }
            let in_stacks: usize = stacks(&services).values().map(|stack| stack.services.len()).sum();
            prop_assert_eq!(in_stacks, services.len());
        }
    }
}
