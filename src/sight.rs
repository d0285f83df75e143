//! Floor 1: which events somebody may hear.
//!
//! It knows the rights of a listener and the least role each event class declares. It must not
//! know who the listener is: `access` makes a [`Sight`], and the log and the bus ask it, so that
//! live delivery, replay and history can never disagree. Pure but for the table of classes, which
//! is shared because plugins come and go.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use protocol::class::covers;
use protocol::{Class, Event, Filter, Role};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// The least role that may hear each class, as manifests declare it. Cheap to clone; every clone
/// is the same table.
#[derive(Debug, Clone, Default)]
pub struct Classes(Arc<RwLock<Declared>>);

#[derive(Debug, Default)]
struct Declared {
    exact: HashMap<String, Role>,
    /// A class and everything below it; the first that covers counts.
    families: Vec<(String, Role)>,
}

impl Classes {
    /// A table of families alone: each `(class, role)` stands for the class and all below it.
    pub fn with_families(families: impl IntoIterator<Item = (String, Role)>) -> Self {
        let families = families.into_iter().map(|(class, role)| (format!("{class}.*"), role));
        let declared = Declared { exact: HashMap::new(), families: families.collect() };
        Self(Arc::new(RwLock::new(declared)))
    }

    /// Puts these in the place of what was declared before. Where two declare the same class, the
    /// stricter role counts.
    pub fn declare(&self, declarations: impl IntoIterator<Item = (Class, Role)>) {
        let mut exact: HashMap<String, Role> = HashMap::new();
        for (class, role) in declarations {
            let least = exact.entry(class.into()).or_insert(role);
            *least = role.max(*least);
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).exact = exact;
    }

    /// The least role for a class; `None` when nobody declares it, for example because its plugin
    /// is gone.
    pub fn least(&self, class: &str) -> Option<Role> {
        let declared = self.0.read().unwrap_or_else(PoisonError::into_inner);
        declared.exact.get(class).copied().or_else(|| {
            let family = declared.families.iter().find(|(pattern, _)| covers(pattern, class));
            family.map(|(_, role)| *role)
        })
    }
}

/// What one set of rights lets its holder hear: everything up to a role, and what is granted
/// beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Every class that declares this role or a lesser one; `admin` also hears what nobody
    /// declares.
    pub level: Option<Role>,
    /// Further classes.
    pub hearings: Vec<Hearing>,
}

/// Events that are granted by pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hearing {
    /// Patterns of methods that are granted beside them: calls and jobs of these methods may be heard
    /// of.
    pub methods: Vec<String>,
    /// Class patterns, of which one must cover the event's class.
    pub classes: Vec<String>,
    /// Subject patterns (exact, or with a trailing `*`), of which one must cover the event's
    /// subject; empty: any subject.
    pub resources: Vec<String>,
}

/// Which events somebody may hear: those that every layer allows. Two sights are equal when their
/// layers are.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Empty: everything.
    layers: Arc<[Layer]>,
    classes: Classes,
}

impl Sight {
    /// Every event there is.
    pub fn everything() -> Self {
        Self { layers: Arc::from([]), classes: Classes::default() }
    }

    /// What all of these layers allow.
    pub fn new(layers: impl IntoIterator<Item = Layer>, classes: Classes) -> Self {
        let limiting = layers.into_iter().filter(|layer| layer.level != Some(Role::Admin));
        Self { layers: limiting.collect(), classes }
    }

    /// Whether its holder may hear the event. Of a call or a job only those hear who might have asked
    /// for it.
    pub fn shows(&self, event: &Event) -> bool {
        let (class, subject) = (event.class.as_str(), event.subject.as_str());
        if self.layers.is_empty() {
            return true;
        }
        let call = if is_about_a_job(event) {
            event.data.read::<AboutJob>().map(|about| about.job.into_call())
        } else if class == PROGRESS_CLASS {
            event.data.read::<AboutCall>().map(|about| about.call)
        } else {
            return self.shows_class(class, subject);
        };
        let least = self.classes.least(class);
        call.is_ok_and(|call| {
            self.layers.iter().all(|layer| layer.shows_call(least, &call, (class, subject)))
        })
    }

    /// Whether its holder may hear an event of this class about this subject.
    pub fn shows_class(&self, class: &str, subject: &str) -> bool {
        self.layers.is_empty() || {
            let least = self.classes.least(class);
            self.layers.iter().all(|layer| layer.shows(least, class, subject))
        }
    }

    /// Whether its holder may hear some event of this class, whatever it is about.
    pub fn may_show(&self, class: &str) -> bool {
        self.layers.is_empty() || {
            let least = self.classes.least(class);
            self.layers.iter().all(|layer| {
                let by_level = least.is_some_and(|least| layer.level >= Some(least));
                let granted = |hearing: &Hearing| {
                    hearing.classes.iter().any(|pattern| covers(pattern, class))
                };
                by_level || layer.hearings.iter().any(granted)
            })
        }
    }
}

impl Default for Sight {
    /// Everything: what the daemon itself sees.
    fn default() -> Self {
        Self::everything()
    }
}

impl PartialEq for Sight {
    fn eq(&self, other: &Self) -> bool {
        self.layers == other.layers
    }
}

impl Eq for Sight {}

impl Hash for Sight {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.layers.hash(state);
    }
}

impl Layer {
    fn shows_call(&self, least: Option<Role>, call: &Call, (class, subject): (&str, &str)) -> bool {
        let may_ask =
            self.level >= Some(call.role) || self.hearings.iter().any(|it| it.calls(call));
        let by_level = least.is_some_and(|least| self.level >= Some(least)) && may_ask;
        by_level || self.hearings.iter().any(|hearing| hearing.covers(class, subject))
    }

    fn shows(&self, least: Option<Role>, class: &str, subject: &str) -> bool {
        let by_level = least.is_some_and(|least| self.level >= Some(least));
        by_level || self.hearings.iter().any(|hearing| hearing.covers(class, subject))
    }
}

impl Hearing {
    /// Whether an event of this class about this subject is granted.
    pub fn covers(&self, class: &str, subject: &str) -> bool {
        self.classes.iter().any(|pattern| covers(pattern, class))
            && covers_resource(&self.resources, subject)
    }

    fn calls(&self, call: &Call) -> bool {
        let action = call.action.as_deref();
        let is_about = match &call.resource {
            Some(resource) => covers_resource(&self.resources, resource),
            None => self.resources.is_empty(),
        };
        is_about && self.methods.iter().any(|pattern| covers_method(pattern, &call.method, action))
    }
}

/// The class of the daemon that tells how far a call is.
pub const PROGRESS_CLASS: &str = "call.progress";

/// What is said of a job in the `data` of every event about one.
#[derive(Deserialize)]
struct AboutJob {
    job: Job,
}

#[derive(Deserialize)]
struct Job {
    #[serde(flatten)]
    call: Call,
    #[serde(default)]
    process_id: Option<IgnoredAny>,
}

impl Job {
    fn into_call(mut self) -> Call {
        // What runs commands is asked for by this one action.
        if self.process_id.is_some() {
            self.call.action = Some("run".to_owned());
        }
        self.call
    }
}

/// What is said of a call in the `data` of every event about one.
#[derive(Deserialize)]
struct AboutCall {
    call: Call,
}

/// As much of a call, or of a job, as says who might have asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// `namespace/name` in lower case.
    pub method: String,
    /// Of methods with actions: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What it is about, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The least role that may ask for it.
    pub role: Role,
}

/// Whether the daemon tells of one job; plugins have classes of this family of their own.
fn is_about_a_job(event: &Event) -> bool {
    let class = event.class.as_str();
    event.source == "sysadmd" && class.starts_with("job.") && class != "job.forgotten"
}

/// Whether a method pattern (`namespace/name`, `namespace/name:action`, `namespace/*` or `*`) covers
/// a method and its action.
pub fn covers_method(pattern: &str, method: &str, action: Option<&str>) -> bool {
    if pattern == "*" {
        return true;
    }
    if let Some(namespace) = pattern.strip_suffix("/*") {
        return method.split_once('/').is_some_and(|(of, _)| of == namespace);
    }
    match pattern.split_once(':') {
        Some((named, wanted)) => named == method && action == Some(wanted),
        None => pattern == method,
    }
}

/// Whether the patterns (exact, or with a trailing `*`) cover the resource; no patterns cover every
/// one. What begins with `!` takes away: of the patterns that fit, the exact one decides, else the
/// longest, and of two that are as long the one that takes away. Where all take away, everything else
/// is covered. What climbs out of the place that a pattern names is within none.
pub fn covers_resource(patterns: &[String], resource: &str) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let fits = |pattern: &String| {
        let (takes, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern.as_str()),
        };
        let is_exact = pattern == resource;
        let start = pattern.strip_suffix('*').filter(|start| resource.starts_with(start));
        (is_exact || start.is_some()).then_some((is_exact, pattern.len(), takes))
    };
    !climbs(resource)
        && match patterns.iter().filter_map(fits).max() {
            Some((_, _, takes)) => !takes,
            None => patterns.iter().all(|pattern| pattern.starts_with('!')),
        }
}

/// Whether a resource's path leads upwards.
pub fn climbs(resource: &str) -> bool {
    resource.split('/').any(|part| matches!(part, "." | ".."))
}

/// What somebody wants to hear of what they may hear.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Interest {
    /// What they want.
    pub filter: Filter,
    /// What they may.
    pub sight: Sight,
}

impl Interest {
    /// Whether the event is to be delivered.
    pub fn matches(&self, event: &Event) -> bool {
        self.filter.matches(event) && self.sight.shows(event)
    }
}

impl From<Filter> for Interest {
    /// Wanted by somebody who may hear everything.
    fn from(filter: Filter) -> Self {
        Self { filter, sight: Sight::everything() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A viewer's call of `kit`.
    pub(crate) fn call(name: &str) -> Call {
        let method = format!("kit/{name}");
        Call { method, action: None, resource: None, role: Role::Viewer }
    }

    fn classes() -> Classes {
        let classes = Classes::with_families([("user".to_owned(), Role::Viewer)]);
        let declared = [("snapshot.created", Role::Viewer), ("access.login", Role::Admin)]
            .map(|(class, role)| (Class::parse(class).unwrap(), role));
        classes.declare(declared);
        classes
    }

    fn level(level: Option<Role>, hearings: Vec<Hearing>) -> Layer {
        Layer { level, hearings }
    }

    fn hearing(class: &str, resources: &[&str]) -> Hearing {
        let resources = resources.iter().map(|text| (*text).to_owned()).collect();
        Hearing { methods: Vec::new(), classes: vec![class.to_owned()], resources }
    }

    #[test]
    fn a_role_hears_what_is_declared_for_it_and_nothing_undeclared() {
        let viewer = Sight::new([level(Some(Role::Viewer), vec![])], classes());
        assert!(viewer.shows_class("snapshot.created", "/datasets/a"));
        assert!(viewer.shows_class("user.deploy.done", ""));
        assert!(!viewer.shows_class("access.login", ""));
        assert!(!viewer.shows_class("gone.plugin", ""));
        let admin = Sight::new([level(Some(Role::Admin), vec![])], classes());
        assert_eq!(admin, Sight::everything());
        assert!(admin.shows_class("gone.plugin", ""));
    }

    #[test]
    fn a_grant_is_bound_to_its_resources() {
        let grants = vec![hearing("snapshot.*", &["/datasets/tank", "/datasets/tank/*"])];
        let keeper = Sight::new([level(None, grants)], classes());
        assert!(keeper.shows_class("snapshot.created", "/datasets/tank/home"));
        assert!(!keeper.shows_class("snapshot.created", "/datasets/tanker"));
        assert!(!keeper.shows_class("snapshot.created", "/datasets/tank/../other"));
        assert!(!keeper.shows_class("user.x", ""));
    }

    #[test]
    fn the_nearest_rule_decides_as_consul_has_it() {
        let may = |patterns: &[&str], name: &str| {
            let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
            covers_resource(&patterns, &format!("/consul/{name}"))
        };
        // event "foo" write, event "football" deny, event_prefix "foot" read, event_prefix "fo" read.
        let rules = ["/consul/foo", "!/consul/football", "/consul/foot*", "/consul/fo*"];
        for name in ["fo", "for", "foo", "foot", "foot2", "food", "footballs"] {
            assert!(may(&rules, name), "{name}");
        }
        for name in ["football", "f", "bar", "foo/../bar"] {
            assert!(!may(&rules, name), "{name}");
        }
        // event_prefix "" read, event_prefix "pre-" deny, event "pre-x" read.
        let rules = ["/consul/*", "!/consul/pre-*", "/consul/pre-x"];
        assert!(may(&rules, "other") && may(&rules, "pre-x"));
        assert!(!may(&rules, "pre-1") && !may(&rules, "pre-xy"));
        // As long as each other: the one that takes away.
        assert!(!may(&["/consul/a*", "!/consul/a*"], "ab"));
        assert!(may(&["!/consul/a"], "b") && !may(&["!/consul/a"], "a"), "all but one");
    }

    #[test]
    fn of_a_call_those_hear_who_may_make_it() {
        let classes = Classes::default();
        classes.declare([(Class::parse(PROGRESS_CLASS).unwrap(), Role::Viewer)]);
        let hears = |layer: Layer, data: serde_json::Value| {
            let event = json!({
                "id": "018f0000-0000-8000-8000-000000000000", "time": "2026-01-01T00:00:00Z",
                "source": "kit", "class": PROGRESS_CLASS, "subject": "/calls/r", "priority": 0,
                "message": "", "data": data,
            });
            let event = serde_json::from_value(event).unwrap();
            Sight::new([layer], classes.clone()).shows(&event)
        };
        let of = |role: Role, resource: Option<&str>| {
            let resource = resource.map(str::to_owned);
            json!({ "call": Call { resource, role, ..call("b") }, "done": 1 })
        };
        let viewer = || level(Some(Role::Viewer), vec![]);
        assert!(hears(viewer(), of(Role::Viewer, None)));
        assert!(!hears(viewer(), of(Role::Operator, None)));
        assert!(!hears(viewer(), json!({ "done": 1 })), "what does not say what it is about");
        assert!(!hears(level(None, vec![]), of(Role::Viewer, None)));
        let bound = || {
            let methods = vec!["kit/b".to_owned()];
            let at_home = Hearing { methods, ..hearing("user.x", &["/tank/home"]) };
            level(Some(Role::Viewer), vec![at_home])
        };
        assert!(hears(bound(), of(Role::Admin, Some("/tank/home"))));
        assert!(!hears(bound(), of(Role::Admin, Some("/tank"))));
        assert!(hears(level(Some(Role::Admin), vec![]), json!({})));
    }

    #[test]
    fn every_layer_must_allow_it() {
        let role = level(Some(Role::Operator), vec![]);
        let scope = level(None, vec![hearing("snapshot.*", &[])]);
        let both = Sight::new([role, scope], classes());
        assert!(both.shows_class("snapshot.created", ""));
        assert!(!both.shows_class("user.x", ""));
        assert!(!both.shows_class("access.login", ""));
    }

    #[test]
    fn of_two_declarations_the_stricter_counts() {
        let classes = Classes::default();
        let class = || Class::parse("a.b").unwrap();
        classes.declare([(class(), Role::Operator), (class(), Role::Viewer)]);
        assert_eq!(classes.least("a.b"), Some(Role::Operator));
        classes.declare([]);
        assert_eq!(classes.least("a.b"), None);
    }
}
