//! The first exchange with a plugin process.

use protocol::link::{
    DaemonInfo, Frame, Initialize, Initialized, PROTOCOL, PluginInfo, VERSIONS, fault_of, method,
};
use protocol::{Json, Manifest};

use super::Context;
use super::discover::PluginSpec;

/// The number of the request `initialize`.
pub(crate) const NUMBER: u64 = 1;

/// The protocol versions that both the daemon and the plugin speak.
pub(crate) fn common_versions(manifest: &Manifest) -> Vec<u32> {
    let api = manifest.api;
    VERSIONS.into_iter().filter(|version| (api.min..=api.max).contains(version)).collect()
}

/// The request that opens the link.
pub(super) fn question(spec: &PluginSpec, context: &Context) -> Option<Frame> {
    let manifest = &spec.manifest;
    let initialize = Initialize {
        protocol: PROTOCOL.to_owned(),
        versions: common_versions(manifest),
        daemon: DaemonInfo {
            version: context.settings.version.clone(),
            instance: context.settings.instance,
        },
        plugin: PluginInfo { id: manifest.id.clone(), version: None },
        features: vec!["progress".to_owned()],
        credit: manifest.limits.events_burst,
        line_bytes: manifest.limits.line_bytes,
        state_dir: context.plugin_state_dir(&manifest.id).to_string_lossy().into_owned(),
        config: spec.config.clone(),
    };
    Json::of(&initialize).ok().map(|params| Frame::request(NUMBER, method::INITIALIZE, params))
}

/// Judges the answer; the sentence says why the plugin cannot be used.
pub fn judge(frame: &Frame, manifest: &Manifest) -> Result<(), String> {
    if let Some(error) = &frame.error {
        return Err(format!("it refused to start: {}", fault_of(error)));
    }
    let answer: Initialized = frame
        .result
        .clone()
        .unwrap_or_default()
        .read()
        .map_err(|error| format!("its answer to initialize is not understood: {error}"))?;
    if !common_versions(manifest).contains(&answer.version) {
        return Err(format!("it chose protocol version {}, which was not offered", answer.version));
    }
    if answer.plugin.id != manifest.id {
        return Err(format!(
            "it says its id is {:?}; the manifest says {:?}",
            answer.plugin.id, manifest.id
        ));
    }
    match answer.plugin.version {
        Some(version) if version != manifest.version => Err(format!(
            "it says its version is {version:?}; the manifest says {:?}",
            manifest.version
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        r#"{"manifest_version":1,"id":"hello","version":"1.0.0","exec":["./hello"]}"#;

    #[test]
    fn only_the_plugin_of_the_manifest_is_let_in() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let judged = |result: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,{result}}}"#);
            judge(&Frame::parse(&line).unwrap(), &manifest)
        };
        let good = r#""result":{"version":1,"plugin":{"id":"hello","version":"1.0.0"}}"#;
        assert_eq!(judged(good), Ok(()));
        assert_eq!(judged(r#""result":{"version":1,"plugin":{"id":"hello"},"x":1}"#), Ok(()));
        for (bad, named) in [
            (r#""result":{"version":2,"plugin":{"id":"hello"}}"#, "version 2"),
            (r#""result":{"version":1,"plugin":{"id":"other"}}"#, "\"other\""),
            (r#""result":{"version":1,"plugin":{"id":"hello","version":"2.0.0"}}"#, "2.0.0"),
            (r#""result":null"#, "initialize"),
            (r#""error":{"code":-32000,"message":"no config"}"#, "no config"),
        ] {
            let sentence = judged(bad).unwrap_err();
            assert!(sentence.contains(named), "{sentence}");
        }
    }
}
