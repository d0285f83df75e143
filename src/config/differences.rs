//! What of the settings is another than before.

use super::Config;

impl Config {
    /// The keys and sections of the file whose meaning differs.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let Self {
            state_dir,
            socket,
            listen,
            listen_plain,
            tls,
            log_max_age,
            log_max_bytes,
            audit_max_age,
            access,
            roles,
            sinks,
            alerts,
            limits,
            jobs,
            consul,
            plugin_dir,
            plugins_disabled,
            plugin_config,
            plugin_grants,
        } = self;
        let log = (*log_max_age, *log_max_bytes) != (other.log_max_age, other.log_max_bytes);
        let plugins = plugin_dir != &other.plugin_dir
            || plugins_disabled != &other.plugins_disabled
            || plugin_config != &other.plugin_config
            || plugin_grants != &other.plugin_grants;
        let differ = [
            ("state_dir", state_dir != &other.state_dir || socket != &other.socket),
            ("listen", listen != &other.listen),
            ("listen_plain", listen_plain != &other.listen_plain),
            ("tls", tls != &other.tls),
            ("log", log),
            ("audit", audit_max_age != &other.audit_max_age),
            ("access", access != &other.access),
            ("roles", roles != &other.roles),
            ("sinks", sinks != &other.sinks),
            ("alerts", alerts != &other.alerts),
            ("limits", limits != &other.limits),
            ("jobs", jobs != &other.jobs),
            ("consul", consul != &other.consul),
            ("plugins", plugins),
        ];
        differ.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, File, Overrides, Runner};

    fn config(text: &str) -> Config {
        let root = Runner { is_root: true, state_home: None };
        let file = File::parse(text, Path::new("sysadmd.toml")).unwrap();
        file.complete(Overrides::default(), &root).unwrap()
    }

    #[test]
    fn each_section_is_named_when_it_is_another() {
        let before = config("");
        assert_eq!(before.differences(&config("listen_plain = []")), Vec::<&str>::new());
        for (text, name) in [
            ("listen = [\"127.0.0.1:1\"]", "listen"),
            ("listen_plain = [\"127.0.0.1:1\"]", "listen_plain"),
            ("[log]\nmax_age_days = 1", "log"),
            ("[audit]\nmax_age_days = 1", "audit"),
            ("[access]\npassword_login = false", "access"),
            ("[roles.a]\nlevel = \"viewer\"", "roles"),
            ("[alerts.\"daemon.disk\"]\nfor_s = 1", "alerts"),
            ("[limits]\nsubscriptions = 1", "limits"),
            ("[consul]\ndatacenter = \"x\"", "consul"),
            ("[plugins]\ndisabled = [\"system\"]", "plugins"),
            ("[tls]\ncertificate = \"/a\"\nkey = \"/b\"", "tls"),
            ("[sinks.a]\nurl = \"https://example.org/\"", "sinks"),
        ] {
            assert_eq!(before.differences(&config(text)), [name], "{text}");
        }
    }
}
