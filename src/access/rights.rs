//! What somebody may do: pure judgement over roles, grants and the scope of a token.

use std::sync::Arc;

use protocol::Role;
use protocol::class::covers;

use crate::config::Grant;
use crate::sight::{Classes, Hearing, Layer, Sight, climbs, covers_method, covers_resource};

/// What somebody may do. Every layer (their roles, the scope of their token) must allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights(Arc<[Allowance]>);

/// One layer: everything up to a built-in role, and what is granted beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Everything this built-in role may.
    pub level: Option<Role>,
    /// What is granted beside it.
    pub grants: Vec<Grant>,
}

/// A call, as far as rights are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// `namespace/name` in lower case.
    pub method: &'a str,
    /// Of methods with actions: which.
    pub action: Option<&'a str>,
    /// The least built-in role it declares.
    pub least: Role,
    /// What it is about, if it says.
    pub resource: Option<&'a str>,
}

impl Rights {
    /// What all of these layers allow.
    pub fn new(layers: impl IntoIterator<Item = Allowance>) -> Self {
        Self(layers.into_iter().collect())
    }

    /// Nothing at all.
    pub fn none() -> Self {
        Self::new([Allowance::default()])
    }

    /// Everything a built-in role may.
    pub fn of_role(role: Role) -> Self {
        Self::new([Allowance { level: Some(role), grants: Vec::new() }])
    }

    /// What these and this layer allow: never more.
    #[must_use]
    pub fn narrowed(&self, layer: Allowance) -> Self {
        Self::new(self.0.iter().cloned().chain([layer]))
    }

    /// Whether there is nothing its holder may not do.
    pub fn is_full(&self) -> bool {
        self.0.iter().all(|layer| layer.level == Some(Role::Admin))
    }

    /// Whether the call may be made.
    pub fn may_call(&self, wish: &Wish<'_>) -> bool {
        self.0.iter().all(|layer| layer.may_call(wish))
    }

    /// Whether the method may be called at all, whatever it is about: for lists of methods. The
    /// wish's resource is the method's template here.
    pub fn may_ever_call(&self, wish: &Wish<'_>) -> bool {
        let covered = |grant: &Grant| {
            let may_be_about = wish.resource.is_some() || grant.resources.is_empty();
            may_be_about && grant_covers(grant, wish.method, wish.action)
        };
        let level = Some(wish.least);
        self.0.iter().all(|layer| layer.level >= level || layer.grants.iter().any(covered))
    }

    /// Whether an event of this class about this subject may be fired by this method: the grant of
    /// the method opens the classes beside it. That it is a class for clients is judged elsewhere.
    pub fn may_fire(&self, method: &str, class: &str, subject: &str) -> bool {
        let granted = |grant: &Grant| {
            grant_covers(grant, method, None)
                && grant.classes.iter().any(|pattern| covers(pattern, class))
                && covers_resource(&grant.resources, subject)
        };
        let level = Some(Role::Operator);
        self.0.iter().all(|layer| layer.level >= level || layer.grants.iter().any(granted))
    }

    /// Which events its holder may hear.
    pub fn sight(&self, classes: Classes) -> Sight {
        Sight::new(self.0.iter().map(Allowance::sight), classes)
    }

    /// The built-in role that a call of this least role counts as: what a plugin is told.
    pub fn role_for(&self, least: Role) -> Role {
        let level = self.0.iter().map(|layer| layer.level).min().flatten();
        level.map_or(least, |level| level.max(least))
    }
}

impl Allowance {
    /// What any of several roles allows.
    pub fn union(allowances: impl IntoIterator<Item = Self>) -> Self {
        allowances.into_iter().fold(Self::default(), |mut all, one| {
            all.level = all.level.max(one.level);
            all.grants.extend(one.grants);
            all
        })
    }

    fn may_call(&self, wish: &Wish<'_>) -> bool {
        let granted = |grant: &Grant| {
            let is_about = match wish.resource {
                Some(resource) => covers_resource(&grant.resources, resource),
                None => grant.resources.is_empty(),
            };
            is_about && grant_covers(grant, wish.method, wish.action)
        };
        self.level >= Some(wish.least) || self.grants.iter().any(granted)
    }

    fn sight(&self) -> Layer {
        let hearing = |grant: &Grant| Hearing {
            methods: grant.methods.clone(),
            classes: grant.classes.clone(),
            resources: grant.resources.clone(),
        };
        Layer { level: self.level, hearings: self.grants.iter().map(hearing).collect() }
    }
}

fn grant_covers(grant: &Grant, method: &str, action: Option<&str>) -> bool {
    grant.methods.iter().any(|pattern| covers_method(pattern, method, action))
}

/// What a call is about: the declared template with its `{names}` replaced by arguments; of several,
/// with a `|` between them, the first whose arguments are all there. `None` when there is no template
/// or an argument it needs is missing.
pub fn resource_of(template: Option<&str>, args: &serde_json::Value) -> Option<String> {
    let resource = template?.split('|').find_map(|one| filled(one, args))?;
    // What climbs out of the place that a pattern names is within no right bound to it.
    (!climbs(&resource)).then_some(resource)
}

fn filled(template: &str, args: &serde_json::Value) -> Option<String> {
    let (mut rest, mut resource) = (template, String::new());
    while let Some((before, name, after)) = next_name(rest) {
        resource.push_str(before);
        resource.push_str(args.get(name)?.as_str()?);
        rest = after;
    }
    resource.push_str(rest);
    Some(resource)
}

fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn grant(methods: &[&str], classes: &[&str], resources: &[&str]) -> Grant {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Grant { methods: own(methods), classes: own(classes), resources: own(resources) }
    }

    fn wish<'a>(method: &'a str, action: Option<&'a str>, resource: Option<&'a str>) -> Wish<'a> {
        Wish { method, action, least: Role::Operator, resource }
    }

    #[test]
    fn a_restart_only_role_restarts_and_nothing_else() {
        let grants = vec![grant(&["rpc/plugins:restart"], &[], &["/plugins/snapshot"])];
        let rights = Rights::new([Allowance { level: None, grants }]);
        let may = |method, action, about| rights.may_call(&wish(method, Some(action), about));
        assert!(may("rpc/plugins", "restart", Some("/plugins/snapshot")));
        assert!(!may("rpc/plugins", "stop", Some("/plugins/snapshot")));
        assert!(!may("rpc/plugins", "restart", Some("/plugins/other")));
        assert!(!may("rpc/plugins", "restart", None), "bound rights need a resource");
        assert!(!rights.is_full());
        let ever = |method, action, about| rights.may_ever_call(&wish(method, action, about));
        assert!(ever("rpc/plugins", Some("restart"), Some("/plugins/{id}")));
        assert!(!ever("rpc/plugins", Some("restart"), None), "bound rights need a resource");
        assert!(!ever("rpc/tokens", Some("list"), None));
    }

    #[test]
    fn a_scope_takes_away_and_never_gives() {
        let scope = Allowance { level: None, grants: vec![grant(&["*"], &["*"], &[])] };
        let viewer = Allowance { level: Some(Role::Viewer), grants: Vec::new() };
        let rights = Rights::new([viewer, scope]);
        assert!(!rights.may_call(&wish("snapshot/create", None, None)));
        assert!(!rights.is_full());
        assert_eq!(rights.role_for(Role::Viewer), Role::Viewer);
    }

    #[test]
    fn firing_needs_the_method_and_the_class() {
        let may = |grants, class| {
            Rights::new([Allowance { level: Some(Role::Viewer), grants }]).may_fire(
                "events/fire",
                class,
                "/a",
            )
        };
        assert!(may(vec![grant(&["events/fire"], &["user.deploy.*"], &[])], "user.deploy.done"));
        assert!(!may(vec![grant(&["events/fire"], &["user.deploy.*"], &[])], "user.other"));
        assert!(!may(vec![grant(&["events/list"], &["user.*"], &[])], "user.other"));
        assert!(!may(vec![grant(&["events/fire"], &["user.*"], &["/b"])], "user.other"));
        assert!(Rights::of_role(Role::Operator).may_fire("events/fire", "user.x", ""));
        assert!(!Rights::of_role(Role::Viewer).may_fire("events/fire", "user.x", ""));
    }

    #[test]
    fn a_resource_is_made_of_arguments() {
        let args = json!({"dataset": "tank/home", "n": 1});
        let of = |template| resource_of(template, &args);
        assert_eq!(of(Some("/datasets/{dataset}")).as_deref(), Some("/datasets/tank/home"));
        assert_eq!(of(Some("/plain")).as_deref(), Some("/plain"));
        assert_eq!(of(Some("/datasets/{missing}")), None);
        assert_eq!(of(Some("/datasets/{n}")), None);
        assert_eq!(of(None), None);
        let climbing = json!({"dataset": "tank/../other"});
        assert_eq!(resource_of(Some("/datasets/{dataset}"), &climbing), None);
        let either = Some("/pools/{pool}|/datasets/{dataset}");
        assert_eq!(resource_of(either, &args).as_deref(), Some("/datasets/tank/home"));
        let both = json!({"dataset": "a", "pool": "b"});
        assert_eq!(resource_of(either, &both).as_deref(), Some("/pools/b"));
        let climbing = json!({"dataset": "a", "pool": "../b"});
        assert_eq!(resource_of(either, &climbing), None, "the other does not make it good");
    }

    proptest! {
        #[test]
        fn another_layer_never_adds_a_right(
            methods in proptest::collection::vec("(\\*|a/\\*|a/b|a/b:c|b/c)", 0..3),
            level in proptest::option::of(0usize..3),
            method in "(a/b|b/c|a/c)", action in proptest::option::of("(c|d)"),
        ) {
            let level = level.map(|at| [Role::Viewer, Role::Operator, Role::Admin][at]);
            let grants = vec![Grant { methods, ..Grant::default() }];
            let layer = Allowance { level, grants };
            let wish = wish(&method, action.as_deref(), None);
            let alone = Rights::of_role(Role::Viewer).may_call(&wish);
            let both = Rights::new([
                Allowance { level: Some(Role::Viewer), grants: vec![] }, layer,
            ]);
            prop_assert!(alone || !both.may_call(&wish));
        }
    }
}
