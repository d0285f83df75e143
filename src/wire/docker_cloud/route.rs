//! What a request is for: method, path and query.

use super::action::Verb;
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

/// What can be posted to.
pub const DEEDS: [&str; 12] = [
    "/api/app/v1/stack/{uuid}/start/",
    "/api/app/v1/stack/{uuid}/stop/",
    "/api/app/v1/stack/{uuid}/redeploy/",
    "/api/app/v1/service/{uuid}/start/",
    "/api/app/v1/service/{uuid}/stop/",
    "/api/app/v1/service/{uuid}/redeploy/",
    "/api/app/v1/service/{uuid}/scale/",
    "/api/app/v1/container/{uuid}/start/",
    "/api/app/v1/container/{uuid}/stop/",
    "/api/app/v1/container/{uuid}/redeploy/",
    "/api/audit/v1/action/{uuid}/cancel/",
    "/api/audit/v1/action/{uuid}/retry/",
];

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
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
    /// Something to be done to an object.
    Do {
        /// Of which kind.
        kind: Kind,
        /// Which.
        uuid: String,
        /// What.
        verb: Verb,
        /// Whether volumes that have no name stay; `None`: nobody has said.
        reuse_volumes: Option<bool>,
    },
    /// Another number of containers for a service, which the body says.
    Resize {
        /// Which service.
        uuid: String,
    },
    /// An action to be ended, or done again.
    Again {
        /// Which.
        uuid: String,
        /// Whether it is to be ended.
        cancels: bool,
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
    let allow = allowed(&asked);
    match (method, asked) {
        (Method::Post, asked @ (Asked::Do { .. } | Asked::Again { .. })) => Ok(asked),
        (_, asked @ (Asked::Do { .. } | Asked::Again { .. } | Asked::Resize { .. })) => {
            refuse(method, &asked, allow)
        }
        (Method::Get, asked) => Ok(asked),
        (Method::Delete, Asked::Show { kind, uuid }) if is_changeable(kind) => {
            let reuse_volumes = reuse_volumes(query)?;
            Ok(Asked::Do { kind, uuid, verb: Verb::Terminate, reuse_volumes })
        }
        (Method::Patch, Asked::Show { kind: Kind::Service, uuid }) => Ok(Asked::Resize { uuid }),
        (_, asked) => refuse(method, &asked, allow),
    }
}

/// The methods that a path takes.
const fn allowed(asked: &Asked) -> &'static str {
    match asked {
        Asked::Do { .. } | Asked::Again { .. } | Asked::Resize { .. } => "POST, OPTIONS",
        Asked::Show { kind: Kind::Service, .. } => "DELETE, GET, PATCH, OPTIONS",
        Asked::Show { kind: Kind::Container | Kind::Stack, .. } => "DELETE, GET, OPTIONS",
        Asked::List { .. } | Asked::Show { .. } | Asked::Login | Asked::Events(_) => "GET, OPTIONS",
    }
}

fn refuse(method: Method, asked: &Asked, allow: &'static str) -> Result<Asked, Refusal> {
    let is_deed = matches!(asked, Asked::Do { .. } | Asked::Again { .. } | Asked::Resize { .. });
    let (status, sentence) = match method {
        Method::Options => (200, ""),
        _ if is_deed => (405, "this has to be posted"),
        _ => (405, "this cannot be done here"),
    };
    Err(Refusal { allow: Some(allow), ..Refusal::new(status, sentence) })
}

const fn is_changeable(kind: Kind) -> bool {
    matches!(kind, Kind::Container | Kind::Service | Kind::Stack)
}

/// Clients write it as their languages do.
fn reuse_volumes(query: &str) -> Result<Option<bool>, Refusal> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    match pairs.find(|(name, _)| name == "reuse_volumes") {
        None => Ok(None),
        Some((_, word)) if word.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some((_, word)) if word.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(_) => Err(Refusal::new(400, "reuse_volumes must be true or false")),
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
    if let Some(deed) = deed(subsystem, rest, query)? {
        return Ok(Some(deed));
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

/// A path that ends with what is to be done.
fn deed(subsystem: &str, rest: &[&str], query: &str) -> Result<Option<Asked>, Refusal> {
    let ([resource, uuid, word] | [_, resource, uuid, word]) = *rest else { return Ok(None) };
    let Some(kind) = kind(subsystem, resource) else { return Ok(None) };
    let uuid = uuid.to_owned();
    let cancels = word == "cancel";
    Ok(match (kind, Verb::read(word)) {
        (Kind::Action, _) if cancels || word == "retry" => Some(Asked::Again { uuid, cancels }),
        (Kind::Container | Kind::Stack, Some(Verb::Scale)) => None,
        (kind, Some(verb)) if is_changeable(kind) => {
            let reuse_volumes = reuse_volumes(query)?;
            Some(Asked::Do { kind, uuid, verb, reuse_volumes })
        }
        _ => None,
    })
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
        for path in DEEDS {
            let path = path.replace("{uuid}", "u");
            assert!(read(Method::Post, &path, None).is_ok(), "{path}");
            let refusal = read(Method::Get, &path, None).unwrap_err();
            assert_eq!((refusal.status, refusal.allow), (405, Some("POST, OPTIONS")), "{path}");
        }
        assert!(starts("/api/x") && starts("//api") && starts("/auth/"));
        assert!(!starts("/auth/x") && !starts("/apis") && !starts("/"));
    }

    #[test]
    fn what_changes_is_posted_deleted_or_patched() {
        let of = |method, path: &str, query| read(method, path, query);
        let deed = |kind, verb, reuse_volumes| {
            Ok(Asked::Do { kind, uuid: "U".to_owned(), verb, reuse_volumes })
        };
        let (post, delete) = (Method::Post, Method::Delete);
        let redeploy = "/api/app/v1/me/service/U/redeploy";
        assert_eq!(of(post, redeploy, None), deed(Kind::Service, Verb::Redeploy, None));
        let python = Some("reuse_volumes=False");
        assert_eq!(of(post, redeploy, python), deed(Kind::Service, Verb::Redeploy, Some(false)));
        assert_eq!(of(post, redeploy, Some("reuse_volumes=0")).unwrap_err().status, 400);
        let stack = "/api/app/v1/stack/U/";
        assert_eq!(of(delete, stack, None), deed(Kind::Stack, Verb::Terminate, None));
        let uuid = "U".to_owned();
        assert_eq!(of(Method::Patch, "/api/app/v1/service/U/", None), Ok(Asked::Resize { uuid }));
        assert_eq!(of(Method::Patch, stack, None).unwrap_err().status, 405);
        assert_eq!(of(delete, "/api/infra/v1/node/U/", None).unwrap_err().status, 405);
        assert_eq!(of(post, "/api/app/v1/service/", None).unwrap_err().status, 405);
        assert_eq!(of(post, "/api/app/v1/stack/U/scale/", None).unwrap_err().status, 404);
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
