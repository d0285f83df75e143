//! What holds whatever is said, and whatever becomes of the clock.

use proptest::prelude::*;

use super::*;
use crate::alerts::rule::Rule;

const NOW: u64 = 1_800_000_000_000_000;

fn rule(wait: u64, hold: u64) -> Rule {
    let text = format!(r#"{{"kind":"a.b","for_s":{wait},"clear_for_s":{hold}}}"#);
    Rule::of(&serde_json::from_str(&text).unwrap(), &std::collections::BTreeMap::new())
}

fn seen(priority: u8) -> Input {
    Input::Raise(Seen {
        priority: Priority::clamped(priority),
        message: "it is".to_owned(),
        advice: "do".to_owned(),
        value: None,
        data: Json::default(),
    })
}

/// An alert with its rule and a clock.
struct Case {
    alert: Alert,
    rule: Rule,
    now: u64,
}

impl Case {
    fn new(wait: u64, hold: u64) -> Self {
        let kind = Class::parse("a.b").unwrap();
        let alert = Alert::new(1, "demo", kind, "", Time::from_micros(NOW));
        Self { alert, rule: rule(wait, hold), now: NOW }
    }

    fn step(&mut self, input: Input) -> Option<(Verb, bool)> {
        let change = self.alert.step(input, &self.rule, Time::from_micros(self.now));
        change.map(|change| (change.verb, change.notify))
    }

    /// Time passes, with a look each second.
    fn pass(&mut self, seconds: u64) -> Vec<(Verb, bool)> {
        (0..seconds)
            .filter_map(|_| {
                self.now += 1_000_000;
                self.step(Input::Tick)
            })
            .collect()
    }

    fn until(&self, seconds: u64) -> Time {
        Time::from_micros(self.now + seconds * 1_000_000)
    }
}

#[test]
fn it_is_told_when_it_lasts_and_when_it_stays_away() {
    let mut case = Case::new(10, 5);
    assert_eq!(case.step(seen(5)), Some((Verb::Began, false)));
    assert_eq!(case.pass(9), []);
    assert_eq!(case.pass(1), [(Verb::Raised, true)]);
    assert_eq!(case.step(seen(5)), Some((Verb::Repeated, false)));
    assert_eq!((case.alert.count, case.alert.first_seen.micros()), (2, NOW));
    assert_eq!(case.step(Input::Clear), Some((Verb::Easing, false)));
    assert_eq!(case.pass(4), []);
    assert_eq!(case.pass(1), [(Verb::Cleared, true)]);
    assert_eq!(case.alert.closed.map(Time::micros), Some(case.now));
    assert_eq!(case.step(Input::Clear), None);
}

#[test]
fn what_passes_before_it_lasts_is_told_to_nobody() {
    let mut case = Case::new(10, 5);
    for _ in 0..20 {
        assert_eq!(case.step(seen(9)), Some((Verb::Began, false)));
        assert_eq!(case.pass(9), []);
        assert_eq!(case.step(Input::Clear), Some((Verb::Passed, false)));
        assert_eq!(case.pass(3), []);
    }
}

#[test]
fn what_comes_and_goes_is_told_once_and_over_once() {
    let mut case = Case::new(0, 60);
    let mut told = vec![case.step(seen(5)).unwrap()];
    for _ in 0..200 {
        told.extend(case.step(Input::Clear));
        told.extend(case.pass(50));
        told.extend(case.step(seen(5)));
        told.extend(case.pass(1));
    }
    told.extend(case.step(Input::Clear));
    told.extend(case.pass(61));
    let notices: Vec<Verb> = told.into_iter().filter(|it| it.1).map(|it| it.0).collect();
    assert_eq!(notices, [Verb::Raised, Verb::Cleared]);
    assert_eq!(case.alert.flips, 200);
}

#[test]
fn what_comes_back_each_time_it_was_over_is_waited_for_longer() {
    let mut case = Case::new(0, 0);
    let mut told = Vec::new();
    for _ in 0..100 {
        told.extend(case.step(seen(5)));
        told.extend(case.pass(60));
        told.extend(case.step(Input::Clear));
        told.extend(case.pass(60));
    }
    let notices = told.into_iter().filter(|it| it.1).count();
    assert!(notices <= 6, "{notices} notices of 200 comings and goings");
}

#[test]
fn worse_is_told_again_and_undoes_what_was_acknowledged() {
    let mut case = Case::new(0, 0);
    case.step(seen(4));
    let by = || ("local:root".to_owned(), "on it".to_owned());
    let (who, note) = by();
    assert_eq!(case.step(Input::Acknowledge { by: who, note }), Some((Verb::Acknowledged, false)));
    assert_eq!(case.step(seen(3)), Some((Verb::Repeated, false)));
    assert_eq!(case.step(seen(4)), Some((Verb::Repeated, false)));
    assert!(case.alert.acknowledged.is_some());
    assert_eq!(case.step(seen(7)), Some((Verb::Worsened, true)));
    assert_eq!(case.alert.acknowledged, None);
    assert_eq!(case.step(seen(4)), Some((Verb::Repeated, false)));
    assert_eq!(case.alert.priority.number(), 7, "the worst since it began");
    assert_eq!(case.step(Input::Clear), Some((Verb::Cleared, true)));
    let (by, note) = by();
    assert_eq!(case.step(Input::Acknowledge { by, note }), None, "it is over");
}

#[test]
fn silence_ends_and_then_what_nobody_knows_is_told() {
    let silence = |case: &Case, seconds| Input::Silence {
        by: "local:root".to_owned(),
        until: case.until(seconds),
        note: String::new(),
    };
    let mut case = Case::new(0, 0);
    let quiet = silence(&case, 30);
    assert_eq!(case.step(quiet), Some((Verb::Silenced, false)));
    assert_eq!(case.step(seen(5)), Some((Verb::Raised, false)));
    assert_eq!(case.step(seen(9)), Some((Verb::Worsened, false)));
    assert_eq!(case.pass(29), []);
    assert_eq!(case.pass(1), [(Verb::Unsilenced, true)]);
    let quiet = silence(&case, 30);
    case.step(quiet);
    assert_eq!(case.step(Input::Clear), Some((Verb::Cleared, true)), "who was told is told");
    assert_eq!(case.pass(30), [(Verb::Unsilenced, false)]);
    let past = Input::Silence {
        by: String::new(),
        until: Time::from_micros(case.now),
        note: String::new(),
    };
    assert_eq!(case.step(past), None);
    assert_eq!(case.step(Input::Unsilence), None);
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting_for_days() {
    let mut case = Case::new(10, 5);
    case.step(seen(5));
    case.now -= 86_400 * 1_000_000;
    assert_eq!(case.step(Input::Tick), None);
    assert_eq!(case.pass(10), [(Verb::Raised, true)]);
    case.step(Input::Clear);
    case.now += 86_400 * 1_000_000;
    assert_eq!(case.step(Input::Tick), Some((Verb::Cleared, true)));
}

#[derive(Debug, Clone)]
enum Deed {
    Raise(u8),
    Clear,
    Pass(u64),
    Jump(i64),
    Acknowledge,
    Silence(u64),
    Unsilence,
    Close,
    Restart,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (0u8..=10).prop_map(Deed::Raise),
        4 => Just(Deed::Clear),
        4 => (1u64..200).prop_map(Deed::Pass),
        1 => (-100_000i64..100_000).prop_map(Deed::Jump),
        1 => Just(Deed::Acknowledge),
        1 => (1u64..5_000).prop_map(Deed::Silence),
        1 => Just(Deed::Unsilence),
        1 => Just(Deed::Close),
        1 => Just(Deed::Restart),
    ];
    prop::collection::vec(deed, 1..60)
}

fn apply(case: &mut Case, deed: &Deed) -> Vec<(Verb, bool)> {
    match deed {
        Deed::Raise(priority) => case.step(seen(*priority)).into_iter().collect(),
        Deed::Clear => case.step(Input::Clear).into_iter().collect(),
        Deed::Pass(seconds) => case.pass(*seconds),
        Deed::Jump(seconds) => {
            case.now = case.now.saturating_add_signed(seconds * 1_000_000);
            case.step(Input::Tick).into_iter().collect()
        }
        Deed::Acknowledge => {
            let input = Input::Acknowledge { by: "a".to_owned(), note: String::new() };
            case.step(input).into_iter().collect()
        }
        Deed::Silence(seconds) => {
            let until = case.until(*seconds);
            let input = Input::Silence { by: "a".to_owned(), until, note: String::new() };
            case.step(input).into_iter().collect()
        }
        Deed::Unsilence => case.step(Input::Unsilence).into_iter().collect(),
        Deed::Close => case.step(Input::Close).into_iter().collect(),
        Deed::Restart => {
            let text = serde_json::to_string(&case.alert).unwrap();
            case.alert = serde_json::from_str(&text).unwrap();
            Vec::new()
        }
    }
}

proptest! {
    /// People hear of a beginning before its end, of one end for each beginning, and of nothing
    /// that they were not told of.
    #[test]
    fn beginnings_and_ends_take_turns(deeds in deeds(), wait in 0u64..100, hold in 0u64..100) {
        let mut case = Case::new(wait, hold);
        let mut knows = false;
        for deed in &deeds {
            for (verb, notify) in apply(&mut case, deed) {
                if !notify {
                    continue;
                }
                match verb {
                    Verb::Cleared => {
                        prop_assert!(knows, "an end without a beginning");
                        knows = false;
                    }
                    Verb::Raised | Verb::Unsilenced => {
                        prop_assert!(!knows, "told twice: {verb:?}");
                        knows = true;
                    }
                    Verb::Worsened => knows = true,
                    quiet => prop_assert!(false, "{quiet:?} is told to nobody"),
                }
            }
            prop_assert_eq!(knows, case.alert.told);
            prop_assert!(!case.alert.told || case.alert.is_open());
            prop_assert_eq!(case.alert.closed.is_some(), case.alert.state == State::Closed && case.alert.count > 0);
        }
    }

    /// Whatever has happened: what is over stays over, what is wrong is told, and no time leads
    /// farther than the wait, the silence and the longest hold.
    #[test]
    fn nothing_is_forgotten(deeds in deeds(), wait in 0u64..100, hold in 0u64..100, ends in any::<bool>()) {
        let mut case = Case::new(wait, hold);
        for deed in &deeds {
            apply(&mut case, deed);
        }
        case.step(Input::Unsilence);
        if ends {
            case.step(Input::Clear);
        } else {
            case.step(seen(5));
        }
        let longest = case.rule.wait.max(case.rule.hold.max(RELAPSE_WAIT) * 32).as_secs() + 1;
        case.now += longest * 1_000_000;
        case.step(Input::Tick);
        prop_assert_eq!(case.alert.due(&case.rule), None);
        let expected = if ends { State::Closed } else { State::Open };
        prop_assert_eq!(case.alert.state, expected);
        prop_assert_eq!(case.alert.told, !ends);
    }
}
