//! Which datasets a selection means. Pure.

use glob::{MatchOptions, Pattern};

use super::model::Selection;
use crate::backend::{Dataset, Error, Result};

/// Longest pattern in bytes: what a path has at most.
const PATTERN_BYTES_MAX: usize = 4096;

/// `*` stays within one part of a name, and a dot is a character like any other.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Refuses what is no pattern.
///
/// # Errors
/// Where it is wrong.
pub fn check(text: &str) -> Result<()> {
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(Error::bad_request(format!(
            "A pattern for datasets has 1 to {PATTERN_BYTES_MAX} bytes."
        )));
    }
    Pattern::new(text).map(drop).map_err(|error| {
        Error::bad_request(format!(
            "\"{}\" is no pattern for datasets: {} at character {}. A dataset's id always works.",
            text.escape_debug(),
            error.msg,
            error.pos
        ))
    })
}

/// Of what a snapshot is to be taken: the selected datasets. With `recursive` those below another
/// selected one come with it and are left out here.
pub fn tops<'a>(selection: &Selection, all: &'a [Dataset]) -> Vec<&'a Dataset> {
    let chosen: Vec<&Dataset> = all.iter().filter(|dataset| is_meant(selection, dataset)).collect();
    let covered = |dataset: &&&Dataset| {
        selection.recursive && chosen.iter().any(|above| is_below(dataset, above))
    };
    chosen.iter().filter(|dataset| !covered(dataset)).copied().collect()
}

/// Of what the policy can have snapshots: the selected datasets, and with `recursive` what lies
/// below them.
pub fn reached<'a>(selection: &Selection, all: &'a [Dataset]) -> Vec<&'a Dataset> {
    let tops = tops(selection, all);
    let is_reached = |dataset: &&Dataset| {
        tops.iter().any(|top| top.id == dataset.id || selection.recursive && is_below(dataset, top))
    };
    all.iter().filter(is_reached).collect()
}

fn is_meant(selection: &Selection, dataset: &Dataset) -> bool {
    let one_of = |list: &[String]| list.iter().any(|text| matches(text, dataset));
    one_of(&selection.include) && !one_of(&selection.exclude)
}

/// An id and a name mean what they say, also when they hold what a pattern would read otherwise.
fn matches(text: &str, dataset: &Dataset) -> bool {
    text == dataset.id.as_str()
        || text == dataset.name
        || Pattern::new(text).is_ok_and(|pattern| pattern.matches_with(&dataset.name, OPTIONS))
}

fn is_below(dataset: &Dataset, above: &Dataset) -> bool {
    let rest = dataset.name.strip_prefix(above.name.as_str());
    // The root's name ends in a slash already.
    let below = |rest: &str| rest.starts_with('/') || above.name.ends_with('/') && !rest.is_empty();
    dataset.kind == above.kind && dataset.pool == above.pool && rest.is_some_and(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{DatasetId, Kind};

    fn datasets(names: &[&str]) -> Vec<Dataset> {
        let dataset = |(name, number): (&&str, u32)| Dataset {
            id: format!("zfs:1:{number}").parse::<DatasetId>().unwrap(),
            kind: Kind::Zfs,
            name: (*name).to_owned(),
            pool: "tank".to_owned(),
            mount: None,
            used: None,
            available: None,
            referenced: None,
        };
        names.iter().zip(0..).map(dataset).collect()
    }

    fn chosen(include: &[&str], exclude: &[&str], recursive: bool, all: &[&str]) -> Vec<String> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let selection = Selection { include: texts(include), exclude: texts(exclude), recursive };
        let all = datasets(all);
        tops(&selection, &all).iter().map(|dataset| dataset.name.clone()).collect()
    }

    const ALL: [&str; 5] = ["tank", "tank/a", "tank/a/b", "tank/ab", "tank/.hidden"];

    #[test]
    fn patterns_stay_within_a_part_unless_told_otherwise() {
        assert_eq!(chosen(&["tank/*"], &[], false, &ALL), ["tank/a", "tank/ab", "tank/.hidden"]);
        assert_eq!(chosen(&["tank/**"], &["tank/a*"], false, &ALL), ["tank/a/b", "tank/.hidden"]);
        assert_eq!(chosen(&["zfs:1:0"], &[], false, &ALL), ["tank"]);
        assert_eq!(
            chosen(&["**"], &["**/b"], false, &ALL),
            ["tank", "tank/a", "tank/ab", "tank/.hidden"]
        );
    }

    #[test]
    fn a_name_means_itself_whatever_is_in_it() {
        assert_eq!(
            chosen(&["/srv/[x]"], &[], false, &["/srv/[x]", "/srv/x"]),
            ["/srv/[x]", "/srv/x"]
        );
        assert_eq!(chosen(&["/"], &[], true, &["/", "/srv"]), ["/"]);
    }

    #[test]
    fn what_comes_with_another_is_not_taken_twice() {
        assert_eq!(chosen(&["tank/**"], &[], true, &ALL), ["tank/a", "tank/ab", "tank/.hidden"]);
        let selection =
            Selection { include: vec!["tank/a".to_owned()], exclude: Vec::new(), recursive: true };
        let all = datasets(&ALL);
        let names: Vec<&str> =
            reached(&selection, &all).iter().map(|dataset| dataset.name.as_str()).collect();
        assert_eq!(names, ["tank/a", "tank/a/b"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "a***", "a[", &"x".repeat(5000)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
