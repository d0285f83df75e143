//! What is found and what can be done, in words for people.

use sdk::{Value, json};
use snapshot::backend::Kind;

use crate::plan::{Conflict, Trouble};

/// Names that are told of a longer list.
const NAMES_MAX: usize = 5;

/// What was found.
pub(crate) fn found(conflict: &Conflict) -> String {
    let names = named(&conflict.snapshots);
    match conflict.trouble {
        Trouble::NoCommonBase => format!(
            "The target has snapshots of this dataset ({names}), and none of them still exists here"
        ),
        Trouble::BaseChanged => {
            format!("Here {names} was made writable and changed after it had been copied")
        }
        Trouble::TargetAhead => {
            format!("At the target snapshots were made after the last copy: {names}")
        }
        Trouble::NameTaken => {
            format!("The target has other snapshots of the names to be sent: {names}")
        }
        Trouble::TargetModified => {
            format!(
                "At the target files were changed after the last copy ({names}), or a newer copy \
                 was destroyed there"
            )
        }
        Trouble::NothingThere => {
            "Nothing is at the target, and the task does not send whole snapshots".to_owned()
        }
    }
}

/// What somebody can decide: the word for `replication/resolve`, and what it does. `by-hand` is for
/// people only.
pub(crate) fn solutions(kind: Kind, trouble: Trouble) -> Vec<Value> {
    let choice = |word: &str, text: &str| json!({ "choice": word, "does": text });
    let mut choices = Vec::new();
    match kind {
        Kind::Tree => choices.push(choice(
            "send-again",
            "Sends the newest snapshot whole, beside what is there; what is the same is stored once",
        )),
        Kind::Zfs | Kind::Btrfs => choices.push(choice(
            "new-generation",
            "Begins anew in a place of its own beside the old one, which stays as it is",
        )),
    }
    match (kind, trouble) {
        (Kind::Zfs, Trouble::TargetAhead | Trouble::TargetModified | Trouble::NameTaken) => {
            choices.push(choice(
                "by-hand",
                "Keep what is newer at the target with `zfs clone`, then `zfs rollback` it to the \
                 last copy; this destroys what is newer, so sysadmd does not do it",
            ));
        }
        (_, Trouble::NothingThere) => choices.push(choice(
            "by-hand",
            "Bring a first copy to the target, or let the task send one with `initial`",
        )),
        _ => {}
    }
    choices
}

/// Some names in a row.
fn named(names: &[String]) -> String {
    let mut text = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_MAX {
        text = format!("{text} and {} more", names.len() - NAMES_MAX);
    }
    text
}

/// Bytes as people read them, such as `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = usize::try_from(bytes.ilog2() / 10).unwrap_or(1);
    let unit = UNITS.get(power - 1).copied().unwrap_or("EiB");
    let tenths = u128::from(bytes) * 10 / (1_u128 << (10 * power));
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_words_and_a_way_out() {
        for trouble in [
            Trouble::NoCommonBase,
            Trouble::BaseChanged,
            Trouble::TargetAhead,
            Trouble::NameTaken,
            Trouble::TargetModified,
            Trouble::NothingThere,
        ] {
            let snapshots = (0..9).map(|number| format!("s{number}")).collect();
            let text = found(&Conflict { trouble, snapshots });
            assert!(!text.is_empty() && !text.contains("s5"), "{text}");
            for kind in [Kind::Zfs, Kind::Btrfs, Kind::Tree] {
                assert!(!solutions(kind, trouble).is_empty());
            }
        }
    }

    #[test]
    fn figures_are_short() {
        for (figure, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (10 << 20, "10.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(figure), shown);
        }
    }
}
