//! What a request is for: method, path and query.

use super::list::Filters;
use super::stream::Wish;
use super::{Refusal, last};

/// What is served, with `{uuid}` for an object's. Each may have a namespace before the resource, more
/// slashes than one, and none at the end.
pub const PATHS: [&str; 18] = [
    "/api/app/v1/stack/",
    "/api/app/v1/stack/{uuid}/",
    "/api/app/v1/service/",
    "/api/app/v1/service/{uuid}/",
    "/api/app/v1/container/",
    "/api/app/v1/container/{uuid}/",
    "/api/infra/v1/node/",
    "/api/infra/v1/node/{uuid}/",
    "/api/infra/v1/nodecluster/",
    "/api/infra/v1/nodecluster/{uuid}/",
    "/api/infra/v1/nodetype/",
    "/api/infra/v1/provider/",
    "/api/infra/v1/region/",
    "/api/infra/v1/az/",
    "/api/audit/v1/action/",
    "/api/audit/v1/action/{uuid}/",
    "/api/audit/v1/events/",
    "/auth/",
];

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `OPTIONS`.
    Options,
    /// Any other.
    Other,
}

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Services of one project.
    Stack,
    /// Containers that do the same.
    Service,
    /// A container.
    Container,
    /// An engine.
    Node,
    /// The engines of this machine.
    NodeCluster,
    /// Something that was asked for.
    Action,
    /// What one could buy, of which there is nothing here.
    Nothing,
}

impl Kind {
    /// The word in paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stack => "stack",
            Self::Service => "service",
            Self::Container => "container",
            Self::Node => "node",
            Self::NodeCluster => "nodecluster",
            Self::Action => "action",
            Self::Nothing => "nodetype",
        }
    }
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Some of the objects of a kind.
    List {
        /// Of which kind.
        kind: Kind,
        /// The path to this list, for the next page.
        path: String,
        /// Which, and which page.
        filters: Filters,
    },
    /// One object.
    Show {
        /// Of which kind.
        kind: Kind,
        /// Which.
        uuid: String,
    },
    /// Whether the login is right.
    Login,
    /// The event stream.
    Events(Wish),
}

/// Whether a path is one of this API's.
pub fn starts(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    match segments.next() {
        Some("api") => true,
        Some("auth") => segments.next().is_none(),
        _ => false,
    }
}

/// Reads the head of a request.
///
/// # Errors
/// What is to be answered at once.
pub fn read(method: Method, path: &str, query: Option<&str>) -> Result<Asked, Refusal> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let query = query.unwrap_or_default();
    let asked = match segments[..] {
        ["auth"] => Asked::Login,
        ["api", "app" | "infra" | "audit", "v1", ref rest @ ..] => {
            of(segments[1], rest, query)?.ok_or_else(nothing)?
        }
        _ => return Err(nothing()),
    };
    match method {
        Method::Get => Ok(asked),
        Method::Options => Err(Refusal { allow: Some("GET, OPTIONS"), ..Refusal::new(200, "") }),
        Method::Other => Err(Refusal {
            allow: Some("GET, OPTIONS"),
            ..Refusal::new(405, "this can only be read here")
        }),
    }
}

/// The resource may have a namespace before it, which is nobody's here.
fn of(subsystem: &str, rest: &[&str], query: &str) -> Result<Option<Asked>, Refusal> {
    let known = |rest: &[&str]| match *rest {
        [resource] => kind(subsystem, resource).map(|kind| (kind, resource.to_owned(), None)),
        [resource, uuid] => {
            kind(subsystem, resource).map(|kind| (kind, resource.to_owned(), Some(uuid.to_owned())))
        }
        _ => None,
    };
    let is_stream = |rest: &[&str]| subsystem == "audit" && *rest == ["events"];
    if is_stream(rest) || rest.len() == 2 && is_stream(&rest[1..]) {
        return Wish::read(query).map(Asked::Events).map(Some);
    }
    let Some((kind, resource, uuid)) = known(rest).or_else(|| rest.get(1..).and_then(known)) else {
        return Ok(None);
    };
    if let Some(uuid) = uuid {
        return Ok(Some(Asked::Show { kind, uuid }));
    }
    let path = format!("/api/{subsystem}/v1/{resource}/");
    Ok(Some(Asked::List { kind, path, filters: Filters::read(query)? }))
}

fn kind(subsystem: &str, resource: &str) -> Option<Kind> {
    Some(match (subsystem, resource) {
        ("app", "stack") => Kind::Stack,
        ("app", "service") => Kind::Service,
        ("app", "container") => Kind::Container,
        ("infra", "node") => Kind::Node,
        ("infra", "nodecluster") => Kind::NodeCluster,
        ("infra", "nodetype" | "provider" | "region" | "az") => Kind::Nothing,
        ("audit", "action") => Kind::Action,
        _ => return None,
    })
}

fn nothing() -> Refusal {
    Refusal::new(404, "there is no such thing here")
}

/// A uuid or a whole path, of which the uuid counts.
pub(super) fn uuid_of(text: &str) -> &str {
    last(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str) -> Result<Asked, Refusal> {
        read(Method::Get, path, None)
    }

    #[test]
    fn slashes_and_namespaces_make_no_difference() {
        let wanted = get("/api/app/v1/service/U/").unwrap();
        assert_eq!(wanted, Asked::Show { kind: Kind::Service, uuid: "U".to_owned() });
        for same in [
            "/api/app/v1/service/U",
            "//api/app/v1/service/U/",
            "/api/app/v1/someone/service/U//",
            "/api//app/v1/someone/service/U",
        ] {
            assert_eq!(get(same).unwrap(), wanted, "{same}");
        }
        for stream in ["/api/audit/v1/events", "/api/audit/v1/someone/events/"] {
            assert!(matches!(get(stream), Ok(Asked::Events(_))), "{stream}");
        }
        assert_eq!(get("/auth"), Ok(Asked::Login));
    }

    #[test]
    fn every_path_is_served_and_nothing_else() {
        for path in PATHS {
            assert!(get(&path.replace("{uuid}", "u")).is_ok(), "{path}");
        }
        for path in
            ["/api", "/api/app/v2/stack/", "/api/app/v1/", "/api/app/v1/node/", "/api/a/b/c/d"]
        {
            assert_eq!(get(path).unwrap_err().status, 404, "{path}");
        }
        assert_eq!(read(Method::Other, "/api/app/v1/stack/", None).unwrap_err().status, 405);
        assert!(starts("/api/x") && starts("//api") && starts("/auth/"));
        assert!(!starts("/auth/x") && !starts("/apis") && !starts("/"));
    }

    proptest! {
        #[test]
        fn any_path_and_query_is_read_or_refused(path in "(/|api|app|v1|stack|service|events|[a-z]{1,3}){0,12}", query in ".{0,60}") {
            match read(Method::Get, &path, Some(&query)) {
                Ok(_) => prop_assert!(starts(&path)),
                Err(refusal) => prop_assert!((400..500).contains(&refusal.status)),
            }
        }
    }
}
