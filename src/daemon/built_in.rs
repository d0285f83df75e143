//! The built-in plugins: roles of the one binary, started as any stranger's plugin is.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use protocol::Manifest;
use serde_json::Value;

use crate::config::Config;
use crate::host::{Origin, PluginSpec};

/// A plugin that is a role of the binary.
struct BuiltIn {
    name: &'static str,
    manifest: &'static str,
    run: fn() -> ExitCode,
}

const TABLE: [BuiltIn; 4] = [
    BuiltIn { name: "snapshot", manifest: snapshot::MANIFEST, run: snapshot::run },
    BuiltIn { name: "replication", manifest: replication::MANIFEST, run: replication::run },
    BuiltIn { name: "containers", manifest: containers::MANIFEST, run: containers::run },
    BuiltIn { name: "system", manifest: system::MANIFEST, run: system::run },
];

/// Runs a built-in plugin in this process; `None` when there is none of that name.
pub(super) fn run(name: &str) -> Option<ExitCode> {
    TABLE.iter().find(|plugin| plugin.name == name).map(|plugin| (plugin.run)())
}

/// The names, for the help.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|plugin| plugin.name)
}

/// Their manifests, in the order of the table.
pub(super) fn manifests() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|plugin| plugin.manifest)
}

/// How to start those that are not disabled.
pub(super) fn specs(binary: &Path, config: &Config) -> Vec<PluginSpec> {
    let enabled = TABLE
        .iter()
        .filter(|plugin| !config.plugins_disabled.iter().any(|disabled| disabled == plugin.name));
    enabled.filter_map(|plugin| spec(plugin, binary, config)).collect()
}

fn spec(plugin: &BuiltIn, binary: &Path, config: &Config) -> Option<PluginSpec> {
    match Manifest::parse(plugin.manifest) {
        Ok(manifest) => Some(PluginSpec {
            manifest,
            program: binary.to_path_buf(),
            args: ["plugin", plugin.name].map(OsString::from).to_vec(),
            dir: config.state_dir.clone(),
            origin: Origin::BuiltIn,
            config: config.plugin_config.get(plugin.name).cloned().unwrap_or(Value::Null),
        }),
        Err(error) => {
            tracing::error!(plugin = plugin.name, %error, "a built-in plugin's manifest is wrong");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_manifest_is_right_and_has_its_own_name() {
        for plugin in &TABLE {
            assert_eq!(Manifest::parse(plugin.manifest).unwrap().id, plugin.name);
        }
    }
}
