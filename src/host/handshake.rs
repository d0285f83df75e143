//! The first exchange with a plugin process.

use protocol::link::{
    DaemonInfo, Frame, Initialize, Initialized, PROTOCOL, PluginInfo, Unavailable, VERSIONS,
    fault_of, method,
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
        features: ["progress", "note"].map(str::to_owned).to_vec(),
        credit: manifest.limits.events_burst,
        line_bytes: manifest.limits.line_bytes,
        state_dir: context.plugin_state_dir(&manifest.id).to_string_lossy().into_owned(),
        config: spec.config.clone(),
    };
    Json::of(&initialize).ok().map(|params| Frame::request(NUMBER, method::INITIALIZE, params))
}

/// The longest reason that is kept, in characters.
const REASON_MAX: usize = 300;

/// Judges the answer and returns what of its methods the plugin cannot do here; the sentence says
/// why the plugin cannot be used.
pub fn judge(frame: &Frame, manifest: &Manifest) -> Result<Vec<Unavailable>, String> {
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
        _ => Ok(declared(answer.unavailable, manifest)),
    }
}

/// What is about methods of the manifest; the rest is of no use to anybody.
fn declared(said: Vec<Unavailable>, manifest: &Manifest) -> Vec<Unavailable> {
    let is_declared = |said: &Unavailable| {
        manifest.methods.iter().any(|it| {
            it.method == said.method && (said.action.is_none() || said.action == it.action)
        })
    };
    let mut kept: Vec<Unavailable> = said.into_iter().filter(is_declared).collect();
    kept.truncate(manifest.methods.len());
    for it in &mut kept {
        it.reason = it.reason.chars().take(REASON_MAX).collect();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"manifest_version":1,"id":"hello","version":"1.0.0","exec":["./hello"],
            "methods":[{"method":"hello/say","action":"loud","kind":"query","role":"viewer"}]}"#;

    #[test]
    fn only_the_plugin_of_the_manifest_is_let_in() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let judged = |result: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,{result}}}"#);
            judge(&Frame::parse(&line).unwrap(), &manifest)
        };
        let good = r#""result":{"version":1,"plugin":{"id":"hello","version":"1.0.0"}}"#;
        assert_eq!(judged(good), Ok(vec![]));
        assert_eq!(judged(r#""result":{"version":1,"plugin":{"id":"hello"},"x":1}"#), Ok(vec![]));
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
    #[test]
    fn what_a_plugin_cannot_do_here_is_kept_if_it_is_in_the_manifest() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let long = "x".repeat(1000);
        let line = format!(
            r#"{{"id":1,"result":{{"version":1,"plugin":{{"id":"hello"}},"unavailable":[
                {{"method":"hello/say","reason":"{long}"}},
                {{"method":"hello/say","action":"quiet","reason":"no such action"}},
                {{"method":"hello/say","action":"loud","reason":"no voice"}},
                {{"method":"other/say","reason":"not its own"}}]}}}}"#
        );
        let kept = judge(&Frame::parse(&line).unwrap(), &manifest).unwrap();
        let [kept] = &kept[..] else { panic!("more than there are methods: {kept:?}") };
        assert_eq!(kept.reason.len(), REASON_MAX);
        assert!(kept.concerns("hello/say", None) && kept.concerns("hello/say", Some("loud")));
        assert!(!kept.concerns("hello/sing", None));
    }
}
