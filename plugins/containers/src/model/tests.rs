use std::time::Duration;

use proptest::prelude::*;

use super::*;

const RULE: Rule = Rule { count: 5, window: Duration::from_mins(5) };

fn model() -> Model {
    Model::new(BTreeMap::new(), RULE)
}

fn signal(id: &str, at: i64, what: What) -> Signal {
    let at = at * 1_000_000_000;
    Signal { id: id.to_owned(), at, name: format!("name-{id}"), image: "image".to_owned(), what }
}

fn whys(changes: &[Change]) -> Vec<Why> {
    changes.iter().map(|change| change.why).collect()
}

const ENDED: Why = Why::Stopped { repeated: false, expected: false };

#[test]
fn a_life_is_told_step_by_step() {
    let mut model = model();
    let mut told = Vec::new();
    for (at, what) in [
        (1, What::Create),
        (2, What::Start),
        (3, What::Pause),
        (4, What::Unpause),
        (5, What::Kill),
        (6, What::Kill),
        (7, What::Die(Some(137))),
        (8, What::Destroy),
    ] {
        told.extend(whys(&model.apply(&signal("a", at, what), 0)));
    }
    let (paused, unpaused) = (Why::Paused, Why::Unpaused);
    let wanted = [Why::Created, Why::Started, paused, unpaused, Why::Stopping, ENDED, Why::Removed];
    assert_eq!(told, wanted);
    assert_eq!(model.gone().count(), 1);
    model.settle(300_001, 300_000);
    assert_eq!(model.gone().count(), 0);
}

#[test]
fn a_kill_before_the_end_makes_it_one_that_was_asked_for_but_not_after_an_oom() {
    for (whats, requested) in [
        (vec![What::Die(Some(1))], false),
        (vec![What::Kill, What::Die(Some(137))], true),
        (vec![What::Oom, What::Kill, What::Die(Some(137))], false),
    ] {
        let mut model = model();
        model.apply(&signal("a", 1, What::Start), 0);
        for what in whats {
            model.apply(&signal("a", 2, what), 0);
        }
        assert_eq!(model.containers()["a"].requested, requested);
    }
}

#[test]
fn flapping_is_told_once_and_its_end_once() {
    let mut model = model();
    let mut told = Vec::new();
    for n in 0..8 {
        model.apply(&signal("a", n, What::Start), 1_000);
        told.extend(whys(&model.apply(&signal("a", n, What::Die(Some(1))), 1_000)));
    }
    assert_eq!(told.iter().filter(|why| **why == Why::Flaps).count(), 1, "{told:?}");
    assert!(model.flaps("a"));
    assert_eq!(model.settles_at(), Some(301_000));
    assert!(model.settle(300_999, 1).is_empty());
    assert_eq!(whys(&model.settle(301_000, 1)), [Why::Calm]);
    assert!(!model.flaps("a") && model.settle(400_000, 1).is_empty());
}

#[test]
fn what_the_engine_starts_again_is_on_its_way() {
    let mut model = model();
    model.apply(&signal("a", 1, What::Start), 0);
    let mut seen = model.containers()["a"].clone();
    seen.details.restart = "on-failure".to_owned();
    model.learn(&seen, false);
    let changes = model.apply(&signal("a", 2, What::Die(Some(1))), 0);
    assert_eq!(changes[0].container.phase, Phase::Exited, "it is told that it ended");
    assert_eq!(model.containers()["a"].phase, Phase::Restarting);
    seen.phase = Phase::Exited;
    model.learn(&seen, true);
    assert_eq!(model.containers()["a"].phase, Phase::Exited, "the engine has given up");
}

#[test]
fn whoever_stops_it_ends_the_flapping() {
    let mut model = model();
    for n in 0..5 {
        model.apply(&signal("a", n, What::Start), 0);
        model.apply(&signal("a", n, What::Die(Some(1))), 0);
    }
    model.apply(&signal("a", 9, What::Start), 0);
    model.apply(&signal("a", 9, What::Kill), 0);
    assert_eq!(whys(&model.apply(&signal("a", 9, What::Die(Some(0))), 0)), [ENDED, Why::Calm]);
}

#[test]
fn a_start_that_fails_is_learnt_by_looking() {
    let mut model = model();
    model.apply(&signal("a", 1, What::Create), 0);
    let mut seen = Container::new("a", "name-a", "image");
    assert_eq!(model.learn(&seen, false), None);
    assert_eq!(model.learn(&seen, true).map(|change| change.why), Some(Why::NotStarted));
    seen.error = "no such file".to_owned();
    let change = model.learn(&seen, true).unwrap();
    assert_eq!((change.why, change.container.phase), (Why::StartFailed, Phase::Failed));
    assert_eq!(model.learn(&seen, true), None, "once");
    assert_eq!(whys(&model.apply(&signal("a", 2, What::Start), 0)), [Why::Started]);
}

#[test]
fn an_end_that_nobody_has_seen_is_told_once_with_its_code() {
    let mut model = model();
    model.apply(&signal("a", 1, What::Start), 0);
    let mut seen = model.containers()["a"].clone();
    (seen.phase, seen.exit_code) = (Phase::Exited, Some(5));
    seen.finished = Some("2026-01-01T00:00:00Z".to_owned());
    let changes = model.reconcile("a", Some(seen.clone()), 0);
    assert_eq!(whys(&changes), [Why::Stopped { repeated: false, expected: true }]);
    assert!(changes[0].reconciled && changes[0].container.exit_code == Some(5));
    assert!(model.reconcile("a", Some(seen), 0).is_empty());
}

#[test]
fn what_ended_with_the_engine_and_stays_down_is_told() {
    let mut model = model();
    for id in ["a", "b"] {
        model.apply(&signal(id, 1, What::Start), 0);
        model.apply(&signal(id, 2, What::Kill), 0);
        model.apply(&signal(id, 3, What::Die(Some(137))), 50_000);
    }
    assert!(model.fallen(90_000).is_empty());
    let fallen = model.fallen(60_000);
    model.apply(&signal("a", 4, What::Start), 61_000);
    let left = model.left_down(&fallen);
    assert_eq!(whys(&left), [Why::LeftDown]);
    assert_eq!(left[0].container.id, "b");
}

/// An engine that does what it is told and says what it did.
#[derive(Default)]
struct Engine {
    all: BTreeMap<String, Container>,
    time: i64,
}

impl Engine {
    fn step(&mut self, id: &str, act: u8) -> Vec<Signal> {
        self.time += 1;
        let say = |what| vec![signal(id, self.time, what)];
        let moment = rfc3339(self.time * 1_000_000_000);
        let Some(it) = self.all.get_mut(id) else {
            let mut born = Container::new(id, &format!("name-{id}"), "image");
            born.created = Some(moment);
            self.all.insert(id.to_owned(), born);
            return say(What::Create);
        };
        match (act % 5, it.phase) {
            (0, Phase::Created | Phase::Exited) => {
                it.start(&moment);
                say(What::Start)
            }
            (1, Phase::Running | Phase::Paused) => {
                it.end(Some(i64::from(act)), &moment);
                say(What::Die(Some(i64::from(act))))
            }
            (2, Phase::Running) => {
                it.phase = Phase::Paused;
                say(What::Pause)
            }
            (3, Phase::Paused) => {
                it.phase = Phase::Running;
                say(What::Unpause)
            }
            (4, Phase::Created | Phase::Exited) => {
                self.all.remove(id);
                say(What::Destroy)
            }
            _ => Vec::new(),
        }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |it: &Container| Row {
            id: it.id.clone(),
            name: it.name.clone(),
            phase: it.phase,
            health: it.health,
        };
        self.all.values().map(row).collect()
    }
}

fn phases(all: &BTreeMap<String, Container>) -> Vec<(&str, Phase)> {
    all.values().map(|it| (it.id.as_str(), it.phase)).collect()
}

proptest! {
    /// Whoever hears everything has nothing to look up; whoever hears it twice neither.
    #[test]
    fn hearing_all_is_knowing_all(steps in prop::collection::vec((0_u8..4, any::<u8>(), any::<bool>()), 0..60)) {
        let (mut engine, mut model) = (Engine::default(), model());
        for (id, act, twice) in steps {
            for signal in engine.step(&format!("{id}"), act) {
                model.apply(&signal, 0);
                if twice {
                    prop_assert!(model.apply(&signal, 0).is_empty(), "twice is once");
                }
            }
        }
        prop_assert!(model.differing(&engine.rows()).is_empty());
        prop_assert_eq!(phases(model.containers()), phases(&engine.all));
    }

    /// Whatever was lost, and in whatever order the list and late signals come: looking mends it,
    /// tells each difference once, and leaves nothing to tell.
    #[test]
    fn looking_mends_what_was_not_heard(steps in prop::collection::vec((0_u8..4, any::<u8>(), any::<bool>()), 0..60)) {
        let (mut engine, mut model) = (Engine::default(), model());
        let mut lost = Vec::new();
        for (id, act, heard) in steps {
            for signal in engine.step(&format!("{id}"), act) {
                if heard {
                    model.apply(&signal, 0);
                } else {
                    lost.push(signal);
                }
            }
        }
        for id in model.differing(&engine.rows()) {
            let changes = model.reconcile(&id, engine.all.get(&id).cloned(), 0);
            prop_assert!(!changes.is_empty(), "{} was other, and nothing is told", id);
            prop_assert!(changes.iter().all(|change| change.reconciled));
        }
        prop_assert!(model.differing(&engine.rows()).is_empty());
        for it in engine.all.values() {
            model.reconcile(&it.id, Some(it.clone()), 0);
            prop_assert!(model.reconcile(&it.id, Some(it.clone()), 0).is_empty());
        }
        prop_assert_eq!(model.containers().len(), engine.all.len());
    }
}
