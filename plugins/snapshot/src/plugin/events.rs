//! What the plugin says about what happened. Pure: facts in, drafts out.
//!
//! Messages begin as classic SysAdm clients know them: the date as `date` prints it, a colon, and
//! for a new snapshot `New snapshot of X`.

use chrono::{DateTime, Utc};
use sdk::{Class, Draft, Fault, Priority, Value, json};

use crate::backend::{Consistency, Dataset, Error, ErrorKind, Snapshot};

/// From this failure in a row on a dataset's failures are more urgent.
const STUBBORN: u32 = 3;

/// Who did what when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub(super) at: DateTime<Utc>,
    /// Who asked, such as `local:root`.
    pub(super) actor: &'a str,
}

/// A snapshot exists and is durable.
pub(super) fn created(
    on: Occasion<'_>,
    dataset: &Dataset,
    snapshot: &Snapshot,
) -> Result<Draft, Fault> {
    let message = format!("New snapshot of {}", dataset.name);
    draft(on, "snapshot.created", dataset, &message, &described(on, snapshot))
}

/// A snapshot was destroyed.
pub(super) fn destroyed(
    on: Occasion<'_>,
    dataset: &Dataset,
    snapshot: &Snapshot,
) -> Result<Draft, Fault> {
    let message = format!("Destroyed snapshot {} of {}", snapshot.name, dataset.name);
    draft(on, "snapshot.destroyed", dataset, &message, &described(on, snapshot))
}

/// A snapshot exists, and some of its files are not what they should be; nothing when all are.
pub(super) fn torn(
    on: Occasion<'_>,
    dataset: &Dataset,
    snapshot: &Snapshot,
) -> Option<Result<Draft, Fault>> {
    let Consistency::PerFile { torn, unread } = snapshot.consistency else { return None };
    if torn == 0 && unread == 0 {
        return None;
    }
    let mut parts = Vec::new();
    if torn > 0 {
        parts.push(format!("{torn} changed while being read"));
    }
    if unread > 0 {
        parts.push(format!("{unread} could not be read"));
    }
    let message = format!(
        "Snapshot {} of {} is not complete: of its files {}",
        snapshot.name,
        dataset.name,
        parts.join(" and ")
    );
    let mut data = described(on, snapshot);
    merge(&mut data, &json!({ "torn": torn, "unread": unread }));
    Some(draft(on, "snapshot.torn", dataset, &message, &data))
}

/// Whether an error is worth an event: the dataset was there to be asked for, and nobody but the
/// machine is at fault. What the asker did wrong is only told to the asker.
pub(super) fn is_failure(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Failed | ErrorKind::Unavailable | ErrorKind::NotFound)
}

/// A snapshot could not be taken, for the `row`th time in a row.
pub(super) fn failed(
    on: Occasion<'_>,
    dataset: &Dataset,
    error: &Error,
    row: u32,
) -> Result<Draft, Fault> {
    let code = match error.kind() {
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::NotFound => "not-found",
        _ => "failed",
    };
    let message = format!("Snapshot of {} failed: {error}", dataset.name);
    let data = json!({
        "code": code,
        "error": error.to_string(),
        "in_a_row": row,
        "actor": on.actor,
    });
    let mut draft = draft(on, "snapshot.failed", dataset, &message, &data)?;
    draft.priority = Some(Priority::clamped(if row >= STUBBORN { 7 } else { 6 }));
    Ok(draft)
}

fn draft(
    on: Occasion<'_>,
    class: &str,
    dataset: &Dataset,
    message: &str,
    more: &Value,
) -> Result<Draft, Fault> {
    let class: Class = sdk::class(class)?;
    let mut data = json!({
        "type": class.as_str(),
        "dataset": dataset.id,
        "dataset_name": dataset.name,
        "backend": dataset.kind,
        "pool": dataset.pool,
    });
    merge(&mut data, more);
    let mut draft = Draft::new(class);
    draft.subject = format!("/datasets/{}", dataset.id);
    draft.message = format!("{}: {message}", unix_date(on.at));
    draft.data = data.into();
    Ok(draft)
}

fn described(on: Occasion<'_>, snapshot: &Snapshot) -> Value {
    let mut data = json!({
        "snapshot": snapshot.id,
        "name": snapshot.name,
        "created": snapshot.created,
        "state": snapshot.state,
        "consistency": snapshot.consistency,
        "label": snapshot.label,
        "comment": snapshot.comment,
        "size": snapshot.size,
        "actor": on.actor,
    });
    if let Some(mark) = &snapshot.mark {
        merge(&mut data, &json!(mark));
    }
    data
}

/// Adds the members of one object to another.
pub(super) fn merge(into: &mut Value, more: &Value) {
    if let (Some(into), Some(more)) = (into.as_object_mut(), more.as_object()) {
        into.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// `Fri Nov 21 22:20:00 UTC 2026`.
pub(super) fn unix_date(at: DateTime<Utc>) -> String {
    at.format("%a %b %e %H:%M:%S UTC %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{DatasetId, Kind, Owner, SnapshotId, SnapshotState};

    fn on() -> Occasion<'static> {
        let at = DateTime::from_timestamp(1_795_299_600, 0).unwrap();
        Occasion { at, actor: "local:root" }
    }

    fn dataset() -> Dataset {
        Dataset {
            id: "zfs:1:2".parse::<DatasetId>().unwrap(),
            kind: Kind::Zfs,
            name: "tank/data".to_owned(),
            pool: "tank".to_owned(),
            mount: None,
            used: None,
            available: None,
            referenced: None,
        }
    }

    fn snapshot(consistency: Consistency) -> Snapshot {
        Snapshot {
            id: "zfs:1:2@3".parse::<SnapshotId>().unwrap(),
            dataset: dataset().id,
            name: "before".to_owned(),
            order: 1,
            created: on().at,
            owner: Owner::Ours,
            label: None,
            comment: None,
            mark: None,
            state: SnapshotState::Complete,
            consistency,
            size: Some(5),
        }
    }

    #[test]
    fn a_new_snapshot_is_told_as_classic_clients_know_it() {
        let draft = created(on(), &dataset(), &snapshot(Consistency::Atomic)).unwrap();
        assert_eq!(draft.message, "Sat Nov 21 22:20:00 UTC 2026: New snapshot of tank/data");
        assert_eq!(draft.subject, "/datasets/zfs:1:2");
        let data: Value = draft.data.read().unwrap();
        assert_eq!(data["snapshot"], "zfs:1:2@3");
        assert_eq!(data["consistency"]["kind"], "atomic");
        assert_eq!(data["actor"], "local:root");
        assert!(torn(on(), &dataset(), &snapshot(Consistency::Atomic)).is_none());
    }

    #[test]
    fn torn_files_are_counted_in_words_and_numbers() {
        let whole = Consistency::PerFile { torn: 0, unread: 0 };
        assert!(torn(on(), &dataset(), &snapshot(whole)).is_none());
        let some = Consistency::PerFile { torn: 2, unread: 1 };
        let draft = torn(on(), &dataset(), &snapshot(some)).unwrap().unwrap();
        assert!(draft.message.contains("2 changed") && draft.message.contains("1 could not"));
        let data: Value = draft.data.read().unwrap();
        assert_eq!((&data["torn"], &data["unread"]), (&json!(2), &json!(1)));
    }

    #[test]
    fn the_third_failure_in_a_row_is_more_urgent() {
        let error = Error::new(ErrorKind::Failed, "No space.");
        let priority = |row| failed(on(), &dataset(), &error, row).unwrap().priority;
        assert_eq!(priority(1), Some(Priority::clamped(6)));
        assert_eq!(priority(2), Some(Priority::clamped(6)));
        assert_eq!(priority(3), Some(Priority::clamped(7)));
    }
}
