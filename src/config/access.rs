//! `[access]`: who may log in, how, and from which pages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::Role;
use serde::Deserialize;

use super::{ConfigError, RoleRules};

/// `[access]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Whether users of this machine may log in with their password.
    pub password_login: bool,
    /// The file in `/etc/pam.d` by which passwords are checked.
    pub pam_service: String,
    /// The program that checks them; `sysadmd-pam` beside `sysadmd` when absent.
    pub pam_helper: Option<PathBuf>,
    /// For each role the groups of this machine whose members have it.
    pub groups: BTreeMap<String, Vec<String>>,
    /// For each name (CN) of a TLS client certificate the role of its holder.
    pub certificates: BTreeMap<String, String>,
    /// Origins of pages, besides our own, that may connect: `https://console.example`.
    pub origins: Vec<String>,
    /// Names by which pages may reach this machine, besides its own.
    pub hosts: Vec<String>,
}

impl Default for Access {
    fn default() -> Self {
        let group = |role: Role, names: &[&str]| {
            (role.as_str().to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
        };
        Self {
            password_login: true,
            pam_service: "sysadmd".to_owned(),
            pam_helper: None,
            groups: BTreeMap::from([
                group(Role::Admin, &["sysadmd", "sysadmd-admin", "sudo", "wheel"]),
                group(Role::Operator, &["sysadmd-operator"]),
                group(Role::Viewer, &["sysadmd-viewer"]),
            ]),
            certificates: BTreeMap::new(),
            origins: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

/// Refuses what names a role that is not there, or cannot be what it should be.
pub(super) fn check(
    access: &Access,
    roles: &BTreeMap<String, RoleRules>,
) -> Result<(), ConfigError> {
    let is_role = |name: &String| Role::parse(name).is_some() || roles.contains_key(name);
    let named = access.groups.keys().map(|role| ("access.groups", role));
    let mut named = named.chain(access.certificates.values().map(|r| ("access.certificates", r)));
    if let Some((place, role)) = named.find(|(_, role)| !is_role(role)) {
        return Err(ConfigError(format!(
            "{place}: there is no role {role:?}; define it as [roles.{role}], or use viewer, \
             operator or admin"
        )));
    }
    let is_service_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if access.pam_service.is_empty() || !access.pam_service.bytes().all(is_service_letter) {
        return Err(ConfigError("access.pam_service must be a file's name in /etc/pam.d".into()));
    }
    if access.pam_helper.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Err(ConfigError("access.pam_helper must be an absolute path".to_owned()));
    }
    let is_origin = |origin: &String| {
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        rest.is_some_and(|host| !host.is_empty() && !host.contains('/'))
    };
    match access.origins.iter().find(|origin| !is_origin(origin)) {
        Some(bad) => Err(ConfigError(format!(
            "access.origins: {bad:?} is no origin; expected https://NAME or https://NAME:PORT"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_nothing_is_refused() {
        let refusal = |text: &str| {
            let access: Access = toml::from_str(text).unwrap();
            let known = BTreeMap::from([("keeper".to_owned(), RoleRules::default())]);
            check(&access, &known).err().map(|error| error.to_string())
        };
        assert_eq!(refusal(""), None);
        assert_eq!(refusal("groups = { keeper = [\"backup\"] }"), None);
        for (text, named) in [
            ("groups = { keper = [\"backup\"] }", "keper"),
            ("certificates = { nas2 = \"boss\" }", "boss"),
            ("pam_service = \"../x\"", "pam_service"),
            ("pam_helper = \"x\"", "pam_helper"),
            ("origins = [\"nas\"]", "nas"),
            ("origins = [\"https://a/b\"]", "a/b"),
        ] {
            assert!(refusal(text).unwrap().contains(named), "{text}");
        }
    }
}
