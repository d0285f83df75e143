//! Who still uses what is on its way out, and `rpc/deprecations`.
//!
//! Counted in memory since the daemon has started: at most [`ROWS_MAX`] rows of a few hundred bytes,
//! of which the one that was not used for the longest makes room.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::{Class, Deprecated, Draft, Fault, Filter, Json, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::client::short;
use super::shape::said;
use super::{By, Dispatch};
use crate::bucket::Bucket;
use crate::bus::own_class;

/// The most rows: enough for every method of a large host and a dozen clients.
const ROWS_MAX: usize = 1024;
/// First uses that become events: a second on average, and at once. More are counted in silence, so
/// that a client with a thousand names does not fill the log.
const EVENTS: (u32, u32) = (1, 64);
/// The class of a first use.
const CLASS: &str = "daemon.deprecated";

/// What is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A method, or one of its versions or actions.
    Method,
    /// A member of a method's arguments.
    Member,
    /// An event class, by a subscription that names it.
    Class,
}

/// Who uses what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    what: String,
    principal: String,
    client: String,
    version: String,
    face: &'static str,
}

#[derive(Debug, Clone)]
struct Row {
    deprecated: Option<Deprecated>,
    count: u64,
    first: Time,
    last: Time,
}

/// The counts.
#[derive(Debug)]
pub(super) struct Deprecations {
    since: Time,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    rows: HashMap<Key, Row>,
    forgotten: u64,
    events: Bucket,
}

/// Something that is on its way out.
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub(super) kind: Kind,
    /// Such as `kit/echo`, `kit/echo args.filter.text` or `snapshot.created`.
    pub(super) what: String,
    /// Absent for members, which are marked in a schema.
    pub(super) deprecated: Option<Deprecated>,
}

/// Arguments of `rpc/deprecations`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Asked {
    /// Only clients of this name.
    client: Option<String>,
}

/// Answer to `rpc/deprecations`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Report {
    /// When counting began: with the daemon.
    since: Time,
    /// Who uses what, the latest first.
    uses: Vec<Line>,
    /// How many rows made room for others.
    forgotten: u64,
}

/// A client's use of one thing.
#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    /// What kind of thing it is.
    kind: Kind,
    /// The method, the member of its arguments, or the class.
    what: String,
    /// In whose name it was used.
    principal: String,
    /// The client, as it calls itself in `rpc/hello` or as `User-Agent`; empty: it has said none.
    client: String,
    /// The client's version, as it says.
    version: String,
    /// On which face.
    face: &'static str,
    /// How often it was used.
    count: u64,
    /// When first.
    first: Time,
    /// When last.
    last: Time,
    /// Since when it should not be used, what to use in its place, and from when on it may be gone;
    /// absent for members of arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecated: Option<Deprecated>,
}

impl Deprecations {
    pub(super) fn new(now: Time) -> Self {
        let events = Bucket::new(EVENTS.0, EVENTS.1, Instant::now());
        let table = Table { rows: HashMap::new(), forgotten: 0, events };
        Self { since: now, table: Mutex::new(table) }
    }

    /// Counts one use; whether it is this client's first and is to be told.
    fn count(&self, by: By<'_>, used: &Use, now: Time) -> bool {
        let key = Key {
            kind: used.kind,
            what: used.what.clone(),
            principal: short(by.principal.map_or("anonymous", |who| &who.name)),
            client: by.client.name.clone(),
            version: by.client.version.clone(),
            face: by.origin.face,
        };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = table.rows.get_mut(&key) {
            row.count = row.count.saturating_add(1);
            row.last = now;
            return false;
        }
        if table.rows.len() >= ROWS_MAX {
            let oldest = table.rows.iter().min_by_key(|(_, row)| row.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                table.rows.remove(&oldest);
                table.forgotten += 1;
            }
        }
        let deprecated = used.deprecated.clone();
        table.rows.insert(key, Row { deprecated, count: 1, first: now, last: now });
        table.events.take(Instant::now()).is_ok()
    }

    fn report(&self, client: Option<&str>) -> Report {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |key: &Key| client.is_none_or(|client| key.client == client);
        let mut uses: Vec<Line> = table
            .rows
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, row)| {
                let Key { kind, what, principal, client, version, face } = key.clone();
                let Row { deprecated, count, first, last } = row.clone();
                Line {
                    kind,
                    what,
                    principal,
                    client,
                    version,
                    face,
                    count,
                    first,
                    last,
                    deprecated,
                }
            })
            .collect();
        uses.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.what.cmp(&b.what)));
        Report { since: self.since, uses, forgotten: table.forgotten }
    }
}

impl Dispatch {
    /// Counts uses, and tells of each that is a client's first.
    pub(super) async fn note(&self, by: By<'_>, uses: Vec<Use>) {
        for used in uses {
            if self.0.deprecations.count(by, &used, self.0.clock.now()) {
                self.tell(by, &used).await;
            }
        }
    }

    /// Counts the classes on their way out that a subscription names.
    pub(super) async fn note_classes(&self, by: By<'_>, filter: &Filter) {
        let named: Vec<&String> = filter.classes.iter().filter(|pattern| *pattern != "*").collect();
        if named.is_empty() {
            return;
        }
        let covered = |class: &Class| {
            named.iter().any(|pattern| protocol::class::covers(pattern, class.as_str()))
        };
        let ending = self.0.host.ending_classes().into_iter();
        let uses = ending.filter(|(class, _)| covered(class)).map(|(class, deprecated)| Use {
            kind: Kind::Class,
            what: class.into(),
            deprecated: Some(deprecated),
        });
        self.note(by, uses.collect()).await;
    }

    /// The answer to `rpc/deprecations`.
    pub(super) fn deprecations(&self, asked: &Asked) -> Result<Json, Fault> {
        said(&self.0.deprecations.report(asked.client.as_deref()))
    }

    async fn tell(&self, by: By<'_>, used: &Use) {
        let Some(declared) = own_class(CLASS).map(|own| &own.declared) else { return };
        let who = by.principal.map_or("anonymous", |who| &who.name);
        let (client, version) = (&by.client.name, &by.client.version);
        let named =
            if client.is_empty() { String::new() } else { format!(" ({client} {version})") };
        let mut draft = Draft::new(declared.class.clone());
        draft.priority = Some(declared.priority_default);
        draft.message = format!("{who}{named} uses {}, which is on its way out", used.what);
        draft.data = Json::from(json!({
            "kind": used.kind,
            "what": used.what,
            "principal": who,
            "client": client,
            "version": version,
            "face": by.origin.face,
            "deprecated": used.deprecated,
        }));
        let told = self.0.bus.publish("sysadmd", draft, declared.retain).await;
        if let Err(fault) = told {
            tracing::warn!(%fault, what = used.what, "the use of what is on its way out was not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Origin, Peer};
    use crate::dispatch::Client;

    fn used(what: &str) -> Use {
        Use { kind: Kind::Method, what: what.to_owned(), deprecated: None }
    }

    fn by(client: &Client) -> By<'_> {
        let origin = Origin { peer: Peer::Local(0), face: "rest" };
        By { origin, principal: None, client }
    }

    #[test]
    fn each_client_is_counted_on_its_own() {
        let counts = Deprecations::new(Time::from_micros(5));
        let (one, two) = (Client::named("one"), Client::named("two"));
        assert!(counts.count(by(&one), &used("a/b"), Time::from_micros(10)));
        assert!(!counts.count(by(&one), &used("a/b"), Time::from_micros(30)));
        assert!(counts.count(by(&two), &used("a/b"), Time::from_micros(20)));
        let report = counts.report(None);
        let seen: Vec<(&str, u64)> =
            report.uses.iter().map(|line| (line.client.as_str(), line.count)).collect();
        assert_eq!(seen, [("one", 2), ("two", 1)]);
        assert_eq!(report.uses[0].first, Time::from_micros(10));
        assert_eq!(counts.report(Some("two")).uses.len(), 1);
    }

    #[test]
    fn what_was_not_used_for_the_longest_makes_room_and_few_are_told() {
        let counts = Deprecations::new(Time::default());
        let mut told = 0;
        for number in 0..=ROWS_MAX {
            let client = Client::named(&number.to_string());
            let now = Time::from_micros(u64::try_from(number).unwrap());
            told += usize::from(counts.count(by(&client), &used("a/b"), now));
        }
        let report = counts.report(None);
        assert_eq!((report.uses.len(), report.forgotten), (ROWS_MAX, 1));
        assert!(report.uses.iter().all(|line| line.client != "0"));
        assert!((64..100).contains(&told), "{told} events");
    }
}
