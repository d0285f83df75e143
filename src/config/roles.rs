//! `[roles]`: roles that the administrator defines beside `viewer`, `operator` and `admin`.

use std::collections::BTreeMap;

use protocol::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// `[roles.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleRules {
    /// Everything this built-in role may; without it only what is granted.
    pub level: Option<Role>,
    /// What is granted beside it.
    pub grants: Vec<Grant>,
}

/// `[[roles.NAME.grants]]`: some calls and some event classes, perhaps only of some resources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// Methods: `namespace/name`, `namespace/name:action`, `namespace/*` or `*`.
    pub methods: Vec<String>,
    /// Event classes to hear: a class, `family.*` or `*`. With `events/fire` or
    /// `consul/fire` among the methods, also those that may be fired by it.
    pub classes: Vec<String>,
    /// Resources, such as `/datasets/tank` or `/datasets/tank/*`, that calls may be about and events
    /// may be about; none: whatever they are about. One that begins with `!` takes away: the exact
    /// one decides, else the longest.
    pub resources: Vec<String>,
}

/// Refuses names and patterns that could never mean anything.
pub(super) fn check(roles: &BTreeMap<String, RoleRules>) -> Result<(), ConfigError> {
    for (name, rules) in roles {
        let refuse = |what: String| Err(ConfigError(format!("roles.{name}: {what}")));
        if Role::parse(name).is_some() {
            return refuse("this role is built in; choose another name".to_owned());
        }
        if !is_role_name(name) {
            return refuse("a role's name must match [a-z][a-z0-9-]{0,31}".to_owned());
        }
        for grant in &rules.grants {
            if let Some(what) = objection(grant) {
                return refuse(what);
            }
        }
    }
    Ok(())
}

/// What is wrong with a grant, for people.
pub fn objection(grant: &Grant) -> Option<String> {
    let method = grant.methods.iter().find(|pattern| !is_method_pattern(pattern));
    if let Some(bad) = method {
        return Some(format!(
            "{bad:?} is no method pattern: expected namespace/name, namespace/name:action, \
             namespace/* or *"
        ));
    }
    let class = grant.classes.iter().find(|pattern| !is_class_pattern(pattern));
    if let Some(bad) = class {
        return Some(format!("{bad:?} is no class pattern: expected a class, family.* or *"));
    }
    let resource = grant.resources.iter().find(|pattern| !is_resource_pattern(pattern));
    resource.map(|bad| {
        format!("{bad:?} is no resource pattern: expected /kind/name, with * only at the end and ! only before it")
    })
}

fn is_role_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn is_word(word: &str) -> bool {
    let is_letter = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    !word.is_empty() && word.len() <= 64 && word.bytes().all(is_letter)
}

fn is_method_pattern(pattern: &str) -> bool {
    let Some((namespace, rest)) = pattern.split_once('/') else { return pattern == "*" };
    let (name, action) = match rest.split_once(':') {
        Some((name, action)) => (name, Some(action)),
        None => (rest, None),
    };
    is_word(namespace)
        && (is_word(name) || name == "*" && action.is_none())
        && action.is_none_or(is_word)
}

fn is_class_pattern(pattern: &str) -> bool {
    pattern == "*" || protocol::Class::parse(pattern.strip_suffix(".*").unwrap_or(pattern)).is_ok()
}

fn is_resource_pattern(pattern: &str) -> bool {
    let named = pattern.strip_prefix('!').unwrap_or(pattern);
    let fixed = named.strip_suffix('*').unwrap_or(named);
    fixed.starts_with('/') && !fixed.contains('*') && pattern.len() <= 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        let grant = |methods: &str, classes: &str, resources: &str| {
            let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
            let (methods, classes) = (list(methods), list(classes));
            Grant { methods, classes, resources: list(resources) }
        };
        let good =
            grant("* rpc/* rpc/plugins rpc/plugins:restart", "* a.* a.b", "/a /a/* / !/a !/a/*");
        assert_eq!(objection(&good), None);
        for bad in ["rpc", "rpc/", "/x", "rpc/*:list", "RPC/x", "rpc/x:", "a/b/c", "rpc/p*"] {
            assert!(objection(&grant(bad, "", "")).is_some(), "{bad}");
        }
        for bad in ["A", "a.*.b", ".*", "a*"] {
            assert!(objection(&grant("", bad, "")).is_some(), "{bad}");
        }
        for bad in ["x", "/a*b", "*", "!", "!x", "!!/a", "/!a*b"] {
            assert!(objection(&grant("", "", bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_role_may_not_hide_a_built_in_one() {
        for (name, fits) in [("tank-keeper", true), ("admin", false), ("Tank", false), ("", false)]
        {
            let roles = BTreeMap::from([(name.to_owned(), RoleRules::default())]);
            assert_eq!(check(&roles).is_ok(), fits, "{name}");
        }
    }
}
