//! What other tools are told that packages hold, against the list that packages are built from.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

/// Source, destination, mode in octal, whether it is the administrator's own.
type Asset = (String, String, u32, bool);

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn mode(text: &str) -> u32 {
    u32::from_str_radix(text, 8).expect("octal digits")
}

/// The list, as far as it is about this kind of package, with sources as cargo's tools know them.
fn listed(kind: &str) -> Vec<Asset> {
    let list = read("packaging/assets");
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let assets = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [source, place, octal, what] = words[..] else { panic!("not four words: {line}") };
        let (what, only) = what.split_once('-').unwrap_or((what, kind));
        let end = if source.ends_with('*') { "/" } else { "" };
        let source = source.strip_prefix("BIN/").map_or_else(
            || source.replacen("MADE/", "target/packages/made/", 1),
            |program| format!("target/release/{program}"),
        );
        let asset = (source, format!("{place}{end}"), mode(octal), what == "config");
        (only == kind).then_some(asset)
    });
    assets.collect()
}

fn told(tool: &str) -> Table {
    let manifest: Table = read("Cargo.toml").parse().expect("TOML");
    let told = &manifest["package"]["metadata"][tool];
    told.as_table().expect("a table").clone()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn cargo_deb_is_told_what_the_list_says() {
    let told = told("deb");
    let own: Vec<&str> = told["conf-files"].as_array().expect("a list").iter().map(text).collect();
    let assets = told["assets"].as_array().expect("a list").iter().map(|asset| {
        let place = format!("/{}", text(&asset[1]));
        let is_own = own.contains(&place.as_str());
        (text(&asset[0]).to_owned(), place, mode(text(&asset[2])), is_own)
    });
    assert_eq!(assets.collect::<Vec<_>>(), listed("deb"));
}

#[test]
fn cargo_generate_rpm_is_told_what_the_list_says() {
    let told = told("generate-rpm");
    let assets = told["assets"].as_array().expect("a list").iter().map(|asset| {
        let [source, place] = ["source", "dest"].map(|name| text(&asset[name]).to_owned());
        let is_own = asset.get("config").is_some_and(|it| text(it) == "noreplace");
        (source, place, mode(text(&asset["mode"])), is_own)
    });
    assert_eq!(assets.collect::<Vec<_>>(), listed("rpm"));
}
