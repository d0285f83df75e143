//! What a request is for: path, method and query, judged in the order in which Consul judges them.

use std::time::Duration;

use super::query::{decode, encode_path, encode_query};
use super::{Query, Reply, duration};

const FIRE: &str = "/v1/event/fire/";
const LIST: &str = "/v1/event/list";
const SELF: &str = "/v1/agent/self";

/// Everything that is served; the first is the beginning of many.
pub const PATHS: [&str; 3] = [FIRE, LIST, SELF];

/// The longest that a list is waited for, and what is waited when nothing is said.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `PUT`.
    Put,
    /// `OPTIONS`.
    Options,
    /// `HEAD`, to which no text may be answered.
    Head,
    /// Any other.
    Other,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To fire an event.
    Fire {
        /// Its name, perhaps one that is refused.
        name: String,
    },
    /// The newest events.
    List {
        /// Only of this name.
        name: Option<String>,
        /// The index that the client has, and how long to wait while the list has that one.
        wait: Option<(u64, Duration)>,
    },
    /// What this machine is.
    AgentSelf,
}

/// Reads the head of a request: `word` is the method as it was written.
///
/// # Errors
/// What is to be answered at once.
pub fn read(
    (method, word): (Method, &str),
    path: &str,
    query: Option<&str>,
) -> Result<(Asked, Query), Reply> {
    let path = path_of(path, query)?;
    let is_here = |known: &&str| path == *known || *known == FIRE && path.starts_with(FIRE);
    let kind = PATHS.into_iter().find(is_here).ok_or_else(|| Reply::new(404, ""))?;
    let (allow, allowed) = match kind {
        FIRE => ("OPTIONS,PUT", Method::Put),
        _ => ("OPTIONS,GET", Method::Get),
    };
    let query = Query::parse(query.unwrap_or_default()).ok_or_else(|| Reply::new(500, ""))?;
    if method == Method::Options {
        return Err(Reply { allow: Some(allow), ..Reply::new(200, "") });
    }
    if method != allowed {
        let text = if method == Method::Head {
            String::new()
        } else {
            format!("method {word} not allowed")
        };
        return Err(Reply { allow: Some(allow), ..Reply::new(405, text) });
    }
    let asked = match kind {
        FIRE => Asked::Fire { name: path[FIRE.len()..].to_owned() },
        LIST => list(&query)?,
        _ => Asked::AgentSelf,
    };
    Ok((asked, query))
}

/// The path without percent signs, when it is one that is answered as it is.
fn path_of(path: &str, query: Option<&str>) -> Result<String, Reply> {
    let decoded = decode(path).ok_or_else(|| Reply::new(400, "400 Bad Request"))?;
    let decoded =
        String::from_utf8(decoded).map_err(|_| Reply::new(400, "the path is not UTF-8"))?;
    if decoded.contains(char::is_control) {
        return Err(Reply::new(400, ""));
    }
    let mut clean = clean(&decoded);
    if clean == "/v1/event/fire" {
        clean.push('/');
    }
    if clean == decoded {
        return Ok(decoded);
    }
    let query = query.map(|query| format!("?{}", encode_query(query))).unwrap_or_default();
    let location = Some(encode_path(&clean) + &query);
    Err(Reply { location, ..Reply::new(301, "") })
}

/// The shortest path that means the same; a slash at the end stays.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    clean
}

fn list(query: &Query) -> Result<Asked, Reply> {
    let wait = query.get("wait");
    let wait = if wait.is_empty() { Some(Duration::ZERO) } else { duration(wait) };
    let wait = wait.ok_or_else(|| Reply::new(400, "Invalid wait time"))?;
    let wait = if wait.is_zero() { WAIT_MAX } else { wait.min(WAIT_MAX) };
    let index = query.get("index");
    let is_number = index.bytes().all(|byte| byte.is_ascii_digit());
    let index = match index {
        "" => 0,
        index if is_number => index.parse().map_err(|_| Reply::new(400, "Invalid index"))?,
        _ => return Err(Reply::new(400, "Invalid index")),
    };
    let name = query.get("name");
    let name = (!name.is_empty()).then(|| name.to_owned());
    Ok(Asked::List { name, wait: (index > 0).then_some((index, wait)) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str, query: &str) -> Result<Asked, Reply> {
        read((Method::Get, "GET"), path, Some(query)).map(|(asked, _)| asked)
    }

    fn put(path: &str) -> Result<Asked, Reply> {
        read((Method::Put, "PUT"), path, None).map(|(asked, _)| asked)
    }

    #[test]
    fn a_name_is_the_rest_of_the_path() {
        for (path, name) in [
            ("deploy", "deploy"),
            ("", ""),
            ("a/b", "a/b"),
            ("a%2Fb", "a/b"),
            ("trail/", "trail/"),
            ("a%20b", "a b"),
            ("gr%C3%B6%C3%9Fe", "größe"),
            ("a..b", "a..b"),
            ("_x", "_x"),
            ("a%25zz", "a%zz"),
        ] {
            let name = name.to_owned();
            assert_eq!(put(&format!("/v1/event/fire/{path}")), Ok(Asked::Fire { name }), "{path}");
        }
    }

    #[test]
    fn a_path_that_is_not_clean_leads_to_the_clean_one() {
        let to = |path: &str| read((Method::Put, "PUT"), path, Some("dc=x")).unwrap_err();
        for (path, location) in [
            ("/v1/event/fire", "/v1/event/fire/?dc=x"),
            ("/v1/event/fire//", "/v1/event/fire/?dc=x"),
            ("/v1/event/fire/a//b", "/v1/event/fire/a/b?dc=x"),
            ("/v1/event/fire/a/%2E%2E/b c", "/v1/event/fire/b%20c?dc=x"),
            ("/v1/../v1/event/list", "/v1/event/list?dc=x"),
            ("/v1/..", "/?dc=x"),
        ] {
            let reply = to(path);
            assert_eq!((reply.status, reply.location.as_deref()), (301, Some(location)), "{path}");
        }
        for (path, status) in [
            ("/v1/event/fire/%00", 400),
            ("/v1/event/fire/a%0ab", 400),
            ("/v1/event/fire/%ff", 400),
            ("/v1/event/fire/%zz", 400),
            ("/v1/event/list/", 404),
            ("/v1/event/", 404),
            ("/v1/kv/x", 404),
        ] {
            assert_eq!(to(path).status, status, "{path}");
        }
    }

    #[test]
    fn methods_and_queries_are_judged_before_anything_else() {
        let reply = |method, path, query| read(method, path, Some(query)).unwrap_err();
        let post = reply((Method::Other, "POST"), "/v1/event/fire/", "");
        assert_eq!((post.status, post.allow), (405, Some("OPTIONS,PUT")));
        assert_eq!(post.text, "method POST not allowed");
        let head = reply((Method::Head, "HEAD"), "/v1/event/list", "");
        assert_eq!((head.status, head.allow, &*head.text), (405, Some("OPTIONS,GET"), ""));
        let options = reply((Method::Options, "OPTIONS"), "/v1/event/list", "");
        assert_eq!((options.status, options.allow), (200, Some("OPTIONS,GET")));
        assert_eq!(reply((Method::Other, "POST"), "/v1/event/list", "a=%zz").status, 500);
    }

    #[test]
    fn a_wait_has_its_bounds() {
        let wait = |query: &str| match get("/v1/event/list", query)? {
            Asked::List { wait, .. } => Ok(wait.map(|(index, wait)| (index, wait.as_secs()))),
            _ => Ok(None),
        };
        assert_eq!(wait("wait=60s&index=1000"), Ok(Some((1000, 60))));
        assert_eq!(wait("index=7"), Ok(Some((7, 600))));
        assert_eq!(wait("index=7&wait=0"), Ok(Some((7, 600))));
        assert_eq!(wait("index=7&wait=20m"), Ok(Some((7, 600))));
        assert_eq!(wait("index=18446744073709551615"), Ok(Some((u64::MAX, 600))));
        assert_eq!(wait("index=&wait=1s"), Ok(None));
        assert_eq!(wait("index=0"), Ok(None));
        for bad in ["wait=2", "wait=abc", "wait=-1s", "wait=60foo"] {
            assert_eq!(wait(bad), Err(Reply::new(400, "Invalid wait time")), "{bad}");
        }
        for bad in ["abc", "-1", "1.5", "18446744073709551616", "%2B1", "0x1"] {
            let query = format!("index={bad}");
            assert_eq!(wait(&query), Err(Reply::new(400, "Invalid index")), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_clean_path_is_clean(path in "/(v1|event|fire|list|\\.|\\.\\.|/|%2e|a){0,12}") {
            let first = clean(&path);
            prop_assert_eq!(clean(&first), first.as_str());
            prop_assert!(first.starts_with('/') && !first.contains("//"));
        }
    }
}
