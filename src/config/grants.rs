//! `[plugins.grants.ID]`: what a plugin may do beyond the default.

use std::collections::BTreeMap;

use protocol::sandbox::Rights;

use super::ConfigError;

/// The grants, if they make sense.
pub(super) fn checked(
    grants: BTreeMap<String, Rights>,
) -> Result<BTreeMap<String, Rights>, ConfigError> {
    for (id, rights) in &grants {
        rights
            .check()
            .map_err(|sentence| ConfigError(format!("plugins.grants.{id}.{sentence}")))?;
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, File, Overrides, Runner};
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let root = Runner { is_root: true, state_home: None };
        File::parse(text, Path::new("sysadmd.toml"))?.complete(Overrides::default(), &root)
    }

    #[test]
    fn the_line_that_a_refused_plugin_shows_is_what_it_needs() {
        let asked: Rights = serde_json::from_str(
            r#"{"user":"root","capabilities":["CHOWN","SYS_ADMIN"],"network":true,
                "unix_sockets":true,"syscalls":"any","read":["/var/lo\"\u007fg"],"write":["/srv","/tmp"],
                "processes":1000,"file_bytes":9223372036854775807,"memory_bytes":2147483648,
                "open_files":5000}"#,
        )
        .unwrap();
        let text = format!("[plugins]\ndisabled = []\n{}\n", asked.grant("disk-watch"));
        let config = read(&text).unwrap();
        assert_eq!(config.plugin_grants, BTreeMap::from([("disk-watch".to_owned(), asked)]));
    }

    #[test]
    fn a_grant_that_makes_no_sense_is_refused() {
        for (grant, named) in [
            ("read = [\"log\"]", "plugins.grants.x.read"),
            ("capabilities = [\"EVERYTHING\"]", "EVERYTHING"),
            ("netwrok = true", "`network`?"),
        ] {
            let refusal = read(&format!("[plugins.grants.x]\n{grant}")).unwrap_err().to_string();
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}
