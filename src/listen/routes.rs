//! Which face a path belongs to: pure.
//!
//! Every listener serves every face. What no other face takes is the `SysAdm` protocol's: its
//! clients open their websocket at any path, and over REST a path is a method. So the first segment
//! of another face's paths is a namespace that no plugin may have
//! ([`protocol::manifest::RESERVED_NAMESPACES`]). What monitoring asks has paths of one segment, which
//! no method has.

use crate::description::Form;
use crate::wire::docker_cloud as dockercloud;

/// A face, as far as HTTP has to tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The websocket of `SysAdm` clients, and REST.
    SysAdm,
    /// JSON-RPC 2.0, as a websocket and by POST.
    JsonRpc,
    /// `CloudEvents`: a stream, batches, and events that are brought.
    CloudEvents,
    /// Consul's clients.
    Consul,
    /// Docker Cloud's clients.
    DockerCloud,
    /// What the daemon says of itself: `/openrpc.json` and its like.
    Document(Form),
    /// What monitoring asks.
    Probe(Probe),
}

/// What monitoring asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// Whether the daemon lives.
    Health,
    /// Whether it does its work.
    Ready,
    /// What there is to measure.
    Metrics,
}

/// The first segments that are another face's. What is served under them is described in
/// [`crate::description`]; a test holds the two together.
const SEGMENTS: [(&str, Route); 4] = [
    ("jsonrpc", Route::JsonRpc),
    ("cloudevents", Route::CloudEvents),
    ("v1", Route::Consul),
    ("api", Route::DockerCloud),
];

/// The face for a path.
pub(super) fn of(path: &str) -> Route {
    let first = path.split('/').nth(1);
    let face = SEGMENTS.iter().find(|(segment, _)| first == Some(*segment));
    face.map(|(_, route)| *route)
        // Some of these clients begin with more than one slash.
        .or_else(|| dockercloud::starts(path).then_some(Route::DockerCloud))
        .or_else(|| document(path).map(Route::Document))
        .or_else(|| probe(path).map(Route::Probe))
        .unwrap_or(Route::SysAdm)
}

/// What of it monitoring asks under this path; no method has a path of one segment.
fn probe(path: &str) -> Option<Probe> {
    match path {
        "/healthz" => Some(Probe::Health),
        "/readyz" => Some(Probe::Ready),
        "/metrics" => Some(Probe::Metrics),
        _ => None,
    }
}

/// The form of which a path is the document.
fn document(path: &str) -> Option<Form> {
    let name = path.strip_prefix('/')?.strip_suffix(".json")?;
    Form::ALL.into_iter().find(|form| form.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::served;
    use crate::dispatch::PROTOCOL;
    use crate::wire::consul;

    /// A path for each face: a new one does not compile until it is here, too.
    fn of_face(route: Route) -> Vec<String> {
        let one = |path: &str| vec![path.to_owned()];
        match route {
            // Its calls are described one by one.
            Route::SysAdm => one("/"),
            Route::JsonRpc => {
                let versions = (1..=PROTOCOL).map(|version| format!("/jsonrpc/v{version}"));
                one("/jsonrpc").into_iter().chain(versions).collect()
            }
            Route::CloudEvents => one("/cloudevents"),
            Route::Consul => consul::PATHS.iter().map(|path| (*path).to_owned()).collect(),
            Route::DockerCloud => dockercloud::PATHS
                .iter()
                .chain(&dockercloud::DEEDS)
                .chain(&dockercloud::TRIGGER_PATHS)
                .map(|path| (*path).to_owned())
                .collect(),
            Route::Document(form) => vec![format!("/{}.json", form.as_str())],
            // No face of clients: what they say is in the guide, and `rpc/metrics` is described.
            Route::Probe(_) => Vec::new(),
        }
    }

    #[test]
    fn whatever_is_served_is_described_and_the_other_way_round() {
        let faces = SEGMENTS.iter().map(|(_, route)| *route).chain([Route::SysAdm]);
        let faces: Vec<Route> = faces.chain(Form::ALL.map(Route::Document)).collect();
        let (asked, streams) = served(PROTOCOL);
        for route in &faces {
            let paths = of_face(*route);
            let described = |path: &String| {
                asked.iter().any(|known| known.strip_suffix("{name}").unwrap_or(known) == path)
                    || streams.contains(&path.as_str())
            };
            assert!(paths.iter().all(described), "{route:?} serves {paths:?}");
        }
        for path in asked.iter().map(String::as_str).chain(streams) {
            assert!(faces.contains(&of(path)), "{path} is described, and nobody serves it");
            let plain = path.strip_suffix("{name}").unwrap_or(path).to_owned();
            assert!(
                of_face(of(path)).contains(&plain),
                "{path} is described, and nobody serves it"
            );
        }
    }

    #[test]
    fn no_plugin_can_have_the_paths_of_a_face() {
        let reserved = protocol::manifest::RESERVED_NAMESPACES;
        assert!(SEGMENTS.iter().all(|(segment, _)| reserved.contains(segment)));
    }

    #[test]
    fn the_first_segment_decides() {
        for (path, route) in [
            ("/v1/event/list", Route::Consul),
            ("/v1", Route::Consul),
            ("/api/app/v1/stack/", Route::DockerCloud),
            ("//api/app/v1/stack/", Route::DockerCloud),
            ("/auth", Route::DockerCloud),
            ("/auth/", Route::DockerCloud),
            ("/auth/x", Route::SysAdm),
            ("/jsonrpc", Route::JsonRpc),
            ("/v10/x", Route::SysAdm),
            ("/", Route::SysAdm),
            ("*", Route::SysAdm),
            ("/metrics", Route::Probe(Probe::Metrics)),
            ("/healthz/x", Route::SysAdm),
        ] {
            assert_eq!(of(path), route, "{path}");
        }
    }

    #[test]
    fn a_document_has_one_path() {
        assert_eq!(of("/openrpc.json"), Route::Document(Form::OpenRpc));
        assert_eq!(of("/asyncapi.json"), Route::Document(Form::AsyncApi));
        let others =
            ["/", "/openrpc", "/openrpc.json/", "/x/openrpc.json", "/OpenRPC.json", "/.json"];
        for other in others {
            assert_eq!(of(other), Route::SysAdm, "{other}");
        }
    }
}
