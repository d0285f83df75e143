//! In which order containers are started, so that each finds what it needs; stopped the other way
//! round. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::container::Container;
use crate::group::{PROJECT, SERVICE};

/// What compose writes down of `depends_on`: `db:service_healthy:false,cache:service_started:true`.
const DEPENDS_ON: &str = "com.docker.compose.depends_on";
const HEALTHY: &str = "service_healthy";

/// The ids of those among `all` that a container needs.
pub(super) fn needs(it: &Container, all: &[Container]) -> BTreeSet<String> {
    let named = |name: &str| {
        let found = all.iter().find(|other| other.name == name || other.id == name);
        found.filter(|other| other.id != it.id).map(|other| other.id.clone())
    };
    let mut ids: BTreeSet<String> = shares_with(it).filter_map(named).collect();
    for (service, _) in depends_on(it) {
        let of_service = all.iter().filter(|other| {
            other.label(PROJECT) == it.label(PROJECT) && other.label(SERVICE) == Some(service)
        });
        ids.extend(of_service.filter(|other| other.id != it.id).map(|other| other.id.clone()));
    }
    ids
}

/// The names or ids of those whose network or volumes it uses, or that it has a link to.
pub(crate) fn shares_with(it: &Container) -> impl Iterator<Item = &str> {
    let network = it.details.network.strip_prefix("container:");
    let volumes = it.details.volumes_from.iter().map(|text| text.split(':').next().unwrap_or(text));
    // `/db:/web/alias`
    let links = it.details.links.iter().map(|text| text.split(':').next().unwrap_or(text));
    network.into_iter().chain(volumes).chain(links).map(|name| name.trim_start_matches('/'))
}

/// Whether a container uses what goes with another when that is removed: its network, a link to it,
/// or, when they go, too, its volumes.
pub(crate) fn uses(other: &Container, it: &Container, volumes: bool) -> bool {
    let is_it = |name: &str| name == it.name || name == it.id;
    let details = &other.details;
    let network = details.network.strip_prefix("container:").is_some_and(is_it);
    let named =
        |text: &String| is_it(text.split(':').next().unwrap_or_default().trim_start_matches('/'));
    other.id != it.id
        && (network
            || details.links.iter().any(named)
            || volumes && details.volumes_from.iter().any(named))
}

/// The services of its project that a container is to be started after, and whether they must be
/// well by then.
fn depends_on(it: &Container) -> impl Iterator<Item = (&str, bool)> {
    let parts = it.label(DEPENDS_ON).unwrap_or_default().split(',');
    parts.filter(|part| !part.is_empty()).map(|part| {
        let mut words = part.split(':');
        (words.next().unwrap_or(part), words.next() == Some(HEALTHY))
    })
}

/// The ids of those that somebody else among them waits for until they are well.
pub(super) fn must_be_well(all: &[Container]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for it in all {
        for (service, _) in depends_on(it).filter(|(_, healthy)| *healthy) {
            let wanted = all.iter().filter(|other| {
                other.label(PROJECT) == it.label(PROJECT) && other.label(SERVICE) == Some(service)
            });
            ids.extend(wanted.map(|other| other.id.clone()));
        }
    }
    ids
}

/// All of them, each behind what it needs; where nothing says which comes first, in the order of
/// their names. Those that need each other come in that order, too.
pub(crate) fn ordered(mut all: Vec<Container>) -> Vec<Container> {
    all.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
    let mut waits: BTreeMap<String, BTreeSet<String>> =
        all.iter().map(|it| (it.id.clone(), needs(it, &all))).collect();
    let mut ordered = Vec::with_capacity(all.len());
    while !all.is_empty() {
        let free = all.iter().position(|it| waits.get(&it.id).is_none_or(BTreeSet::is_empty));
        let next = all.remove(free.unwrap_or(0));
        for others in waits.values_mut() {
            others.remove(&next.id);
        }
        ordered.push(next);
    }
    ordered
}

/// A name as people order it: `web-9` before `web-10`.
pub(crate) fn natural(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(id: &str, service: &str, after: &str) -> Container {
        let mut it = Container::new(id, &format!("shop-{service}-{id}"), "image");
        for (label, text) in [(PROJECT, "shop"), (SERVICE, service), (DEPENDS_ON, after)] {
            it.labels.insert(label.to_owned(), text.to_owned());
        }
        it
    }

    fn ids(all: Vec<Container>) -> Vec<String> {
        ordered(all).into_iter().map(|it| it.id).collect()
    }

    #[test]
    fn what_is_needed_comes_first() {
        let db = member("1", "db", "");
        let web = member("2", "web", "db:service_healthy:false,cache:service_started:true");
        let cache = member("3", "cache", "db");
        let mut side = Container::new("0", "aside", "image");
        side.details.network = "container:2".to_owned();
        let mut link = Container::new("4", "a-link", "image");
        link.details.links = vec!["/aside:/a-link/x".to_owned()];
        link.details.volumes_from = vec!["shop-web-2:ro".to_owned()];
        let all = vec![link, side, web, cache, db];
        assert_eq!(must_be_well(&all), BTreeSet::from(["1".to_owned()]));
        assert_eq!(ids(all), ["1", "3", "2", "0", "4"]);
    }

    #[test]
    fn without_a_reason_names_decide_and_numbers_in_them_count() {
        let all = ["web-10", "web-9", "db"].map(|name| Container::new(name, name, "image"));
        assert_eq!(ids(all.to_vec()), ["db", "web-9", "web-10"]);
    }

    proptest! {
        /// Whatever needs whatever, also in circles: each comes once, and behind what it needs where
        /// that is possible.
        #[test]
        fn each_comes_once(edges in prop::collection::vec((0_usize..6, 0_usize..6), 0..12), circles: bool) {
            let after = |n: usize| {
                let mine = edges.iter().filter(|(from, to)| *from == n && (circles || to < from));
                mine.map(|(_, to)| format!("s{to}:service_started:false")).collect::<Vec<_>>().join(",")
            };
            let all: Vec<Container> =
                (0..6).map(|n| member(&n.to_string(), &format!("s{n}"), &after(n))).collect();
            let found = ids(all.clone());
            let mut sorted = found.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, ["0", "1", "2", "3", "4", "5"]);
            if !circles {
                let place = |id: &str| found.iter().position(|it| it == id).unwrap();
                for it in &all {
                    for need in needs(it, &all) {
                        prop_assert!(place(&need) < place(&it.id));
                    }
                }
            }
        }
    }
}
