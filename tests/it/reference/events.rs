//! `events.md`: what can happen.

use std::fmt::Write as _;

use protocol::manifest::ClassDeclaration;
use serde_json::Value;
use sysadmd::bus::{OwnClass, own_classes};

use super::{built_in, code, head, kept, row, schema};

const HEAD: &str = "\
# Event classes

Every event has `seq`, `event_id`, `time`, `source`, `class`, `subject`, `priority`, `message` and `data`; [the SysAdm protocol](../protocols/sysadm.md) says how they look on the wire.
It is heard from the role that its class declares on, live and in history.
What a class says of its priority is the default and, when it can be more urgent, the most urgent it may be: 0–2 Information, 3–5 Warning, 6–8 Critical, 9–10 Urgent.
From 6 on an event is never dropped for a slow client.
In the shapes below, `?` marks a member of `data` that may be absent.

";

/// A class and who publishes it.
struct Class {
    name: String,
    source: String,
    declared: ClassDeclaration,
}

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    page += &head(&["Class", "`source`", "Heard from", "Priority", "Kept", ""]);
    let classes: Vec<Class> = classes();
    for Class { name, source, declared } in &classes {
        let ClassDeclaration { priority_default, priority_max, .. } = declared;
        let mut priority = priority_default.number().to_string();
        if priority_max > priority_default {
            write!(priority, ", up to {}", priority_max.number()).unwrap();
        }
        let kept = kept(declared.retain);
        let role = declared.role.as_str();
        page += &row(&[&code(name), source, role, &priority, kept, &declared.summary]);
    }
    for Class { name, declared, .. } in &classes {
        writeln!(page, "\n## `{name}`\n\n{}.", declared.summary).unwrap();
        if declared.schema == Value::Null {
            page += "Its `data` is whatever the publisher says.\n";
        } else {
            page += "Its `data`:\n\n";
            page += &schema::block(&declared.schema);
        }
    }
    page
}

fn classes() -> Vec<Class> {
    let mut classes: Vec<Class> = own_classes().iter().map(own).collect();
    for plugin in built_in() {
        let of_plugin = plugin.events.into_iter().map(|declared| Class {
            name: declared.class.to_string(),
            source: code(&plugin.id),
            declared,
        });
        classes.extend(of_plugin);
    }
    classes
}

fn own(own: &OwnClass) -> Class {
    let OwnClass { source, family, declared } = own.clone();
    let below = if family { ".*" } else { "" };
    let source = if source.is_empty() { "the plugin's id".to_owned() } else { code(&source) };
    Class { name: format!("{}{below}", declared.class), source, declared }
}
