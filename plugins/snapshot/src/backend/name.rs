//! Snapshot names: what is allowed, and what ours look like.
//!
//! A generated name is `sysadm-<UTC yyyymmddThhmmssZ>-<label>-<4 hex>`. UTC, so that no clock change
//! can make two of them meet; four random hex digits, so that two in one second do not. The allowed
//! characters are those every back end takes.

use chrono::{DateTime, Utc};

use super::error::{Error, Result};

/// Longest snapshot name in bytes. ZFS takes 255 for dataset and snapshot together, so this leaves
/// half of it to the dataset.
pub const MAX_NAME: usize = 128;
/// Longest label in bytes.
pub const MAX_LABEL: usize = 64;
/// Longest comment in bytes: as Base64 it must fit the 1024 bytes of an old ZFS user property.
pub const MAX_COMMENT: usize = 512;

/// The name of a snapshot taken `at` with `label`; `salt` is random. The label must have passed
/// [`check_label`].
pub fn generate(at: DateTime<Utc>, label: &str, salt: u16) -> String {
    format!("sysadm-{}-{label}-{salt:04x}", at.format("%Y%m%dT%H%M%SZ"))
}

/// Refuses a snapshot name some back end could not hold, or that could be taken for an option or a
/// hidden file.
pub fn check_name(name: &str) -> Result<()> {
    check("snapshot name", name, MAX_NAME)
}

/// Refuses a label that could not be part of a name.
pub fn check_label(label: &str) -> Result<()> {
    check("label", label, MAX_LABEL)
}

/// Refuses a comment that is too long or holds control characters (old clients show it in one line).
pub fn check_comment(comment: &str) -> Result<()> {
    if comment.len() > MAX_COMMENT || comment.chars().any(char::is_control) {
        return Err(Error::bad_request(format!(
            "A snapshot comment is one line of at most {MAX_COMMENT} bytes."
        )));
    }
    Ok(())
}

/// Checks everything a caller chose about a new snapshot and returns the name it will have.
pub fn settle(new: &super::NewSnapshot) -> Result<String> {
    check_label(&new.label)?;
    if let Some(comment) = &new.comment {
        check_comment(comment)?;
    }
    if let Some(name) = &new.name {
        check_name(name)?;
        return Ok(name.clone());
    }
    let mut salt = [0_u8; 2];
    getrandom::fill(&mut salt)
        .map_err(|cause| Error::failed("The kernel gave no random numbers.").because(cause))?;
    Ok(generate(new.at, &new.label, u16::from_be_bytes(salt)))
}

fn check(what: &str, text: &str, max: usize) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    if text.is_empty()
        || text.len() > max
        || text.starts_with(['-', '.'])
        || !text.bytes().all(allowed)
    {
        return Err(Error::bad_request(format!(
            "A {what} has 1 to {max} characters of A-Z a-z 0-9 . _ : - and does not begin with \
             - or a dot."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_follows_the_grammar() {
        let at = DateTime::from_timestamp(1_795_297_689, 0).unwrap();
        let name = generate(at, "nightly", 0xbe);
        assert_eq!(name, "sysadm-20261121T214809Z-nightly-00be");
        check_name(&name).unwrap();
        let longest = generate(at, &"x".repeat(MAX_LABEL), 0);
        assert!(longest.len() <= MAX_NAME);
    }

    #[test]
    fn names_that_some_back_end_could_not_hold_are_refused() {
        for bad in ["", "-r", ".", "..", ".x", "a b", "a/b", "a@b", "a%b", "ä", "a\nb", "a\0"] {
            assert!(check_name(bad).is_err(), "{bad:?} was taken");
            assert!(check_label(bad).is_err(), "{bad:?} was taken");
        }
        assert!(check_name(&"x".repeat(MAX_NAME + 1)).is_err());
        for good in ["a", "2026-01-01", "before:upgrade_1.2", "A"] {
            check_name(good).unwrap();
        }
    }
}
