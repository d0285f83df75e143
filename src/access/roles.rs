//! Roles by name: the built-in ones and the administrator's.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::Role;

use super::rights::{Allowance, Rights};
use crate::config::RoleRules;

/// All roles. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Roles(Arc<BTreeMap<String, Allowance>>);

impl Roles {
    /// The built-in roles and these.
    pub fn new(defined: &BTreeMap<String, RoleRules>) -> Self {
        let built_in = [Role::Viewer, Role::Operator, Role::Admin].map(|role| {
            let allowance = Allowance { level: Some(role), grants: Vec::new() };
            (role.as_str().to_owned(), allowance)
        });
        let defined = defined.iter().map(|(name, rules)| {
            let RoleRules { level, grants } = rules.clone();
            (name.clone(), Allowance { level, grants })
        });
        Self(Arc::new(built_in.into_iter().chain(defined).collect()))
    }

    /// What one role allows; `None` when there is none of that name.
    pub fn get(&self, name: &str) -> Option<&Allowance> {
        self.0.get(name)
    }

    /// What any of these roles allows; `None` when there is none of them.
    pub fn rights_of(&self, names: &[&str]) -> Option<Rights> {
        let found: Vec<Allowance> =
            names.iter().filter_map(|name| self.get(name).cloned()).collect();
        (!found.is_empty()).then(|| Rights::new([Allowance::union(found)]))
    }

    /// Every role, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Allowance)> {
        self.0.iter().map(|(name, allowance)| (name.as_str(), allowance))
    }
}
