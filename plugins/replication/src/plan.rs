//! What is to be sent: a pure function of the snapshots here and there.
//!
//! Snapshots are compared by what the storage itself calls them, never by name, and ordered as the
//! storage orders them, never by clock. Nothing that this function answers destroys anything: where
//! the two sides do not fit, it says how.

use serde::{Deserialize, Serialize};

/// A snapshot of the dataset that is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// What it is called here by the storage: half of a snapshot's id.
    pub identity: String,
    /// What its copies say they are a copy of.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Where the storage counts changes: when it was last changed.
    pub changed: Option<u64>,
    /// Whether it was made by this project.
    pub ours: bool,
    /// The label given at creation.
    pub label: Option<String>,
    /// Bytes of its content, when the storage knows that.
    pub size: Option<u64>,
}

/// A snapshot at the target, in the place of the dataset that is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// What it is called there by the storage.
    pub identity: String,
    /// What it is a copy of; of what somebody made there, its own identity or nothing.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Where the storage counts changes: when its original had last been changed.
    pub changed: Option<u64>,
}

/// What to do when nothing is at the target yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// Send the newest snapshot.
    #[default]
    Latest,
    /// Send all there are, beginning with the oldest.
    All,
    /// Send nothing: the target is expected to have a base.
    Fail,
}

/// Which snapshots between the last common one and the newest are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intermediate {
    /// All, one step for each: a step that breaks off loses little.
    #[default]
    All,
    /// None: one step to the newest.
    Latest,
}

/// What the task and the storage ask for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// When nothing is at the target yet.
    pub initial: Initial,
    /// Between the last common snapshot and the newest.
    pub intermediate: Intermediate,
    /// The base must be the newest snapshot at the target (ZFS).
    pub tip: bool,
    /// A name can be there only once, and copies keep theirs (ZFS).
    pub names: bool,
    /// Somebody has decided that all may be sent again although copies are there.
    pub again: bool,
}

/// One snapshot to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The snapshot it is sent as the difference to; none: whole.
    pub from: Option<Original>,
    /// The snapshot.
    pub to: Original,
}

/// Why nothing can be sent without somebody's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// There are copies, and none of a snapshot that still exists.
    NoCommonBase,
    /// The last common snapshot was made writable here and changed after it was sent.
    BaseChanged,
    /// Snapshots were made at the target after the last common one.
    TargetAhead,
    /// The target has other snapshots of the names to be sent.
    NameTaken,
    /// The target's files were changed after the last common snapshot.
    TargetModified,
    /// Nothing is at the target, and the task does not send whole snapshots.
    NothingThere,
}

/// A target that does not fit its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// What was found.
    pub trouble: Trouble,
    /// The names of the snapshots it is about.
    pub snapshots: Vec<String>,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outlook {
    /// The target has the newest snapshot.
    Current,
    /// There is no snapshot to send.
    Empty,
    /// These are to be sent, in this order.
    Steps(Vec<Step>),
    /// Somebody has to decide.
    Conflict(Conflict),
}

/// What is to be sent of `originals`, of which `wanted` are meant, to a target that has `copies`.
/// Both are in the storage's own order, oldest first.
pub fn plan(
    originals: &[Original],
    copies: &[Copied],
    wanted: &dyn Fn(&Original) -> bool,
    rules: Rules,
) -> Outlook {
    let newest = originals.iter().rposition(|original| copy_of(original, copies).is_some());
    let Some(newest) = newest else { return begin(originals, copies, wanted, rules) };
    let base = originals.get(newest);
    let newer = originals.iter().skip(newest + 1);
    let todo: Vec<&Original> = newer.filter(|original| wanted(original)).collect();
    if todo.is_empty() {
        return Outlook::Current;
    }
    if rules.tip {
        let at = copies.iter().rposition(|copy| base.is_some_and(|base| fits(base, copy)));
        let after = copies.iter().skip(at.map_or(0, |at| at + 1));
        let ahead: Vec<String> = after.map(|copy| copy.name.clone()).collect();
        if !ahead.is_empty() {
            return conflict(Trouble::TargetAhead, ahead);
        }
    }
    chain(base, &todo, copies, rules)
}

/// The newest snapshot that both sides have: what the next step is the difference to.
pub fn base<'a>(
    originals: &'a [Original],
    copies: &'a [Copied],
) -> Option<(&'a Original, &'a Copied)> {
    originals.iter().rev().find_map(|original| Some((original, copy_of(original, copies)?)))
}

/// The first copy of a dataset, or why there can be none.
fn begin(
    originals: &[Original],
    copies: &[Copied],
    wanted: &dyn Fn(&Original) -> bool,
    rules: Rules,
) -> Outlook {
    let all: Vec<&Original> = originals.iter().filter(|original| wanted(original)).collect();
    let Some(newest) = all.last() else { return Outlook::Empty };
    if !copies.is_empty() && !rules.again {
        let known = |original: &&Original| copies.iter().any(|copy| copy.key == original.key);
        let changed: Vec<String> =
            originals.iter().filter(known).map(|original| original.name.clone()).collect();
        if changed.is_empty() {
            let names = copies.iter().map(|copy| copy.name.clone()).collect();
            return conflict(Trouble::NoCommonBase, names);
        }
        return conflict(Trouble::BaseChanged, changed);
    }
    match rules.initial {
        Initial::Latest => chain(None, &[newest], copies, rules),
        Initial::All => {
            chain(None, &all, copies, Rules { intermediate: Intermediate::All, ..rules })
        }
        Initial::Fail => conflict(Trouble::NothingThere, Vec::new()),
    }
}

fn chain(base: Option<&Original>, todo: &[&Original], copies: &[Copied], rules: Rules) -> Outlook {
    let first = match rules.intermediate {
        Intermediate::All => 0,
        Intermediate::Latest => todo.len().saturating_sub(1),
    };
    let todo = todo.get(first..).unwrap_or_default();
    if rules.names {
        let taken = |original: &&&Original| copies.iter().any(|copy| copy.name == original.name);
        let taken: Vec<String> = todo.iter().filter(taken).map(|one| one.name.clone()).collect();
        if !taken.is_empty() {
            return conflict(Trouble::NameTaken, taken);
        }
    }
    let froms = std::iter::once(base).chain(todo.iter().map(|original| Some(*original)));
    let steps = froms.zip(todo).map(|(from, to)| Step { from: from.cloned(), to: (*to).clone() });
    Outlook::Steps(steps.collect())
}

fn conflict(trouble: Trouble, snapshots: Vec<String>) -> Outlook {
    Outlook::Conflict(Conflict { trouble, snapshots })
}

/// The sound copy of a snapshot, if there is one.
pub fn copy_of<'a>(original: &Original, copies: &'a [Copied]) -> Option<&'a Copied> {
    copies.iter().find(|copy| fits(original, copy))
}

/// Whether what is there was made from what is here now.
fn fits(original: &Original, copy: &Copied) -> bool {
    let unchanged = match (original.changed, copy.changed) {
        (Some(here), Some(there)) => here == there,
        _ => true,
    };
    original.key == copy.key && unchanged
}

#[cfg(test)]
mod tests;
