//! What the ZFS tools print, read. Pure: text in, facts out.
//!
//! Columns are separated by one TAB and nothing else; names may hold spaces. A user property's value
//! may hold TABs and newlines, so only our own properties are asked for, and an answer that does not
//! have the expected number of columns in every line is refused as a whole: a half-read list must
//! never look like a short one.

use std::collections::BTreeMap;

use super::super::error::{Error, Result};

/// A property's value and where it comes from (`local`, `received`, `inherited from …`, `-`).
pub type Property = (String, String);

/// The lines of an answer, each of exactly `N` columns.
pub fn rows<const N: usize>(output: &str) -> Result<Vec<[&str; N]>> {
    let row = |line| -> Option<[&str; N]> {
        let columns: Vec<&str> = str::split(line, '\t').collect();
        columns.try_into().ok()
    };
    output.lines().map(|line| row(line).ok_or_else(|| unexpected(line))).collect()
}

/// The answer of `zfs get -Hp -o name,property,value,source`, by name and property.
pub fn properties(output: &str) -> Result<BTreeMap<String, BTreeMap<String, Property>>> {
    let mut all: BTreeMap<String, BTreeMap<String, Property>> = BTreeMap::new();
    for [name, property, value, source] in rows(output)? {
        all.entry(name.to_owned())
            .or_default()
            .insert(property.to_owned(), (value.to_owned(), source.to_owned()));
    }
    Ok(all)
}

/// Bytes of a figure like `1.98G`, `444K` or `3145728`; what is not one counts as 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rounded figure with three digits is what the tool gave"
)]
pub fn bytes(figure: &str) -> u64 {
    let digits = figure.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = figure.get(digits.len()..).and_then(|suffix| suffix.chars().next());
    let shift = unit.and_then(|unit| "BKMGTPEZ".find(unit)).unwrap_or(0);
    if shift == 0 {
        return digits.parse().unwrap_or(0);
    }
    let factor = (1_u128 << (10 * shift)) as f64;
    digits.parse::<f64>().map_or(0, |value| (value * factor) as u64)
}

/// The option letters of the usage line of `command`, such as `send:R` from `send [-RDp] …`.
pub fn options(command: &str, usage: &str) -> Vec<String> {
    let mut letters: Vec<char> = Vec::new();
    for line in usage.lines().map(str::trim) {
        let Some(rest) = line.strip_prefix(command).filter(|rest| rest.starts_with(' ')) else {
            continue;
        };
        for group in rest.split('[').filter_map(|part| part.strip_prefix('-')) {
            let end = group.find([']', ' ']).unwrap_or(group.len());
            let group = group.get(..end).unwrap_or_default();
            // `-DLPVbcehnpsvw|--long`: the letters before the first alternative are flags.
            let flags = group.split('|').next().unwrap_or_default();
            letters.extend(flags.chars().filter(char::is_ascii_alphanumeric));
        }
    }
    letters.sort_unstable();
    letters.dedup();
    letters.into_iter().map(|letter| format!("{command}:{letter}")).collect()
}

/// A tool's complaint as an error. `what` fits "Could not …". Only the first line is shown to the
/// asker: the rest of a usage error is seventy lines of help.
pub fn complaint(what: &str, text: &str) -> Error {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    let lower = text.to_lowercase();
    let said = |words: &str| lower.contains(words);
    let error = if said("dataset already exists") {
        Error::exists(format!("Could not {what}: it exists already. Choose another name."))
    } else if said("dataset does not exist") {
        Error::not_found(format!("Could not {what}: it does not exist (any more)."))
    } else if said("dataset is busy") {
        Error::busy(format!("Could not {what}: it is held or in use. Release it first."))
    } else if said("has dependent clones") {
        Error::busy(format!("Could not {what}: a clone depends on it. Destroy the clone first."))
    } else if said("permission denied") {
        Error::unavailable(format!("Could not {what}: ZFS does not allow it to the daemon's user."))
    } else if said("failed to initialize") || said("connection refused") || said("not loaded") {
        Error::unavailable(format!(
            "Could not {what}: ZFS does not run. Load its kernel module or start zfs-fuse."
        ))
    } else if said("out of space") {
        Error::failed(format!("Could not {what}: the pool is full. Destroy old snapshots."))
    } else if said("too long") || said("invalid character") {
        Error::bad_request(format!("Could not {what}: ZFS does not take that name ({first})."))
    } else {
        Error::failed(format!("Could not {what}: ZFS says \"{first}\"."))
    };
    error.because(text.chars().take(2000).collect::<String>())
}

fn unexpected(line: &str) -> Error {
    Error::failed("ZFS gave an answer in an unexpected form, so nothing is done.")
        .because(format!("unexpected line: {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ErrorKind;
    use super::*;

    // Recorded from zfs-fuse 0.7.0 and from OpenZFS's usage texts.
    const GET: &str = "lab/sp ace@a b\tguid\t17336906483308657329\t-\n\
        lab/sp ace@a b\torg.sysadm:policy\tmanual\tlocal\n\
        lab/child\torg.sysadm:policy\tweekly\tinherited from lab/sp ace\n";

    #[test]
    fn names_with_spaces_stay_whole_and_sources_tell_owners() {
        let all = properties(GET).unwrap();
        assert_eq!(all["lab/sp ace@a b"]["guid"].0, "17336906483308657329");
        assert_eq!(all["lab/sp ace@a b"]["org.sysadm:policy"].1, "local");
        assert_eq!(all["lab/child"]["org.sysadm:policy"].1, "inherited from lab/sp ace");
    }

    #[test]
    fn a_line_too_many_or_too_few_columns_refuses_all() {
        for odd in ["a\tb\tc\n", "a\tb\tc\td\te\n", "\n"] {
            assert!(properties(&format!("{GET}{odd}")).is_err());
        }
    }

    #[test]
    fn figures_are_read_in_every_unit() {
        assert_eq!(bytes("444K"), 444 << 10);
        assert_eq!(bytes("1.5G"), 3 << 29);
        assert_eq!(bytes("3145728"), 3_145_728);
        assert_eq!(bytes("0"), 0);
        assert_eq!(bytes("-"), 0);
    }

    #[test]
    fn usage_lines_tell_options() {
        let old = "usage:\n\tsend [-RDp] [-[iI] snapshot] <snapshot>\n";
        assert_eq!(options("send", old), ["send:D", "send:R", "send:p"]);
        let new = "usage:\n\tsend [-DLPbcehnpsVvw] [-i|-I snapshot] <snapshot>\n\
            \tsend [-nVvPe] -t <receive_resume_token>\n";
        assert!(options("send", new).contains(&"send:w".to_owned()));
        let receive = "\treceive [-vnF] <filesystem>\n\treceive [-vnF] -d <filesystem>\n";
        assert_eq!(options("receive", receive), ["receive:F", "receive:n", "receive:v"]);
    }

    #[test]
    fn complaints_become_kinds() {
        for (text, kind) in [
            ("cannot create snapshot 'P@s': dataset already exists", ErrorKind::AlreadyExists),
            ("cannot open 'P': dataset does not exist", ErrorKind::NotFound),
            ("cannot destroy 'P@s': dataset is busy", ErrorKind::Busy),
            ("cannot destroy 'P@s': snapshot has dependent clones\nP2", ErrorKind::Busy),
            ("connect: Connection refused\nPlease make sure", ErrorKind::Unavailable),
            ("Permission denied the ZFS utilities must be run as root.", ErrorKind::Unavailable),
            ("The ZFS modules are not loaded.\nTry running modprobe", ErrorKind::Unavailable),
            ("something else", ErrorKind::Failed),
        ] {
            assert_eq!(complaint("do it", text).kind(), kind, "{text}");
        }
    }
}
