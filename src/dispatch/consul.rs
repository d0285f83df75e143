//! Consul's user events: `consul/fire`, and what their records hold. How they look to Consul's
//! clients is known to `wire` alone.

pub(crate) mod pattern;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::{Class, Draft, Event, Fault, FaultKind, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Asked, Dispatch, events};
use crate::bus::own_class;
use crate::config;

/// The class of all of them.
pub const CLASS: &str = "consul.event";
/// What records one.
pub const METHOD: &str = "consul/fire";
/// Before the name in the subject of a record: `/consul/deploy*` in a right is a prefix rule.
pub const SUBJECT: &str = "/consul/";
/// Bytes of a name: the most that one of Consul's own events has room for.
pub const NAME_BYTES_MAX: usize = 512;

/// A user event: the `data` of its record, and the arguments of `consul/fire`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserEvent {
    /// What it is called.
    pub name: String,
    /// In base64 (RFC 4648 §4, with padding); absent when empty.
    #[serde(default)]
    pub payload: Option<String>,
    /// An expression for the names of the nodes it is meant for; empty: all.
    #[serde(default)]
    pub node: String,
    /// An expression for the ids of services on them; empty: also nodes without one.
    #[serde(default)]
    pub service: String,
    /// An expression for the tags of that service; empty: whatever its tags.
    #[serde(default)]
    pub tag: String,
    /// The version of Consul's format.
    #[serde(default = "version")]
    pub version: u64,
}

const fn version() -> u64 {
    1
}

/// What is wrong with an event, for whoever fires it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// With its name.
    Name(String),
    /// With a filter.
    Filter(String),
    /// Its payload is too large.
    Size(String),
    /// Something else.
    Other(String),
}

impl From<Objection> for Fault {
    fn from(objection: Objection) -> Self {
        match objection {
            Objection::Size(why) => Self::new(FaultKind::TooLarge, why),
            Objection::Name(why) | Objection::Filter(why) | Objection::Other(why) => {
                Self::bad_request(why)
            }
        }
    }
}

impl UserEvent {
    /// The event of a record; `None` when it is none.
    pub fn of(record: &Event) -> Option<Self> {
        (record.class.as_str() == CLASS).then(|| record.data.read().ok())?
    }

    /// The subject of its record.
    pub fn subject(&self) -> String {
        format!("{SUBJECT}{}", self.name)
    }

    /// Whether it may be recorded.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, rules: &config::Consul) -> Result<(), Objection> {
        check_name(&self.name, rules.underscore_names)?;
        check_filters(&self.node, &self.service, &self.tag).map_err(Objection::Filter)?;
        if self.version != version() {
            return Err(Objection::Other("\"version\" must be 1".to_owned()));
        }
        let Some(payload) = &self.payload else { return Ok(()) };
        let most = rules.payload_bytes;
        // So that nothing large is decoded to be measured.
        if payload.len() / 4 * 3 > most.saturating_add(2) {
            return Err(too_large(most));
        }
        match STANDARD.decode(payload) {
            Ok(bytes) if bytes.len() > most => Err(too_large(most)),
            Ok(bytes) if bytes.is_empty() => {
                Err(Objection::Other("an empty \"payload\" is left out".to_owned()))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Objection::Other("\"payload\" must be base64 with padding".to_owned())),
        }
    }

    /// Whether it is meant for a node, as Consul decides it where an event is received: some service
    /// must match, and some tag of that same service.
    pub fn concerns(&self, node: &Node) -> bool {
        let Ok(filters) = Filters::new(&self.node, &self.service, &self.tag) else { return false };
        filters.cover(node)
    }
}

/// The sentence for a payload that is larger than allowed.
pub fn too_large(most: usize) -> Objection {
    Objection::Size(format!("the payload exceeds configured limit of {most} bytes"))
}

/// Whether an event may be called so.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str, underscore: bool) -> Result<(), Objection> {
    let why = if name.is_empty() {
        "Missing name"
    } else if name.len() > NAME_BYTES_MAX {
        "Invalid name: it has more than 512 bytes"
    } else if name.chars().any(char::is_control) {
        "Invalid name: it has control characters"
    } else if name.split('/').any(|part| matches!(part, "." | "..")) {
        "Invalid name: it has . or .. between slashes"
    } else if name.starts_with('_') && !underscore {
        "Invalid name: names that begin with an underscore are reserved"
    } else {
        return Ok(());
    };
    Err(Objection::Name(why.to_owned()))
}

/// Whether these expressions can be the filters of an event.
///
/// # Errors
/// Why not, in Consul's words.
pub fn check_filters(node: &str, service: &str, tag: &str) -> Result<(), String> {
    Filters::new(node, service, tag).map(|_| ())
}

/// What this machine is to filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What runs on it.
    pub services: Vec<config::Service>,
}

/// Compiled filters; an absent one covers everything.
#[derive(Debug)]
pub struct Filters {
    node: Option<regex::Regex>,
    service: Option<regex::Regex>,
    tag: Option<regex::Regex>,
}

impl Filters {
    /// # Errors
    /// What is wrong, in Consul's words.
    pub fn new(node: &str, service: &str, tag: &str) -> Result<Self, String> {
        if !tag.is_empty() && service.is_empty() {
            return Err("Cannot provide tag filter without service filter".to_owned());
        }
        let compile = |kind: &str, text: &str| {
            let compiled = (!text.is_empty()).then(|| pattern::compile(text)).transpose();
            compiled.map_err(|why| format!("Invalid {kind} filter: {why}"))
        };
        Ok(Self {
            node: compile("node", node)?,
            service: compile("service", service)?,
            tag: compile("tag", tag)?,
        })
    }

    /// Whether they let a node through.
    pub fn cover(&self, node: &Node) -> bool {
        let fits = |filter: &Option<regex::Regex>, text: &str| {
            filter.as_ref().is_none_or(|filter| filter.is_match(text))
        };
        let serves = |service: &config::Service| {
            let tagged = || service.tags.iter().any(|tag| fits(&self.tag, tag));
            fits(&self.service, &service.id) && (self.tag.is_none() || tagged())
        };
        fits(&self.node, &node.name) && (self.service.is_none() || node.services.iter().any(serves))
    }
}

/// Records a user event, together with who fired it.
pub(super) async fn fire(dispatch: &Dispatch, asked: &Asked<'_>) -> Result<Json, Fault> {
    let event = UserEvent::deserialize(&asked.request.args)
        .map_err(|error| Fault::bad_request(format!("the event is wrong: {error}")))?;
    event.check(&dispatch.identity().consul)?;
    let subject = event.subject();
    if !asked.principal.rights.may_fire(METHOD, CLASS, &subject) {
        let sentence = format!("your rights do not reach as far as firing {subject}");
        let fault = Fault::new(FaultKind::Forbidden, sentence);
        dispatch.refuse(asked, &[], &fault).await;
        return Err(fault);
    }
    let own = own_class(CLASS).ok_or_else(Fault::internal)?;
    let mut draft = Draft::new(Class::parse(CLASS).map_err(|_| Fault::internal())?);
    draft.subject = subject;
    draft.priority = Some(own.declared.priority_default);
    draft.message = format!("Consul event {} was fired", event.name);
    draft.data = Json::of(&event).map_err(|_| Fault::internal())?;
    // The event holds the payload; the trail says who and what.
    let secrets = ["payload".to_owned()];
    let entry = asked.deed(&secrets).entry("done");
    let recorded = dispatch.0.bus.publish_audited(&own.source, draft, entry).await?;
    events::receipt(&dispatch.0.bus, &recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> UserEvent {
        UserEvent {
            name: name.to_owned(),
            payload: None,
            node: String::new(),
            service: String::new(),
            tag: String::new(),
            version: 1,
        }
    }

    fn named(name: &str, services: &[(&str, &[&str])]) -> Node {
        let services = services.iter().map(|(id, tags)| config::Service {
            id: (*id).to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        });
        Node { name: name.to_owned(), services: services.collect() }
    }

    #[test]
    fn whom_an_event_is_meant_for_is_decided_as_consul_decides_it() {
        let node = named("Node-1", &[("mysql", &["test", "foo", "bar", "primary"]), ("web", &[])]);
        for (name, service, tag, meant) in [
            ("", "", "", true),
            ("foobar", "", "", false),
            ("^Node", "", "", true),
            ("^node", "", "", false),
            ("", "foobar", "", false),
            ("", ".*sql", "", true),
            ("", ".*sql", "replica", false),
            ("", ".*sql", "primary", true),
            ("", "web", "primary", false),
            ("^Node", "web", "", true),
        ] {
            let filters = Filters::new(name, service, tag).unwrap();
            assert_eq!(filters.cover(&node), meant, "{name} {service} {tag}");
        }
        let consul = UserEvent { service: "consul".to_owned(), ..event("x") };
        assert!(!consul.concerns(&named("a", &[])), "there is no such service here");
        let bad = UserEvent { node: "(".to_owned(), ..event("x") };
        assert!(!bad.concerns(&node), "what cannot be read is meant for nobody");
    }

    #[test]
    fn what_is_wrong_is_told_in_consuls_words() {
        let rules = config::Consul { payload_bytes: 3, ..config::Consul::default() };
        let why = |event: UserEvent| event.check(&rules).unwrap_err();
        assert_eq!(why(event("")), Objection::Name("Missing name".to_owned()));
        assert!(matches!(why(event("_rexec")), Objection::Name(_)));
        assert!(matches!(why(event("a\u{7}b")), Objection::Name(_)));
        assert!(matches!(why(event("a/../b")), Objection::Name(_)));
        assert!(matches!(why(event(&"x".repeat(513))), Objection::Name(_)));
        let filter = |node: &str, service: &str, tag: &str| {
            let [node, service, tag] = [node, service, tag].map(str::to_owned);
            why(UserEvent { node, service, tag, ..event("a") })
        };
        for (objection, kind) in [
            (filter("(", "", ""), "node"),
            (filter("", "(", ""), "service"),
            (filter("", "a", "("), "tag"),
        ] {
            let words =
                format!("Invalid {kind} filter: error parsing regexp: missing closing ): `(`");
            assert_eq!(objection, Objection::Filter(words));
        }
        let words = "Cannot provide tag filter without service filter".to_owned();
        assert_eq!(filter("", "", "a"), Objection::Filter(words));
    }

    #[test]
    fn a_payload_has_its_limit() {
        let rules = config::Consul { payload_bytes: 3, ..config::Consul::default() };
        let why = |event: UserEvent| event.check(&rules).unwrap_err();
        let payload = |text: &str| UserEvent { payload: Some(text.to_owned()), ..event("a") };
        assert_eq!(payload("YWJj").check(&rules), Ok(()));
        assert!(matches!(why(payload("YWJjZA==")), Objection::Size(_)));
        assert!(matches!(why(payload(&"YWJj".repeat(9))), Objection::Size(_)));
        for bad in ["YWJ", "!!!!", ""] {
            assert!(matches!(why(payload(bad)), Objection::Other(_)), "{bad}");
        }
    }

    #[test]
    fn a_name_may_be_nearly_anything() {
        let rules = config::Consul::default();
        for good in ["a/b", "trail/", "a..b", "mit Leerzeichen", "größe", &"x".repeat(512)] {
            assert_eq!(event(good).check(&rules), Ok(()), "{good}");
        }
    }
}
