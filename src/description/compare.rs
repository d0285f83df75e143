//! Which differences between two descriptions break a client that was written for the older one.
//!
//! What a client sends must go on being accepted and mean the same; what it is told must go on being
//! what it understands. Clients ignore members that they do not know, so new ones break nobody.
//! Where it cannot be told whether something breaks, it does.

use std::fmt;

use protocol::manifest::Retain;

use super::{ClassDescription, Description, FaultDescription, MethodDescription};

mod shapes;

use shapes::{Side, differences};

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about, for example `snapshot/list` or `snapshot/list args.limit`.
    pub place: String,
    /// What has changed, for people.
    pub what: String,
    /// Whether it breaks a client that was written for the older one.
    pub breaking: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Every difference.
pub fn compare(old: &Description, new: &Description) -> Vec<Change> {
    let mut changes = Changes::default();
    methods(old, new, &mut changes);
    classes(old, new, &mut changes);
    faults(old, new, &mut changes);
    changes.0
}

/// What must not be released: what breaks clients, unless a new number of the protocol says so.
pub fn refused(old: &Description, new: &Description) -> Vec<Change> {
    if new.protocol > old.protocol {
        return Vec::new();
    }
    compare(old, new).into_iter().filter(|change| change.breaking).collect()
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, breaking: bool, place: &str, what: impl Into<String>) {
        self.0.push(Change { place: place.to_owned(), what: what.into(), breaking });
    }

    fn add_if(&mut self, is_so: bool, breaking: bool, place: &str, what: impl Into<String>) {
        if is_so {
            self.add(breaking, place, what);
        }
    }
}

fn methods(old: &Description, new: &Description, changes: &mut Changes) {
    let key = |entry: &MethodDescription| (entry.called(), entry.action.clone());
    let name = |entry: &MethodDescription| match &entry.action {
        Some(action) => format!("{} {action}", entry.called()),
        None => entry.called(),
    };
    for before in &old.methods {
        match new.methods.iter().find(|entry| key(entry) == key(before)) {
            Some(now) => method(&name(before), before, now, changes),
            None => changes.add(true, &name(before), "was removed"),
        }
    }
    let is_new = |entry: &&MethodDescription| old.methods.iter().all(|it| key(it) != key(entry));
    for entry in new.methods.iter().filter(is_new) {
        changes.add(false, &name(entry), "is new");
    }
}

fn method(name: &str, old: &MethodDescription, new: &MethodDescription, changes: &mut Changes) {
    let kinds = format!("was {:?} and is {:?}", old.kind, new.kind);
    changes.add_if(old.kind != new.kind, true, name, kinds);
    changes.add_if(
        old.resource != new.resource,
        true,
        name,
        "is about another resource, so rights that are bound to one judge it differently",
    );
    changes.add_if(new.of_connection && !old.of_connection, true, name, "needs a websocket");
    needs(name, &old.needs, &new.needs, changes);
    for what in differences(Side::Asked, &old.params, &new.params) {
        changes.add(true, &format!("{name} {}", what.place), what.reason);
    }
    for what in differences(Side::Told, &old.result, &new.result) {
        changes.add(true, &format!("{name} {}", what.place), what.reason);
    }
    let now_ends = old.deprecated.is_none() && new.deprecated.is_some();
    changes.add_if(now_ends, false, name, "is deprecated");
}

fn needs(name: &str, old: &str, new: &str, changes: &mut Changes) {
    const ORDER: [&str; 5] = ["anybody", "any", "viewer", "operator", "admin"];
    let place = |word: &str| ORDER.iter().position(|known| *known == word);
    let lowered = place(new).zip(place(old)).is_some_and(|(new, old)| new < old);
    changes.add_if(old != new, !lowered, name, format!("needed {old} and needs {new}"));
}

fn classes(old: &Description, new: &Description, changes: &mut Changes) {
    for before in &old.classes {
        match new.classes.iter().find(|class| class.class == before.class) {
            Some(now) => class(before, now, changes),
            None => changes.add(true, &before.class, "was removed"),
        }
    }
    let is_new = |class: &&ClassDescription| old.classes.iter().all(|it| it.class != class.class);
    for class in new.classes.iter().filter(is_new) {
        changes.add(false, &class.class, "is new");
    }
}

fn class(old: &ClassDescription, new: &ClassDescription, changes: &mut Changes) {
    let name = old.class.as_str();
    needs(name, &old.role, &new.role, changes);
    let sources = format!("came from {:?} and comes from {:?}", old.source, new.source);
    changes.add_if(old.source != new.source, true, name, sources);
    let shrunk = old.family && !new.family;
    changes.add_if(shrunk, true, name, "does not stand for what is below it any more");
    let worth = |retain| match retain {
        Retain::Log => 2,
        Retain::Latest => 1,
        Retain::None => 0,
    };
    let less = worth(new.retain) < worth(old.retain);
    changes.add_if(less, true, name, "is kept less long");
    for what in differences(Side::Told, &old.schema, &new.schema) {
        changes.add(true, &format!("{name} {}", what.place), what.reason);
    }
    let now_ends = old.deprecated.is_none() && new.deprecated.is_some();
    changes.add_if(now_ends, false, name, "is deprecated");
}

fn faults(old: &Description, new: &Description, changes: &mut Changes) {
    for before in &old.faults {
        let FaultDescription { kind, status, code, .. } = before;
        match new.faults.iter().find(|fault| fault.kind == *kind) {
            None => changes.add(true, kind, "is no fault any more"),
            Some(now) => {
                let differs = now.status != *status || now.code != *code;
                changes.add_if(differs, true, kind, "has another number");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::manifest::Kind;
    use serde_json::json;

    use super::*;
    use crate::description::tests::small;

    type Edit = fn(&mut Description);

    fn after(edit: Edit) -> (Description, Description) {
        let old = small();
        let mut new = old.clone();
        edit(&mut new);
        (old, new)
    }

    #[test]
    fn each_way_to_break_a_client_is_caught() {
        let edits: [(&str, Edit); 17] = [
            ("a method removed", |it| drop(it.methods.remove(0))),
            ("one of its versions removed", |it| drop(it.methods.remove(1))),
            ("an action removed", |it| drop(it.methods.pop())),
            ("another kind", |it| it.methods[0].kind = Kind::Mutate),
            ("another role", |it| it.methods[0].needs = "operator".to_owned()),
            ("a login needed", |it| it.methods[0].needs = "of its own".to_owned()),
            ("another resource", |it| it.methods[0].resource = Some("/things/{n}".to_owned())),
            ("a websocket needed", |it| it.methods[0].of_connection = true),
            ("an argument narrowed", |it| {
                it.methods[0].params["properties"]["n"] = json!({"type": "integer", "minimum": 1});
            }),
            ("a result widened", |it| it.methods[0].result = json!({"type": ["object", "null"]})),
            ("a class removed", |it| drop(it.classes.remove(0))),
            ("a class for fewer", |it| it.classes[0].role = "admin".to_owned()),
            ("a class from another", |it| it.classes[0].source = None),
            ("a class kept less", |it| it.classes[0].retain = Retain::Latest),
            ("a family no more", |it| it.classes[1].family = false),
            ("data of another type", |it| it.classes[0].schema = json!({"type": "array"})),
            ("a fault's number", |it| it.faults[0].code = -32_005),
        ];
        for (what, edit) in edits {
            let (old, mut new) = after(edit);
            let found = refused(&old, &new);
            assert_eq!(found.len(), 1, "{what}: {found:?}");
            new.protocol += 1;
            assert!(refused(&old, &new).is_empty(), "{what}, declared");
        }
        let (old, new) = after(|it| it.faults.clear());
        assert_eq!(refused(&old, &new).len(), 1);
    }

    #[test]
    fn what_no_client_notices_passes() {
        let edits: [(&str, Edit); 9] = [
            ("a new method", |it| {
                let mut more = it.methods[0].clone();
                more.method = "kit/more".to_owned();
                it.methods.push(more);
            }),
            ("a new version", |it| {
                let mut more = it.methods[1].clone();
                more.since = 3;
                more.params = json!({"type": "string"});
                it.methods.push(more);
            }),
            ("open to more", |it| it.methods[0].needs = "any".to_owned()),
            ("deprecated", |it| it.methods[1].deprecated = it.methods[0].deprecated.clone()),
            ("an argument more", |it| {
                it.methods[0].params["properties"]["more"] = json!({"type": "string"});
            }),
            ("an answer's member more", |it| {
                it.methods[0].result =
                    json!({"type": "object", "properties": {"more": {"type": "string"}}});
            }),
            ("a class more", |it| {
                let mut more = it.classes[0].clone();
                more.class = "kit.more".to_owned();
                it.classes.push(more);
            }),
            ("kept longer, urgent in another way", |it| {
                it.classes[0].priority_max = protocol::Priority::MAX;
                it.classes[1].schema = json!({"type": "object"});
            }),
            ("words", |it| it.methods[0].summary = "Does it better".to_owned()),
        ];
        for (what, edit) in edits {
            let (old, new) = after(edit);
            assert_eq!(refused(&old, &new), [], "{what}");
        }
        assert_eq!(compare(&small(), &small()), []);
    }
}
