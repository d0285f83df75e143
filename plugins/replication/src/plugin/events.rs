//! What the plugin says about what happened. Pure: facts in, drafts out.
//!
//! Messages begin as classic SysAdm clients know them: the date as `date` prints it, a colon, and
//! `Starting replication for X`, `Finished replication for X` or `Replication Failed for X`; while it
//! moves, `Replicating X: done/total (percent%)`.

use chrono::{DateTime, Utc};
use sdk::{ALERT_TEXT_BYTES_MAX, Class, Clear, Draft, Fault, Json, Priority, Raise, Value, json};

use super::words;
use crate::plan::Trouble;
use crate::run::{Basis, Run, State};

/// A run begins.
pub(super) fn started(run: &Run, names: &str, at: DateTime<Utc>) -> Result<Draft, Fault> {
    draft("replication.started", run, &dated(at, &format!("Starting replication for {names}")))
}

/// How far a run is.
pub(super) fn progress(run: &Run) -> Result<Draft, Fault> {
    draft("replication.progress", run, &moved(run))
}

/// How far a run is, in words.
pub(super) fn moved(run: &Run) -> String {
    let done = words::bytes(run.step_done);
    let about = if run.basis == Basis::Estimate { "about " } else { "" };
    let amount = match run.step_total.filter(|total| *total > 0) {
        Some(total) => {
            let percent = u128::from(run.step_done) * 100 / u128::from(total);
            // Of an estimate more may come than was said.
            format!("{done}/{about}{} ({}%)", words::bytes(total), percent.min(100))
        }
        None => done,
    };
    format!("Replicating {}: {amount}", run.dataset_name)
}

/// No byte was moved for a while.
pub(super) fn stalled(run: &Run, seconds: u64) -> Result<Draft, Fault> {
    let text = format!("Replication of {} stands still for {seconds} s", run.dataset_name);
    draft("replication.stalled", run, &text)
}

/// Bytes are moved again.
pub(super) fn resumed(run: &Run) -> Result<Draft, Fault> {
    let at = words::bytes(run.step_done);
    draft(
        "replication.resumed",
        run,
        &format!("Replication of {} moves again at {at}", run.dataset_name),
    )
}

/// It is tried again soon.
pub(super) fn retry(run: &Run, why: &str, seconds: u64) -> Result<Draft, Fault> {
    let text = format!("Replication of {} is tried again in {seconds} s: {why}", run.dataset_name);
    draft("replication.retry", run, &text)
}

/// A run has ended; nothing is said of one that somebody cancelled.
pub(super) fn ended(
    run: &Run,
    names: &str,
    trouble: Option<Trouble>,
    at: DateTime<Utc>,
) -> Option<Result<Draft, Fault>> {
    let reason = run.error.as_ref().map_or("", |error| error.message.as_str());
    let failed = format!("Replication Failed for {names}\n{reason}");
    Some(match (run.state, trouble) {
        (State::Done, _) if run.warnings.is_empty() => {
            let text = format!("Finished replication for {names}");
            draft("replication.finished", run, &dated(at, &text))
        }
        (State::Done, _) => {
            let text = format!("Finished replication for {names}, but {}", run.warnings.join("; "));
            draft("replication.finished_with_warnings", run, &dated(at, &text))
        }
        (State::Conflict, Some(Trouble::NoCommonBase | Trouble::BaseChanged)) => {
            draft("replication.base_lost", run, &dated(at, &failed))
        }
        (State::Conflict, _) => draft("replication.diverged", run, &dated(at, &failed)),
        (State::Failed, _) if is_full(run) => {
            draft("replication.target_full", run, &dated(at, &failed))
        }
        (State::Failed, _) => draft("replication.failed", run, &dated(at, &failed)),
        _ => return None,
    })
}

fn is_full(run: &Run) -> bool {
    run.error.as_ref().is_some_and(|error| error.code == "target-full")
}

/// What is still failing, when a run has ended: whoever shows one line for replication shows this.
pub(super) fn summary(failing: &[Run], tasks: usize) -> Option<Result<Draft, Fault>> {
    let first = failing.first()?;
    let titles: Vec<&str> = failing.iter().take(5).map(|run| run.title.as_str()).collect();
    let text = format!("{} of {tasks} tasks failing: {}", failing.len(), titles.join(", "));
    let conflict = failing.iter().any(|run| run.state == State::Conflict);
    Some(draft("replication.failing", first, &text).map(|mut draft| {
        "/replication/tasks".clone_into(&mut draft.subject);
        draft.priority = Some(Priority::clamped(if conflict { 8 } else { 7 }));
        let tasks: Vec<Value> = failing
            .iter()
            .map(|run| json!({ "task": run.task, "title": run.title, "run": run.id }))
            .collect();
        draft.data = json!({ "type": "replication.failing", "tasks": tasks }).into();
        draft
    }))
}

/// A task that does not do what it should, as an alert.
pub(super) fn alert(run: &Run) -> Result<Raise, Fault> {
    let (kind, priority) = match run.state {
        State::Conflict => ("replication.conflict", 8),
        _ => ("replication.failing", 7),
    };
    let reason = run.error.as_ref().map_or("", |error| error.message.as_str());
    let mut message = format!("Replication \"{}\" fails: {reason}", run.title);
    if message.len() > ALERT_TEXT_BYTES_MAX {
        let end = (0..=ALERT_TEXT_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
    }
    Ok(Raise {
        kind: sdk::class(kind)?,
        subject: subject(run),
        priority: Some(Priority::clamped(priority)),
        message,
        advice: String::new(),
        value: None,
        data: Json::default(),
    })
}

/// The alerts that are over when a task does what it should.
pub(super) fn over(run: &Run) -> Result<[Clear; 2], Fault> {
    let clear = |kind| Ok(Clear { kind: sdk::class(kind)?, subject: subject(run) });
    Ok([clear("replication.failing")?, clear("replication.conflict")?])
}

fn subject(run: &Run) -> String {
    format!("/replication/tasks/{}", run.task)
}

fn draft(class: &str, run: &Run, message: &str) -> Result<Draft, Fault> {
    let class: Class = sdk::class(class)?;
    let mut data = json!(run);
    if let Some(data) = data.as_object_mut() {
        data.insert("type".to_owned(), json!(class.as_str()));
        // What it is of, in the words of every event about a dataset.
        data.insert("run".to_owned(), json!(run.id));
        data.remove("id");
    }
    let mut draft = Draft::new(class);
    draft.subject = subject(run);
    message.clone_into(&mut draft.message);
    draft.data = data.into();
    Ok(draft)
}

/// `Fri Nov 21 22:20:00 UTC 2026: …`.
fn dated(at: DateTime<Utc>, message: &str) -> String {
    format!("{}: {message}", at.format("%a %b %e %H:%M:%S UTC %Y"))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::run::Failure;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_299_600, 0).unwrap()
    }

    fn run(state: State) -> Run {
        let mut run = Run::new(Uuid::nil(), "nightly", ("manual", "local:root"), at());
        run.state = state;
        run.dataset_name = "tank/data".to_owned();
        run
    }

    fn class_of(run: &Run, trouble: Option<Trouble>) -> Option<String> {
        Some(ended(run, "tank/data", trouble, at())?.unwrap().class.to_string())
    }

    #[test]
    fn messages_are_those_that_classic_clients_know() {
        let draft = started(&run(State::Running), "tank/data", at()).unwrap();
        let date = "Sat Nov 21 22:20:00 UTC 2026";
        assert_eq!(draft.message, format!("{date}: Starting replication for tank/data"));
        assert_eq!(draft.subject, format!("/replication/tasks/{}", Uuid::nil()));
        let draft = ended(&run(State::Done), "tank/data", None, at()).unwrap().unwrap();
        assert_eq!(draft.message, format!("{date}: Finished replication for tank/data"));
        let mut failed = run(State::Failed);
        failed.error =
            Some(Failure { code: "failed".to_owned(), message: "No.".to_owned(), hint: None });
        let draft = ended(&failed, "tank/data", None, at()).unwrap().unwrap();
        assert_eq!(draft.message, format!("{date}: Replication Failed for tank/data\nNo."));
    }

    #[test]
    fn progress_has_a_percentage_only_where_a_total_is_known() {
        let mut moving = run(State::Running);
        moving.step_done = 1 << 20;
        assert_eq!(progress(&moving).unwrap().message, "Replicating tank/data: 1.0 MiB");
        (moving.step_total, moving.basis) = (Some(4 << 20), Basis::Exact);
        assert_eq!(moved(&moving), "Replicating tank/data: 1.0 MiB/4.0 MiB (25%)");
        (moving.step_total, moving.basis) = (Some(1 << 19), Basis::Estimate);
        assert_eq!(moved(&moving), "Replicating tank/data: 1.0 MiB/about 512.0 KiB (100%)");
    }

    #[test]
    fn each_end_has_a_class_of_its_own() {
        assert_eq!(class_of(&run(State::Cancelled), None), None);
        let conflict = run(State::Conflict);
        for (trouble, class) in [
            (Trouble::NoCommonBase, "replication.base_lost"),
            (Trouble::BaseChanged, "replication.base_lost"),
            (Trouble::TargetAhead, "replication.diverged"),
        ] {
            assert_eq!(class_of(&conflict, Some(trouble)).as_deref(), Some(class));
        }
        let mut full = run(State::Failed);
        full.error =
            Some(Failure { code: "target-full".to_owned(), message: String::new(), hint: None });
        assert_eq!(class_of(&full, None).as_deref(), Some("replication.target_full"));
        let mut strange = run(State::Done);
        strange.warnings.push("it was strange".to_owned());
        assert_eq!(class_of(&strange, None).as_deref(), Some("replication.finished_with_warnings"));
    }

    #[test]
    fn what_still_fails_is_summed_up() {
        assert!(summary(&[], 5).is_none());
        let two = [run(State::Failed), run(State::Conflict)];
        let draft = summary(&two, 5).unwrap().unwrap();
        assert_eq!(draft.message, "2 of 5 tasks failing: nightly, nightly");
        assert_eq!(draft.priority, Some(Priority::clamped(8)));
        let one = summary(&two[..1], 5).unwrap().unwrap();
        assert_eq!(one.priority, Some(Priority::clamped(7)));
    }
}
