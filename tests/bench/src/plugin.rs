//! The plugin of the plugin rows: answers a call with its arguments, written with the public SDK like anybody's.

use std::path::Path;
use std::process::ExitCode;

use sdk::{Context, Fault, Plugin, Request, Value};
use serde_json::json;

use crate::Res;

/// Its id, which is also the namespace of its method.
pub(crate) const ID: &str = "bench";

/// Half of the 800 calls that the widest work has in flight; as many more may wait.
const CALLS: u32 = 400;

/// Puts its manifest where a daemon with this state directory finds it.
pub(crate) fn install(state_dir: &Path) -> Res<()> {
    let dir = state_dir.join("plugins").join(ID);
    std::fs::create_dir_all(&dir)?;
    Ok(std::fs::write(dir.join("manifest.json"), manifest()?)?)
}

/// Serves the daemon that started this process.
pub(crate) fn serve() -> Res<ExitCode> {
    Ok(sdk::serve(&manifest()?, Echo))
}

fn manifest() -> Res<String> {
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or("the path of this program is not UTF-8")?;
    let manifest = json!({
        "manifest_version": 1, "id": ID, "version": "1.0.0", "exec": [program, "plugin"],
        "description": "Answers with the arguments it is called with",
        "limits": {"calls": CALLS},
        "methods": [{
            "method": format!("{ID}/echo"), "kind": "query", "role": "viewer",
            "summary": "Answers its arguments", "examples": [{"args": {"n": 1}, "result": {"n": 1}}],
        }],
    });
    Ok(manifest.to_string())
}

struct Echo;

impl Plugin for Echo {
    fn call(&self, _: &Context, request: &Request) -> Result<Value, Fault> {
        match request.name.as_str() {
            "echo" => Ok(request.args.clone()),
            _ => Err(sdk::unknown_method(request)),
        }
    }
}
