//! The event classes that belong to the daemon, declared as a plugin declares its own.

use std::sync::LazyLock;

use protocol::manifest::ClassDeclaration;
use serde::Deserialize;

use crate::sight::Classes;

static CLASSES: LazyLock<Vec<OwnClass>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("own.json")).unwrap_or_else(|error| {
        tracing::error!(%error, "the daemon's own event classes are declared wrong");
        Vec::new()
    })
});

/// A class that needs no plugin's manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnClass {
    /// The source of its events; empty: the plugin whose doing it is.
    #[serde(default)]
    pub source: String,
    /// Whether it stands for every class below it as well.
    #[serde(default)]
    pub family: bool,
    /// What it means, how urgent it is and how long it is kept.
    pub declared: ClassDeclaration,
}

/// All of them; what stands for a part of a family comes before the family.
pub fn own_classes() -> &'static [OwnClass] {
    &CLASSES
}

/// Who may hear them; a family's role stands for every class below it.
pub(crate) fn audible() -> Classes {
    let declared = own_classes().iter().map(|own| &own.declared);
    Classes::with_families(declared.map(|class| (class.class.as_str().to_owned(), class.role)))
}

/// The declaration that holds for this class, if it is one of the daemon's.
pub fn own_class(class: &str) -> Option<&'static OwnClass> {
    let below = |own: &OwnClass, rest: &str| rest.is_empty() || own.family && rest.starts_with('.');
    CLASSES.iter().find(|own| {
        class.strip_prefix(own.declared.class.as_str()).is_some_and(|rest| below(own, rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_declared_once_and_right() {
        let raw: Vec<serde_json::Value> = serde_json::from_str(include_str!("own.json")).unwrap();
        assert_eq!(own_classes().len(), raw.len());
        for own in own_classes() {
            let class = own.declared.class.as_str();
            assert_eq!(own_class(class), Some(own), "{class}");
            assert!(own.declared.priority_default <= own.declared.priority_max, "{class}");
            assert!(!own.declared.summary.is_empty(), "{class}");
        }
    }

    #[test]
    fn a_family_covers_what_is_below_it_and_its_parts_come_first() {
        let found = |class| own_class(class).map(|own| own.declared.class.as_str());
        assert_eq!(found("user.deploy.done"), Some("user"));
        assert_eq!(found("user.volatile.x"), Some("user.volatile"));
        assert_eq!(found("user.volatiles"), Some("user"));
        assert_eq!(found("users.x"), None);
        assert_eq!(found("plugin.state"), Some("plugin.state"));
        assert_eq!(found("plugin.state.x"), None);
    }
}
