//! `sysadmctl plugin new`: writes a complete plugin. What it writes are the examples of
//! `plugins/examples` under another name, so that they can never be out of date.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use protocol::Manifest;
use serde_json::json;

use super::{CANNOT_CREATE, Problem, USAGE, print, print_json};

/// What to write where.
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// The plugin's id: lower-case letters, digits and dashes
    name: String,
    /// The language to write it in
    #[arg(long, value_enum)]
    lang: Language,
    /// Where to put it; the last part must be NAME [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the SDK is (plugins/sdk of the sysadmd sources), for Rust
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// The languages there is an example in.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Language {
    Rust,
    Python,
    Shell,
}

/// A file to write: its name, its text, and whether it is a program.
struct Text(String, String, bool);

/// Writes the plugin and says what comes next.
pub(crate) fn run(new: &New, json: bool) -> Result<ExitCode, Problem> {
    let dir = new.dir.clone().unwrap_or_else(|| PathBuf::from(&new.name));
    if dir.file_name().is_none_or(|last| last != new.name.as_str()) {
        return Err(Problem::new(
            USAGE,
            format!("the directory must be named like the plugin: {}/{}", dir.display(), new.name),
        ));
    }
    let files = texts(new)?;
    write_all(&dir, &files)?;
    let next = next_steps(new, &dir);
    if json {
        let names: Vec<&str> = files.iter().map(|Text(name, ..)| name.as_str()).collect();
        print_json(&json!({ "dir": dir, "files": names, "next": next }))?;
    } else {
        for Text(name, ..) in &files {
            print(&format!("wrote {}", dir.join(name).display()))?;
        }
        print("next:")?;
        next.iter().try_for_each(|step| print(&format!("  {step}")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn texts(new: &New) -> Result<Vec<Text>, Problem> {
    let name = &new.name;
    check_name(name)?;
    let renamed = |text: &str, old: &str| rename(text, old, name);
    let file = |path: &str, text: String| Text(path.to_owned(), text, false);
    let program = |text: String| Text(name.clone(), text, true);
    let (manifest, mut files) = match new.lang {
        Language::Python => (
            renamed(include_str!("../../../plugins/examples/hello-python/manifest.json"), PYTHON),
            vec![program(renamed(
                include_str!("../../../plugins/examples/hello-python/hello-python"),
                PYTHON,
            ))],
        ),
        Language::Shell => (
            renamed(include_str!("../../../plugins/examples/hello-shell/manifest.json"), SHELL),
            vec![program(renamed(
                include_str!("../../../plugins/examples/hello-shell/hello-shell"),
                SHELL,
            ))],
        ),
        Language::Rust => (
            renamed(include_str!("../../../plugins/examples/hello/manifest.json"), RUST),
            vec![
                file(
                    "src/main.rs",
                    renamed(include_str!("../../../plugins/examples/hello/src/main.rs"), RUST),
                ),
                file("Cargo.toml", cargo_toml(name, &sdk(new)?)),
                file(".gitignore", format!("/target\n/{name}\n")),
            ],
        ),
    };
    files.push(file("manifest.json", manifest));
    Ok(files)
}

/// Whether a plugin may have this id and use it as its namespace.
fn check_name(name: &str) -> Result<(), Problem> {
    let method = json!({ "method": format!("{name}/say"), "kind": "query", "role": "viewer" });
    let manifest =
        json!({ "manifest_version": 1, "id": name, "version": "1.0.0", "methods": [method] });
    Manifest::parse(&manifest.to_string())
        .map(drop)
        .map_err(|error| Problem::new(USAGE, format!("{name:?} cannot be its name: {error}")))
}

const PYTHON: &str = "hello-python";
const SHELL: &str = "hello-shell";
const RUST: &str = "hello";

/// The example's text with another id. Only the places that hold the id change, not the greeting.
fn rename(text: &str, old: &str, name: &str) -> String {
    let places = [
        ("\"", "\""),
        ("\"./", "\""),
        ("\"", "/say\""),
        ("`", "/say "),
        (" ", "/say "),
        ("\"", ".said\""),
        ("`", ".said`"),
        // The shell writes quotes inside of quotes with a backslash.
        ("\\\"", "\\\""),
        ("\\\"", ".said\\\""),
    ];
    places.iter().fold(text.to_owned(), |text, (before, after)| {
        text.replace(&format!("{before}{old}{after}"), &format!("{before}{name}{after}"))
    })
}

fn cargo_toml(name: &str, sdk: &Path) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\nsdk = {{ package = \"sysadmd-sdk\", path = {:?} }}\n\n\
         # It stands alone, also inside of another project's directory.\n[workspace]\n",
        sdk.display().to_string()
    )
}

/// The SDK's directory: what was said, or what lies above this program or where we are.
fn sdk(new: &New) -> Result<PathBuf, Problem> {
    let is_sdk = |dir: &Path| dir.join("Cargo.toml").is_file() && dir.join("src/lib.rs").is_file();
    let places = [env::current_exe().ok(), env::current_dir().ok()];
    let above = || {
        let starts = places.iter().flatten();
        starts
            .flat_map(|start| start.ancestors())
            .map(|dir| dir.join("plugins/sdk"))
            .find(|dir| is_sdk(dir))
    };
    let found = match &new.sdk {
        Some(dir) => is_sdk(dir).then(|| dir.clone()),
        None => above(),
    };
    found.and_then(|dir| dir.canonicalize().ok()).ok_or_else(|| {
        Problem::new(USAGE, "the Rust SDK was not found")
            .with_hint("say where it is: --sdk DIR, the directory plugins/sdk of sysadmd's sources")
    })
}

fn write_all(dir: &Path, files: &[Text]) -> Result<(), Problem> {
    let failed = |path: &Path, error: &std::io::Error| {
        Problem::new(CANNOT_CREATE, format!("cannot write {}: {error}", path.display()))
    };
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Problem::new(CANNOT_CREATE, format!("{} is not empty", dir.display()))
            .with_hint("choose another place with --dir DIR"));
    }
    for Text(name, text, is_program) in files {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
        let mode = if *is_program { 0o755 } else { 0o644 };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn next_steps(new: &New, dir: &Path) -> Vec<String> {
    let (name, dir) = (&new.name, dir.display());
    let build = format!("(cd {dir} && cargo build --release && cp target/release/{name} .)");
    let mut steps = match new.lang {
        Language::Rust => vec![build],
        Language::Python | Language::Shell => Vec::new(),
    };
    steps.push(format!("sysadmctl plugin check {dir}"));
    steps.push(format!("sysadmctl plugin run {dir}"));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, lang: Language) -> New {
        New { name: name.to_owned(), lang, dir: None, sdk: None }
    }

    #[test]
    fn every_language_gets_its_own_name_everywhere() {
        for (lang, old) in [
            (Language::Rust, "\"hello"),
            (Language::Python, "hello-python"),
            (Language::Shell, "hello-shell"),
        ] {
            let files = texts(&new("disk-watch", lang)).unwrap();
            for Text(name, text, _) in &files {
                let left = text.replace("\"hello, ", "");
                assert!(!left.contains(old), "{name}: {left}");
            }
            let Text(_, manifest, _) = files.last().unwrap();
            let manifest = Manifest::parse(manifest).unwrap();
            assert_eq!(manifest.id, "disk-watch");
            assert_eq!(manifest.exec, ["./disk-watch"]);
            assert_eq!(manifest.methods[0].method, "disk-watch/say");
            assert_eq!(manifest.events[0].class.as_str(), "disk-watch.said");
        }
    }

    #[test]
    fn a_name_that_is_no_id_is_refused() {
        for name in ["Disk", "x", "a b", "../up", "events"] {
            assert!(texts(&new(name, Language::Shell)).is_err(), "{name}");
        }
    }
}
