//! `sysadmctl status`: the daemon on one screen.

use serde_json::json;

use super::client::{Client, Hello};
use super::exit::Failure;
use super::output::{self, Style};
use super::plugins;
use super::target::Target;

/// Shows who the daemon is, who we are to it, and how its plugins are.
pub(crate) async fn run(target: &Target, style: Style) -> Result<(), Failure> {
    let (mut client, hello) = Client::open(target).await?;
    let plugins = plugins::plugins(&mut client).await?;
    if style.json {
        let principal = hello.principal.as_ref().map(|p| json!({"name": p.name, "role": p.role}));
        let status = json!({
            "daemon": {
                "version": hello.version,
                "hostname": hello.hostname,
                "instance": hello.instance,
                "fingerprint": hello.fingerprint,
                "time": hello.time,
            },
            "principal": principal,
            "plugins": plugins["plugins"],
        });
        return output::value(style, &status);
    }
    output::print(&summary(style, target, &hello))?;
    plugins::list(style, &plugins)
}

fn summary(style: Style, target: &Target, hello: &Hello) -> String {
    let who = hello.principal.as_ref().map_or_else(
        || "nobody (not logged in)".to_owned(),
        |principal| format!("{}, role {}", principal.name, principal.role),
    );
    let fingerprint = hello.fingerprint.clone().unwrap_or_else(|| "none (no TLS)".to_owned());
    let lines = [
        ("daemon", format!("sysadmd {} on {}", hello.version, hello.hostname)),
        ("address", target.place.to_string()),
        ("time", output::moment(&hello.time.to_string())),
        ("event log", hello.instance.clone()),
        ("certificate", fingerprint),
        ("you", who),
    ];
    let shown = lines.map(|(name, text)| {
        format!("{}  {}\n", style.faint(&format!("{name:<11}")), output::clean(&text))
    });
    format!("{}\n", shown.concat())
}
