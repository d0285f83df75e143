use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn original(key: u8, ours: bool) -> Original {
    Original {
        identity: format!("here-{key}"),
        key: format!("key-{key}"),
        name: format!("name-{key}"),
        changed: Some(u64::from(key)),
        ours,
        label: None,
        size: None,
    }
}

fn copy(of: &Original) -> Copied {
    Copied {
        identity: format!("there-{}", of.key),
        key: of.key.clone(),
        name: of.name.clone(),
        changed: of.changed,
    }
}

fn foreign(name: &str) -> Copied {
    let text = || name.to_owned();
    Copied { identity: text(), key: text(), name: text(), changed: None }
}

fn ours(original: &Original) -> bool {
    original.ours
}

fn steps(outlook: Outlook) -> Vec<Step> {
    match outlook {
        Outlook::Steps(steps) => steps,
        other => panic!("no steps: {other:?}"),
    }
}

fn trouble(outlook: Outlook) -> Trouble {
    match outlook {
        Outlook::Conflict(conflict) => conflict.trouble,
        other => panic!("no conflict: {other:?}"),
    }
}

const STRICT: Rules = Rules {
    initial: Initial::Latest,
    intermediate: Intermediate::All,
    tip: true,
    names: true,
    again: false,
};

#[test]
fn the_first_copy_is_whole_and_of_what_the_task_says() {
    let all = [original(1, true), original(2, true), original(3, false)];
    let latest = steps(plan(&all, &[], &ours, STRICT));
    assert_eq!(latest, [Step { from: None, to: all[1].clone() }]);
    let rules = Rules { initial: Initial::All, intermediate: Intermediate::Latest, ..STRICT };
    let both = steps(plan(&all, &[], &ours, rules));
    assert_eq!(both.len(), 2);
    assert_eq!(both[1].from.as_ref(), Some(&all[0]));
    let rules = Rules { initial: Initial::Fail, ..STRICT };
    assert_eq!(trouble(plan(&all, &[], &ours, rules)), Trouble::NothingThere);
    assert_eq!(plan(&all[2..], &[], &ours, STRICT), Outlook::Empty);
}

#[test]
fn a_base_that_was_pruned_on_either_side_gives_way_to_the_next_one() {
    let all = [original(1, true), original(2, true), original(3, true)];
    let copies = [copy(&all[0]), copy(&all[1])];
    let normal = steps(plan(&all, &copies, &ours, STRICT));
    assert_eq!(normal[0].from.as_ref(), Some(&all[1]));
    // Gone at the target.
    let without = steps(plan(&all, &copies[..1], &ours, STRICT));
    assert_eq!(without[0].from.as_ref(), Some(&all[0]));
    // Gone at the source: the newer copy has no original, and where that does not matter the older
    // one is the base.
    let left = [all[0].clone(), all[2].clone()];
    let loose = Rules { tip: false, ..STRICT };
    let older = steps(plan(&left, &copies, &ours, loose));
    assert_eq!(older[0].from.as_ref(), Some(&all[0]));
    assert_eq!(trouble(plan(&left, &copies, &ours, STRICT)), Trouble::TargetAhead);
    // Gone everywhere: never whole over what is there.
    assert_eq!(trouble(plan(&all[2..], &copies, &ours, loose)), Trouble::NoCommonBase);
    let again = Rules { again: true, names: false, ..loose };
    assert_eq!(steps(plan(&all[2..], &copies, &ours, again))[0].from, None);
}

#[test]
fn a_base_that_was_changed_after_it_was_sent_is_none() {
    let mut all = [original(1, true), original(2, true), original(3, true)];
    let copies = [copy(&all[0]), copy(&all[1])];
    all[1].changed = Some(21);
    let loose = Rules { tip: false, names: false, ..STRICT };
    assert_eq!(steps(plan(&all, &copies, &ours, loose))[0].from.as_ref(), Some(&all[0]));
    assert_eq!(trouble(plan(&all[1..], &copies, &ours, loose)), Trouble::BaseChanged);
}

#[test]
fn a_snapshot_of_the_same_name_is_another_one() {
    let all = [original(1, true), original(2, true)];
    let impostor = Copied { key: "other".to_owned(), ..copy(&all[1]) };
    let first = [impostor.clone(), copy(&all[0])];
    assert_eq!(trouble(plan(&all, &first, &ours, STRICT)), Trouble::NameTaken);
    let last = [copy(&all[0]), impostor];
    assert_eq!(trouble(plan(&all, &last, &ours, STRICT)), Trouble::TargetAhead);
}

/// What the target has when a plan is carried out.
fn after(copies: &[Copied], steps: &[Step]) -> Vec<Copied> {
    copies.iter().cloned().chain(steps.iter().map(|step| copy(&step.to))).collect()
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let initial = prop_oneof![Just(Initial::Latest), Just(Initial::All), Just(Initial::Fail)];
    let between = prop_oneof![Just(Intermediate::All), Just(Intermediate::Latest)];
    (initial, between, any::<bool>(), any::<bool>()).prop_map(
        |(initial, intermediate, tip, names)| Rules {
            initial,
            intermediate,
            tip,
            names,
            again: false,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// A hundred thousand worlds: what is sent follows from what is there, a whole snapshot is never
    /// sent over copies, carrying the plan out leaves nothing to do, and what was there is still there.
    #[test]
    fn plans_fit_what_is_there(
        kept in vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..12),
        strangers in vec(0_usize..12, 0..3),
        rules in any_rules(),
    ) {
        let all: Vec<Original> = kept.iter().zip(1_u8..).map(|((ours, ..), key)| original(key, *ours)).collect();
        let here: Vec<Original> = all.iter().zip(&kept).filter(|(_, kept)| kept.1).map(|(one, _)| one.clone()).collect();
        let mut there: Vec<Copied> = all.iter().zip(&kept).filter(|(_, kept)| kept.2).map(|(one, _)| copy(one)).collect();
        for at in strangers {
            there.insert(at.min(there.len()), foreign(&format!("theirs-{at}")));
        }
        let names: HashSet<&str> = there.iter().map(|copy| copy.identity.as_str()).collect();
        match plan(&here, &there, &ours, rules) {
            Outlook::Steps(steps) => {
                prop_assert!(!steps.is_empty() && steps.iter().all(|step| step.to.ours));
                prop_assert!(steps[0].from.is_some() || there.is_empty());
                let mut done = there.clone();
                for step in &steps {
                    if let Some(from) = &step.from {
                        prop_assert!(here.contains(from) && copy_of(from, &done).is_some());
                        prop_assert!(!rules.tip || done.last().is_some_and(|last| fits(from, last)));
                    }
                    prop_assert!(copy_of(&step.to, &done).is_none(), "sent twice");
                    done.push(copy(&step.to));
                }
                let after = after(&there, &steps);
                prop_assert_eq!(plan(&here, &after, &ours, rules), Outlook::Current);
                let newest = here.iter().rfind(|one| one.ours).unwrap();
                prop_assert!(copy_of(newest, &after).is_some());
                let left: HashSet<&str> = after.iter().map(|copy| copy.identity.as_str()).collect();
                prop_assert!(names.is_subset(&left));
            }
            Outlook::Empty => prop_assert!(!here.iter().any(|one| one.ours)),
            Outlook::Current => {
                let common = here.iter().rposition(|one| copy_of(one, &there).is_some());
                prop_assert!(common.is_some_and(|at| !here[at + 1..].iter().any(|one| one.ours)));
            }
            Outlook::Conflict(conflict) => match conflict.trouble {
                Trouble::NoCommonBase => prop_assert!(!there.is_empty() && !here.iter().any(|one| copy_of(one, &there).is_some())),
                Trouble::TargetAhead => prop_assert!(rules.tip),
                Trouble::NameTaken => prop_assert!(rules.names),
                Trouble::NothingThere => prop_assert!(rules.initial == Initial::Fail && there.is_empty()),
                Trouble::BaseChanged | Trouble::TargetModified => prop_assert!(false, "nothing was changed"),
            },
        }
    }
}
