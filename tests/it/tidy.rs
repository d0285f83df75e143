//! What keeps the tree readable, checked by reading it: floors, lengths, links, leftovers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sysadmd::config::{File, Overrides, Runner};

/// Modules of `src` and their floors, as the table in `src/lib.rs` has them. What lies on the ground
/// is for every floor; `cli` stands there too, uses nothing else, and nobody uses it.
const FLOORS: [(&str, u8); 25] = [
    ("certificate", 0),
    ("loopback", 0),
    ("names", 0),
    ("cli", 0),
    ("config", 1),
    ("clock", 1),
    ("bucket", 1),
    ("description", 1),
    ("lifecycle", 1),
    ("sight", 1),
    ("alarm", 1),
    ("trigger", 1),
    ("store", 2),
    ("outbound", 2),
    ("bus", 3),
    ("host", 4),
    ("access", 4),
    ("sinks", 4),
    ("alerts", 4),
    ("dispatch", 5),
    ("wire", 6),
    ("listen", 7),
    ("daemon", 8),
    ("fuzzing", 9),
    ("bin", 9),
];
/// The longest source file.
const LINES_MAX: usize = 600;
/// What is never walked into: built things, history, fetched things.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "__pycache__"];

#[test]
fn modules_use_lower_floors_only() {
    let mut upward = Vec::new();
    for path in files("src", "rs") {
        let module = module_of(&path);
        for line in wrong_uses(&module, &read(&path)) {
            upward.push(format!("{}: {line}", path.display()));
        }
    }
    assert!(upward.is_empty(), "uses that point up or aside:\n{}", upward.join("\n"));
}

#[test]
fn an_upward_use_is_found() {
    let wrong = |module, text| wrong_uses(module, text).len();
    assert_eq!(wrong("bus", "use crate::dispatch::Session;\n"), 1);
    assert_eq!(wrong("bus", "use crate::store::Store;\nuse crate::bus::fan;\n"), 0);
    assert_eq!(wrong("access", "fn f() { crate::host::Host::new() }\n"), 1, "a sibling");
    assert_eq!(wrong("wire", "use crate::{bus::Face, listen::tls::Tls};\n"), 1, "in a group");
    assert_eq!(wrong("clock", "use crate::config::Config;\n"), 1, "a sibling on floor 1");
    assert_eq!(wrong("cli", "use crate::clock::Clock;\n"), 1, "the command line has no floors");
    assert_eq!(wrong("cli", "use crate::certificate::Facts;\n"), 0, "what lies on the ground");
    assert_eq!(wrong("certificate", "use crate::clock::Clock;\n"), 1, "the ground has no floors");
    assert_eq!(wrong("bus", "use crate::cli::run;\n"), 1, "the command line is used by nobody");
    assert_eq!(wrong("bus", "use crate::elsewhere::X;\n"), 1, "a module without a floor");
    assert_eq!(wrong("bus", "// see crate::dispatch\n/// [`crate::listen`]\n"), 0, "in words only");
}

#[test]
fn the_map_in_the_library_names_every_module_on_its_floor() {
    let map = read(&root().join("src/lib.rs"));
    let declared = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in declared {
        let floor = floor(module).unwrap_or_else(|| panic!("{module} has no floor"));
        let row = format!("//! | {floor} |");
        let in_table =
            |line: &&str| line.starts_with(&row) && line.contains(&format!("[`{module}`]"));
        let named = module == "cli" && map.contains("[`cli`], on floor 0 alone");
        assert!(named || map.lines().any(|line| in_table(&line)), "{module} is not on the map");
    }
}

#[test]
fn plugins_do_not_know_the_daemon() {
    for path in files("plugins", "rs") {
        let text = read(&path);
        let named = text.lines().find(|line| paths_from(line, "sysadmd").next().is_some());
        assert_eq!(named, None, "{} uses the root crate", path.display());
    }
    for path in files("plugins", "toml") {
        let manifest: toml::Table = read(&path).parse().expect("TOML");
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let names = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
        let known = names.flat_map(|table| table.keys()).any(|name| name == "sysadmd");
        assert!(!known, "{} depends on the root crate", path.display());
    }
}

#[test]
fn source_files_are_short() {
    for path in sources() {
        let lines = read(&path).lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_is_left_for_later() {
    // In halves, because this file is read as well.
    let words = [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("todo", "!"), ("unimplemented", "!")];
    let words = words.map(|(front, back)| format!("{front}{back}"));
    let later = |line: &&str| words.iter().any(|word| has_word(line, word));
    let kinds = ["rs", "md", "toml", "py", "sh", "js", "sql", "html", "css"];
    for path in kinds.iter().flat_map(|kind| files("", kind)) {
        let text = read(&path);
        assert_eq!(text.lines().find(later), None, "{}", path.display());
    }
}

#[test]
fn no_test_is_switched_off() {
    let switch = format!("#[{}", "ignore");
    for path in sources() {
        let text = read(&path);
        assert!(!text.contains(&switch), "{} has a test that never runs", path.display());
    }
}

#[test]
fn no_file_names_a_home_or_this_checkout() {
    let checkout = format!("{}/", root().display());
    let homes = [format!("/{}/", "home"), format!("/{}/", "Users"), format!("/{}/.", "root")];
    for path in files("", "") {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for line in text.lines() {
            let home = homes.iter().find_map(|home| line.split_once(home.as_str()));
            // In examples nobody, or the reader, is at home.
            let real =
                home.is_some_and(|(_, rest)| !["a/", "you/"].iter().any(|it| rest.starts_with(it)));
            assert!(!real && !line.contains(&checkout), "{}: {line}", path.display());
        }
    }
}

#[test]
fn first_level_files_begin_with_a_paragraph() {
    for entry in fs::read_dir(root().join("src")).expect("src").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            let paragraph = text.lines().take_while(|line| line.starts_with("//!")).count();
            assert!(paragraph >= 2, "{} does not say what it knows", path.display());
        }
    }
}

#[test]
fn every_protocol_has_its_page_and_a_recorded_conversation() {
    let wire = read(&root().join("src/wire.rs"));
    let modules = wire.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    // Framing is no protocol of its own; the metrics page and the console are not conversations.
    for module in modules.filter(|module| !["frame", "metrics", "console"].contains(module)) {
        let name = module.replace('_', "-");
        let page = root().join(format!("docs/protocols/{name}.md"));
        assert!(page.exists(), "{} is missing", page.display());
        let recorded = root().join("tests/transcripts");
        let begins = |path: &PathBuf| {
            let dir = path.parent().and_then(Path::file_name).unwrap_or_default();
            dir.to_string_lossy().starts_with(&format!("{name}-v"))
        };
        let conversations =
            files_under(&recorded, "jsonl").iter().filter(|path| begins(path)).count();
        assert!(conversations > 0, "no conversation in tests/transcripts/{name}-v…/");
    }
}

#[test]
fn the_shipped_configuration_is_legal() {
    let path = root().join("packaging/sysadmd.toml");
    let file = File::parse(&read(&path), &path).expect("it is read");
    let as_root = Runner { is_root: true, state_home: None };
    file.complete(Overrides::default(), &as_root).expect("it is complete");
}

#[test]
fn every_shipped_manifest_is_read() {
    let manifests = files("", "json");
    let mut manifests: Vec<_> =
        manifests.iter().filter(|path| path.ends_with("manifest.json")).collect();
    manifests.retain(|path| !path.starts_with(root().join("tests")));
    assert!(manifests.len() >= 4, "{manifests:?}");
    for path in manifests {
        if let Err(error) = protocol::Manifest::parse(&read(path)) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn every_link_in_the_documentation_leads_to_a_file() {
    let mut pages = files("docs", "md");
    pages.extend([root().join("README.md")].into_iter().filter(|path| path.exists()));
    let mut broken = Vec::new();
    for page in pages {
        for link in links(&read(&page)) {
            let file = link.split('#').next().unwrap_or_default();
            let target = page.parent().expect("a directory").join(file);
            if !file.is_empty() && !target.exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_test_that_the_security_pages_name_is_there() {
    let mut named = 0;
    let is_file = |word: &&str| word.starts_with("tests/") || word.starts_with("src/");
    for page in files("docs/security", "md") {
        for word in read(&page).split('`').filter(is_file) {
            let (file, test) = word.split_once("::").unwrap_or((word, ""));
            let path = root().join(file);
            assert!(path.exists(), "{}: there is no {file}", page.display());
            let there = test.is_empty() || read(&path).contains(&format!("fn {test}("));
            assert!(there, "{}: there is no test {word}", page.display());
            named += 1;
        }
    }
    assert!(named >= 80, "{named} tests are named");
}

#[test]
fn links_are_found_and_code_is_passed_over() {
    let page = "[a](b.md#c) `[x](y)` [w](https://example.org)\n```\n[n](o)\n```\n[p](../q.md)\n";
    assert_eq!(links(page), ["b.md#c", "../q.md"]);
}

/// Lines of a module that use a module they may not.
fn wrong_uses<'a>(module: &str, text: &'a str) -> Vec<&'a str> {
    let own = floor(module);
    let allowed = |used: &str| match (own, floor(used)) {
        _ if used == module => true,
        // The binaries enter at the roof and at the command line, the fuzz targets everywhere.
        (Some(9), Some(_)) => true,
        _ if used == "cli" => false,
        (Some(own), Some(used)) => used < own || used == 0 && module == "cli",
        _ => false,
    };
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.filter(|line| {
        ["crate", "sysadmd"].iter().any(|root| paths_from(line, root).any(|used| !allowed(used)))
    })
    .collect()
}

/// The modules that paths beginning with `root::` in this line name first.
fn paths_from<'a>(line: &'a str, root: &str) -> impl Iterator<Item = &'a str> {
    let start = format!("{root}::");
    let places: Vec<usize> = line.match_indices(&start).map(|(place, _)| place).collect();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let skip = start.len();
    places
        .into_iter()
        .filter(move |place| !line[..*place].ends_with(is_name))
        .flat_map(move |place| {
            let rest = &line[place + skip..];
            let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
            let heads = group.map_or_else(|| vec![rest], |group| group.split(',').collect());
            heads.into_iter().map(move |head| {
                let head = head.trim();
                &head[..head.find(|c| !is_name(c)).unwrap_or(head.len())]
            })
        })
        .filter(|name| name.starts_with(|c: char| c.is_lowercase()))
}

fn floor(module: &str) -> Option<u8> {
    BTreeMap::from(FLOORS).get(module).copied()
}

/// The first-level module a file of `src` belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("a file of src");
    let first = inside.iter().next().unwrap_or_default().to_string_lossy();
    first.strip_suffix(".rs").unwrap_or(&first).to_owned()
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(place, _)| {
        let is_letter = |c: char| c.is_alphanumeric() || c == '_';
        let front = !line[..place].ends_with(is_letter);
        front && !line[place + word.len()..].starts_with(is_letter)
    })
}

/// Targets of links to files, outside of code.
fn links(page: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let words: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        let targets = words.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(targets.filter(|target| !target.contains(':')).map(str::to_owned));
    }
    found
}

fn sources() -> Vec<PathBuf> {
    ["src", "plugins", "tests"].iter().flat_map(|dir| files(dir, "rs")).collect()
}

/// Files of the tree under this folder that end so; every file for an empty ending.
fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    files_under(&root().join(dir), extension)
}

fn files_under(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        let skipped = SKIPPED.iter().any(|name| path.ends_with(name));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !skipped => found.extend(files_under(&path, extension)),
            Ok(kind) if kind.is_file() => {
                let ends = path.extension().is_some_and(|has| has == extension);
                found.extend((ends || extension.is_empty()).then_some(path));
            }
            _ => {}
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
