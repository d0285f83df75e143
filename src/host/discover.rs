//! Finds the plugins that live in a directory: `DIR/ID/manifest.json`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use protocol::Manifest;
use serde_json::Value;

use super::permission;

/// The largest manifest that is read, in bytes; a real one has a few thousand.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;

/// One plugin, ready to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSpec {
    /// What it declares.
    pub manifest: Manifest,
    /// The absolute path of its program.
    pub program: PathBuf,
    /// The program's arguments.
    pub args: Vec<OsString>,
    /// The directory it runs in.
    pub dir: PathBuf,
    /// Where it comes from.
    pub origin: Origin,
    /// Its section of the daemon's configuration, handed over in `initialize`.
    pub config: Value,
}

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It is part of the daemon's binary.
    BuiltIn,
    /// Somebody put it into the plugin directory.
    Directory,
}

/// A directory that was meant to be a plugin and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The plugin's directory.
    pub path: PathBuf,
    /// What is wrong with it, for the one who put it there.
    pub reason: String,
}

/// Looks at every directory in `dir`, in the order of their names. A missing `dir` holds no
/// plugins; hidden directories and plain files are passed over.
///
/// `as_root` says that the daemon runs as root: then nothing is accepted that somebody else could
/// change.
pub fn discover(dir: &Path, as_root: bool) -> (Vec<PluginSpec>, Vec<Refusal>) {
    let (mut specs, mut refusals) = (Vec::new(), Vec::new());
    let names = match subdirectories(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let reason = format!("the plugin directory cannot be read: {error}");
            refusals.push(Refusal { path: dir.to_owned(), reason });
            Vec::new()
        }
    };
    for name in names {
        match read_one(&dir.join(name), as_root) {
            Ok(spec) => specs.push(spec),
            Err(refusal) => refusals.push(refusal),
        }
    }
    (specs, refusals)
}

/// Reads the plugin in one directory.
pub(crate) fn read_one(dir: &Path, as_root: bool) -> Result<PluginSpec, Refusal> {
    read(dir, as_root).map_err(|reason| Refusal { path: dir.to_owned(), reason })
}

fn read(dir: &Path, as_root: bool) -> Result<PluginSpec, String> {
    let file = dir.join("manifest.json");
    let text = manifest_text(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no manifest.json in it".to_owned(),
        _ => format!("manifest.json cannot be read: {error}"),
    })?;
    let manifest = Manifest::parse(&text).map_err(|error| format!("manifest.json: {error}"))?;
    if dir.file_name().and_then(|name| name.to_str()) != Some(manifest.id.as_str()) {
        return Err(format!(
            "manifest.json: id {:?} is not the directory's name; they must be the same",
            manifest.id
        ));
    }
    let (program, args) = command(dir, &manifest)?;
    let (dir, origin) = (dir.to_owned(), Origin::Directory);
    let spec = PluginSpec { manifest, program, args, dir, origin, config: Value::Null };
    let reason =
        if as_root { permission::refusal(&file).or_else(|| distrust(&spec)) } else { None };
    reason.map_or(Ok(spec), Err)
}

/// Why root must not run this plugin's code; `None` when it may.
pub(crate) fn distrust(spec: &PluginSpec) -> Option<String> {
    let code = spec.args.iter().map(|arg| spec.dir.join(arg)).filter(|path| path.is_file());
    let mut trusted = std::iter::once(spec.program.clone()).chain(code);
    trusted.find_map(|path| permission::refusal(&path))
}

fn command(dir: &Path, manifest: &Manifest) -> Result<(PathBuf, Vec<OsString>), String> {
    let Some((program, args)) = manifest.exec.split_first() else {
        return Err("manifest.json: exec is empty; it must name the program to run".to_owned());
    };
    let path = match program.strip_prefix("./") {
        Some(relative) => dir.join(relative),
        None => PathBuf::from(program),
    };
    if !path.is_absolute() {
        return Err(format!(
            "manifest.json: exec begins with {program:?}; expected an absolute path, or one that \
             begins with ./ and is relative to the manifest"
        ));
    }
    if !path.is_file() || access(&path, AccessFlags::X_OK).is_err() {
        return Err(format!("{} is not an executable file", path.display()));
    }
    Ok((path, args.iter().map(OsString::from).collect()))
}

fn manifest_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MANIFEST_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn subdirectories(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in dir.read_dir()? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
