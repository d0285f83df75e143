//! The plugin's section of the daemon's configuration.

use std::path::PathBuf;

use sdk::{Fault, Value};
use serde::Deserialize;

/// What can be configured. All of it may be absent.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where snapshots of directories are kept; absent: in the plugin's state directory. On the same
    /// file system as the data, btrfs and xfs store unchanged files without a copy.
    pub(super) store: Option<PathBuf>,
    /// The only directories that may be snapshotted as such, with what is below them; empty: any.
    pub(super) directories: Vec<PathBuf>,
}

/// Reads the section; `null` means the defaults.
pub(crate) fn read(section: &Value) -> Result<Config, Fault> {
    if section.is_null() {
        return Ok(Config::default());
    }
    let config = Config::deserialize(section).map_err(|error| {
        Fault::bad_request(format!("the configuration of the snapshot plugin: {error}"))
            .with_hint("it knows `store` (a directory) and `directories` (a list of directories)")
    })?;
    let mut paths = config.directories.iter().chain(&config.store);
    if let Some(path) = paths.find(|path| !path.is_absolute()) {
        return Err(Fault::bad_request(format!(
            "the configuration of the snapshot plugin: {} is not an absolute path",
            path.display()
        )));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use sdk::json;

    use super::*;

    #[test]
    fn absent_means_defaults_and_unknown_keys_are_named() {
        assert_eq!(read(&Value::Null), Ok(Config::default()));
        assert_eq!(read(&json!({})), Ok(Config::default()));
        let read_back = read(&json!({"store": "/srv/store", "directories": ["/home"]})).unwrap();
        assert_eq!(read_back.store, Some(PathBuf::from("/srv/store")));
        let fault = read(&json!({"directory": "/home"})).unwrap_err();
        assert!(fault.message.contains("directory") && fault.message.contains("directories"));
        assert!(read(&json!({"store": "relative"})).is_err());
    }
}
