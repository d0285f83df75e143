//! Which plugin is meant: a directory, or any program with a manifest.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use protocol::Manifest;
use serde_json::Value;

use super::{CANNOT_CREATE, NO_INPUT, Problem, USAGE};

/// Which plugin.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TargetArgs {
    /// The plugin's directory, which holds manifest.json
    #[arg(value_name = "DIR", required_unless_present = "manifest")]
    pub(crate) dir: Option<PathBuf>,
    /// The manifest, when it is not DIR/manifest.json
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Start this program instead of the manifest's `exec`; takes the rest of the line
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) exec: Vec<String>,
    /// The configuration to hand over, as JSON
    #[arg(long, value_name = "JSON", default_value = "null")]
    pub(crate) config: String,
}

/// A plugin that can be started.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) manifest: Manifest,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) config: Value,
}

impl Target {
    /// Finds the plugin. `Err` of the inner result: there is a plugin, but its manifest is wrong.
    pub(crate) fn find(args: &TargetArgs) -> Result<Result<Self, String>, Problem> {
        let file = manifest_file(args)?;
        let text = fs::read_to_string(&file).map_err(|error| {
            Problem::new(NO_INPUT, format!("cannot read {}: {error}", file.display()))
                .with_hint("name the plugin's directory, or its manifest with --manifest FILE")
        })?;
        let config = serde_json::from_str(&args.config)
            .map_err(|error| Problem::new(USAGE, format!("--config is not JSON: {error}")))?;
        // Without a parent the file is in the directory we are in.
        let parent = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = parent.unwrap_or(Path::new(".")).canonicalize().map_err(|error| {
            Problem::new(NO_INPUT, format!("cannot find {}: {error}", file.display()))
        })?;
        Ok(Self::read(args, &text, dir, config))
    }

    fn read(args: &TargetArgs, text: &str, dir: PathBuf, config: Value) -> Result<Self, String> {
        let manifest = Manifest::parse(text).map_err(|error| error.to_string())?;
        let in_its_place = args.manifest.is_none() && args.exec.is_empty();
        if in_its_place && dir.file_name().is_some_and(|name| name != manifest.id.as_str()) {
            return Err(format!(
                "the id {:?} is not the name of its directory, {}",
                manifest.id,
                dir.display()
            ));
        }
        let exec = if args.exec.is_empty() { &manifest.exec } else { &args.exec };
        let Some((program, rest)) = exec.split_first() else {
            return Err("`exec` is empty; it must name the program to run".to_owned());
        };
        let (program, rest) = (resolved(program, &dir, args)?, rest.to_vec());
        Ok(Self { program, args: rest, dir, config, manifest })
    }

    /// How long one call of this method may take, in milliseconds.
    pub(crate) fn call_ms(&self, method: &str) -> u64 {
        let declared = self.manifest.methods.iter().find(|known| known.method == method);
        declared.and_then(|known| known.timeout_ms).unwrap_or(self.manifest.limits.call_ms)
    }
}

fn manifest_file(args: &TargetArgs) -> Result<PathBuf, Problem> {
    match (&args.manifest, &args.dir) {
        (Some(file), _) => Ok(file.clone()),
        (None, Some(dir)) => Ok(dir.join("manifest.json")),
        (None, None) => Err(Problem::new(USAGE, "which plugin? Name its directory")),
    }
}

/// The program's path: what a person types is found from where they are, what a manifest says from
/// where it is.
fn resolved(program: &str, dir: &Path, args: &TargetArgs) -> Result<PathBuf, String> {
    let path = Path::new(program);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    if !args.exec.is_empty() {
        return path
            .canonicalize()
            .map_err(|error| format!("cannot find the program {program:?}: {error}"));
    }
    match program.strip_prefix("./") {
        Some(inside) => Ok(dir.join(inside)),
        None => Err(format!(
            "`exec` begins with {program:?}; expected an absolute path, or one that begins with ./"
        )),
    }
}

/// A directory of mode 0700 that goes away with this value.
#[derive(Debug)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    /// Makes one.
    pub(crate) fn make() -> Result<Self, Problem> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sysadmctl-plugin-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            Problem::new(CANNOT_CREATE, format!("cannot make {}: {error}", path.display()))
        })?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
