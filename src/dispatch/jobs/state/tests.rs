use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::FaultKind;
use serde_json::{Value, json};

use super::*;

fn job(number: u128) -> Job {
    Job {
        id: Uuid::from_u128(number),
        state: State::Queued,
        method: "a/b".to_owned(),
        action: None,
        resource: None,
        process_id: None,
        actor: "local:root".to_owned(),
        role: Role::Viewer,
        key: None,
        queue: None,
        locks: Vec::new(),
        created: Time::from_micros(1),
        started: None,
        ended: None,
        abort_asked: false,
        resumable: false,
        attempt: 1,
        retry_of: None,
        progress: None,
        log_bytes: 0,
        error: None,
    }
}

fn fault() -> Fault {
    Fault::new(FaultKind::Failed, "no")
}

fn steps() -> [Step; 6] {
    [
        Step::Start,
        Step::AskToEnd,
        Step::End(Ending::Done),
        Step::End(Ending::Failed(fault())),
        Step::End(Ending::Aborted(None)),
        Step::End(Ending::Interrupted(fault())),
    ]
}

#[test]
fn every_step_from_every_state_is_possible_or_changes_nothing() {
    use State::{Aborted, Done, Failed, Interrupted, Queued, Running};
    let expected: BTreeMap<&str, [Option<State>; 6]> = BTreeMap::from([
        ("queued", [Some(Running), None, None, Some(Failed), Some(Aborted), None]),
        (
            "running",
            [None, Some(Running), Some(Done), Some(Failed), Some(Aborted), Some(Interrupted)],
        ),
        ("done", [None; 6]),
        ("failed", [None; 6]),
        ("aborted", [None; 6]),
        ("interrupted", [None; 6]),
    ]);
    for state in [Queued, Running, Done, Failed, Aborted, Interrupted] {
        assert_eq!(state.is_end(), !matches!(state, Queued | Running));
        for (step, expected) in steps().into_iter().zip(expected[state.as_str()]) {
            let mut job = Job { state, ..job(1) };
            let before = job.clone();
            let taken = job.step(step.clone(), Time::from_micros(9));
            assert_eq!(taken.is_ok(), expected.is_some(), "{state:?} {step:?}");
            assert_eq!(job.state, expected.unwrap_or(state), "{state:?} {step:?}");
            if taken.is_err() {
                assert_eq!(job, before);
            }
            assert_eq!(job.ended.is_some(), job.state.is_end() && taken.is_ok());
        }
    }
}

/// What a client knows that reads the jobs once and then follows their events.
#[derive(Debug, Default, PartialEq)]
struct Known(BTreeMap<String, Value>);

impl Known {
    fn read(jobs: &BTreeMap<Uuid, Job>) -> Self {
        let mut known = Self::default();
        for job in jobs.values() {
            known.hear(&json!({ "job": job }));
        }
        known
    }

    fn hear(&mut self, data: &Value) {
        if data["job"].is_object() {
            let id = data["job"]["id"].as_str().unwrap().to_owned();
            self.0.insert(id, data["job"].clone());
        }
        for id in data["forgotten"].as_array().into_iter().flatten() {
            self.0.remove(id.as_str().unwrap());
        }
    }
}

proptest! {
    /// Whenever somebody has read the jobs, and also when they are told again what they know
    /// already: with what came after it they know what a fresh reader reads.
    #[test]
    fn a_snapshot_and_what_follows_is_a_fresh_snapshot(
        deeds in proptest::collection::vec((0u128..6, 0usize..8), 1..120),
        look in any::<prop::sample::Index>(),
        earlier in 0usize..10,
    ) {
        let mut jobs: BTreeMap<Uuid, Job> = BTreeMap::new();
        let mut events: Vec<Value> = Vec::new();
        let mut readings = vec![(0, Known::default())];
        for (number, deed) in deeds {
            let id = Uuid::from_u128(number);
            let now = Time::from_micros(events.len() as u64 + 2);
            let changed = match (jobs.get_mut(&id), deed) {
                (None, _) => {
                    jobs.insert(id, job(number));
                    true
                }
                (Some(job), 6 | 7) if job.state.is_end() => {
                    jobs.remove(&id);
                    events.push(json!({ "forgotten": [id] }));
                    readings.push((events.len(), Known::read(&jobs)));
                    continue;
                }
                (Some(job), deed) => {
                    let step = steps().into_iter().nth(deed);
                    step.is_some_and(|step| job.step(step, now).is_ok())
                }
            };
            if changed {
                events.push(json!({ "job": jobs[&id] }));
                readings.push((events.len(), Known::read(&jobs)));
            }
        }
        let (at, mut known) = readings.swap_remove(look.index(readings.len()));
        for event in &events[at.saturating_sub(earlier)..] {
            known.hear(event);
        }
        prop_assert_eq!(known, Known::read(&jobs));
    }

    #[test]
    fn a_job_reads_back_as_kept(choices in proptest::collection::vec(0usize..6, 0..5)) {
        let mut job = job(7);
        for choice in choices {
            job.step(steps()[choice].clone(), Time::from_micros(5)).ok();
        }
        let text = serde_json::to_string(&job).unwrap();
        prop_assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
    }
}
