use proptest::prelude::*;

use super::*;

const PATIENCE: Patience = Patience { raise_after: 100, clear_after: 50, remind_every: 1000 };

fn trouble(priority: u8) -> Trouble {
    Trouble { priority, message: "full".to_owned(), advice: "delete".to_owned() }
}

fn one(look: Look) -> BTreeMap<String, Look> {
    BTreeMap::from([("/a".to_owned(), look)])
}

fn verbs(changes: &[Change]) -> Vec<Verb> {
    changes.iter().map(|change| change.verb).collect()
}

#[test]
fn it_is_raised_once_repeated_when_worse_and_as_a_reminder_and_cleared_once() {
    let mut conditions = Conditions::default();
    let mut at = |now, look| conditions.look("disk-full", now, PATIENCE, one(look));
    assert_eq!(verbs(&at(0, Look::Bad(trouble(6)))), []);
    assert_eq!(verbs(&at(99, Look::Bad(trouble(6)))), []);
    let raised = at(100, Look::Bad(trouble(6)));
    assert_eq!(verbs(&raised), [Verb::Raised]);
    assert_eq!((raised[0].raised.since_ms, raised[0].raised.count), (0, 1));
    assert_eq!(verbs(&at(200, Look::Bad(trouble(6)))), []);
    let worse = at(300, Look::Bad(trouble(8)));
    assert_eq!((verbs(&worse), worse[0].raised.count), (vec![Verb::Repeated], 2));
    assert_eq!(verbs(&at(400, Look::Bad(trouble(6)))), [], "better is not worse");
    let again = at(1300, Look::Bad(trouble(6)));
    assert_eq!((verbs(&again), again[0].raised.count), (vec![Verb::Repeated], 3));
    assert_eq!(verbs(&at(1400, Look::Good)), []);
    assert_eq!(verbs(&at(1420, Look::Between)), []);
    let cleared = at(1450, Look::Good);
    assert_eq!((verbs(&cleared), cleared[0].raised.count), (vec![Verb::Cleared], 3));
    assert_eq!(verbs(&at(1500, Look::Good)), []);
    assert!(conditions.raised().is_empty());
}

#[test]
fn what_is_not_there_any_more_is_over_and_other_kinds_are_left_alone() {
    let mut conditions = Conditions::default();
    let now = Patience { raise_after: 0, clear_after: 0, remind_every: 1000 };
    conditions.look("disk-full", 0, now, one(Look::Bad(trouble(6))));
    conditions.look("unit-failed", 0, now, one(Look::Bad(trouble(6))));
    assert_eq!(verbs(&conditions.look("disk-full", 1, now, BTreeMap::new())), [Verb::Cleared]);
    assert_eq!(conditions.raised().len(), 1);
}

#[test]
fn it_says_when_to_look_again() {
    let mut conditions = Conditions::default();
    let due = |conditions: &Conditions| conditions.waits(|_| PATIENCE).first().map(|it| it.1);
    assert_eq!(due(&conditions), None);
    conditions.look("k", 7, PATIENCE, one(Look::Bad(trouble(6))));
    assert_eq!((due(&conditions), conditions.knows("k")), (Some(107), true));
    conditions.look("k", 107, PATIENCE, one(Look::Bad(trouble(6))));
    assert_eq!(due(&conditions), None);
    conditions.look("k", 200, PATIENCE, one(Look::Good));
    assert_eq!(due(&conditions), Some(250));
    conditions.look("k", 250, PATIENCE, one(Look::Good));
    assert_eq!((due(&conditions), conditions.knows("k")), (None, false));
}

#[test]
fn an_earlier_life_is_gone_on_with() {
    let mut conditions = Conditions::default();
    let now = Patience { raise_after: 0, clear_after: 0, remind_every: 1000 };
    conditions.look("k", 5, now, one(Look::Bad(trouble(6))));
    let text = serde_json::to_string(&conditions.raised().iter().collect::<Vec<_>>()).unwrap();
    let back: Vec<(Key, Raised)> = serde_json::from_str(&text).unwrap();
    let mut again = Conditions::resumed(back);
    assert_eq!(verbs(&again.look("k", 6, now, one(Look::Bad(trouble(6))))), []);
    assert_eq!(verbs(&again.look("k", 7, now, one(Look::Good))), [Verb::Cleared]);
}

#[test]
fn a_level_has_two_thresholds() {
    let look = |percent| level(percent, 90, 85, || trouble(6));
    assert_eq!(look(84), Look::Good);
    assert_eq!(look(85), Look::Between);
    assert_eq!(look(89), Look::Between);
    assert!(matches!(look(90), Look::Bad(_)));
}

fn any_look() -> impl Strategy<Value = Look> {
    prop_oneof![
        Just(Look::Good),
        Just(Look::Between),
        (0_u8..=10).prop_map(|priority| Look::Bad(trouble(priority))),
    ]
}

proptest! {
    /// Whatever is seen: nobody is told of an end without a beginning, nor of a beginning twice; the
    /// count is the number of times it was told; and a beginning was bad for long enough.
    #[test]
    fn the_story_of_a_condition_is_always_told_in_order(
        story in proptest::collection::vec((0_u64..150, any_look()), 0..60),
    ) {
        let mut conditions = Conditions::default();
        let (mut now, mut told, mut bad_since) = (0, 0, None);
        for (pause, look) in story {
            now += pause;
            match &look {
                Look::Good => bad_since = None,
                Look::Between => {}
                Look::Bad(_) => bad_since = bad_since.or(Some(now)),
            }
            let looked = look.clone();
            let changes = conditions.look("k", now, PATIENCE, one(look));
            prop_assert!(changes.len() <= 1);
            for change in changes {
                match change.verb {
                    Verb::Raised => {
                        prop_assert_eq!(told, 0);
                        prop_assert!(now - bad_since.unwrap() >= PATIENCE.raise_after);
                    }
                    Verb::Repeated => prop_assert!(told > 0),
                    Verb::Cleared => {
                        prop_assert!(told > 0);
                        prop_assert_eq!(looked.clone(), Look::Good);
                    }
                }
                told = if change.verb == Verb::Cleared { 0 } else { told + 1 };
                if told > 0 {
                    prop_assert_eq!(change.raised.count, told);
                }
            }
            prop_assert_eq!(conditions.raised().len(), usize::from(told > 0));
        }
    }
}
