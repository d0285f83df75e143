//! The plugin's section of the daemon's configuration.

use std::path::PathBuf;

use sdk::{Fault, Value};
use serde::Deserialize;

/// What can be configured. All of it may be absent.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where the snapshot plugin keeps snapshots of directories, when its `store` says another place
    /// than its state directory.
    pub(super) store: Option<PathBuf>,
}

/// Reads the section; `null` means the defaults.
pub(crate) fn read(section: &Value) -> Result<Config, Fault> {
    if section.is_null() {
        return Ok(Config::default());
    }
    let wrong = |what: String| {
        Fault::bad_request(format!("the configuration of the replication plugin: {what}"))
            .with_hint("it knows `store`, the directory that is the snapshot plugin's `store`")
    };
    let config = Config::deserialize(section).map_err(|error| wrong(error.to_string()))?;
    match &config.store {
        Some(path) if !path.is_absolute() => {
            Err(wrong(format!("{} is not an absolute path", path.display())))
        }
        _ => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    use sdk::json;

    use super::*;

    #[test]
    fn absent_means_defaults_and_unknown_keys_are_named() {
        assert_eq!(read(&Value::Null), Ok(Config::default()));
        assert_eq!(read(&json!({"store": "/srv"})).unwrap().store, Some(PathBuf::from("/srv")));
        assert!(read(&json!({"stor": "/srv"})).unwrap_err().message.contains("stor"));
        assert!(read(&json!({"store": "srv"})).is_err());
    }
}
