use proptest::prelude::*;

use super::*;
use crate::backend::{Consistency, DatasetId, Mark};

const POLICY: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const START: i64 = 1_700_000_000;
const DAY: i64 = 86_400;

/// Somebody's snapshot of a dataset, the `order`th, taken so many seconds after [`START`].
fn snapshot(order: u64, at: i64, whose: Option<Uuid>) -> Snapshot {
    let dataset: DatasetId = "zfs:1:2".parse().unwrap();
    let slot = DateTime::from_timestamp(START + at, 0).unwrap();
    Snapshot {
        id: SnapshotId { dataset: dataset.clone(), identity: format!("{order:x}") },
        dataset,
        name: format!("s{order}"),
        order,
        created: slot + TimeDelta::seconds(2),
        owner: if whose.is_some() { Owner::Ours } else { Owner::Foreign },
        label: None,
        comment: None,
        mark: whose.map(|policy| Mark { policy, slot }),
        state: SnapshotState::Complete,
        consistency: Consistency::Atomic,
        size: None,
    }
}

/// Snapshots of the policy, one for each of these moments.
fn own(moments: impl IntoIterator<Item = i64>) -> Vec<Snapshot> {
    (1..).zip(moments).map(|(order, at)| snapshot(order, at, Some(POLICY))).collect()
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(START + seconds, 0).unwrap()
}

fn decide(snapshots: &[Snapshot], retention: &Retention, now: DateTime<Utc>) -> Vec<Verdict> {
    decide_in(snapshots, retention, Tz::UTC, now)
}

fn decide_in(
    snapshots: &[Snapshot],
    retention: &Retention,
    zone: Tz,
    now: DateTime<Utc>,
) -> Vec<Verdict> {
    let view = View {
        policy: POLICY,
        retention,
        zone,
        now,
        protected: &BTreeMap::new(),
        short_of_space: false,
    };
    plan(snapshots, &view)
}

fn kept(verdicts: &[Verdict]) -> BTreeSet<SnapshotId> {
    verdicts.iter().filter(|one| one.keep).map(|one| one.snapshot.clone()).collect()
}

fn gone(verdicts: &[Verdict]) -> BTreeSet<SnapshotId> {
    verdicts.iter().filter(|one| !one.keep).map(|one| one.snapshot.clone()).collect()
}

fn without(snapshots: &[Snapshot], gone: &BTreeSet<SnapshotId>) -> Vec<Snapshot> {
    snapshots.iter().filter(|one| !gone.contains(&one.id)).cloned().collect()
}

fn any_retention() -> impl Strategy<Value = Retention> {
    let counts = (0..5_u32, 0..6_u32, 0..8_u32, 0..5_u32, 0..4_u32, 0..3_u32);
    let ages = (0..200_000_u64, proptest::option::of(200_000..40_000_000_u64));
    (counts, ages).prop_map(|(counts, (min_age_s, max_age_s))| {
        let (last, hourly, daily, weekly, monthly, yearly) = counts;
        let keep_labels = vec!["keep".to_owned()];
        Retention {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            min_age_s,
            max_age_s,
            keep_labels,
            ..Retention::default()
        }
    })
}

prop_compose! {
    /// Snapshots of this policy, of others and of nobody, in an order that the clock does not always
    /// follow, some of them torn, damaged or with a label.
    fn any_snapshots()(
        rows in proptest::collection::vec((0..3_000_000_i64, 0..10_u8, 0..12_u8), 0..60),
        is_in_order in any::<bool>(),
    ) -> Vec<Snapshot> {
        let mut moments: Vec<i64> = rows.iter().map(|(gap, _, _)| gap % 500_000).collect();
        if is_in_order {
            moments.iter_mut().fold(0, |sum, moment| { *moment += sum; *moment });
        }
        (1..).zip(rows).zip(moments).map(|((order, (_, whose, kind)), moment)| {
            let whose = match whose { 0 | 1 => None, 2 => Some(OTHER), _ => Some(POLICY) };
            let mut one = snapshot(order, moment, whose);
            match kind {
                0 => one.state = SnapshotState::Torn,
                1 => one.state = SnapshotState::Corrupt,
                2 => one.label = Some("keep".to_owned()),
                _ => {}
            }
            one
        }).collect()
    }
}

/// With more cases than usual: this is what loses data when it is wrong.
fn many() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) }
}

fn some() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn what_is_not_the_policys_is_never_destroyed(
        snapshots in any_snapshots(), retention in any_retention(), now in 0..60_000_000_i64,
        short in any::<bool>(),
    ) {
        let view = View {
            policy: POLICY, retention: &retention, zone: Tz::UTC, now: at(now),
            protected: &BTreeMap::new(), short_of_space: short,
        };
        let gone = gone(&plan(&snapshots, &view));
        let own: Vec<&Snapshot> = snapshots.iter().filter(|one| is_of(POLICY, one)).collect();
        for one in &snapshots {
            prop_assert!(!gone.contains(&one.id) || is_of(POLICY, one));
        }
        // Nor the last one, nor the last that is whole.
        for sound in [SnapshotState::Torn, SnapshotState::Complete] {
            let whole = own.iter().filter(|one| {
                one.state == SnapshotState::Complete || one.state == sound
            });
            if let Some(newest) = whole.max_by_key(|one| one.order) {
                prop_assert!(!gone.contains(&newest.id));
            }
        }
    }
}

proptest! {
    #![proptest_config(some())]

    #[test]
    fn destroying_once_is_destroying_all(
        snapshots in any_snapshots(), retention in any_retention(), now in 0..60_000_000_i64,
    ) {
        let first = decide(&snapshots, &retention, at(now));
        let left = without(&snapshots, &gone(&first));
        prop_assert_eq!(gone(&decide(&left, &retention, at(now))), BTreeSet::new());
    }

    #[test]
    fn nothing_that_went_would_be_wanted_later(
        snapshots in any_snapshots(), retention in any_retention(),
        now in 30_000_000..60_000_000_i64, later in 0..60_000_000_i64,
    ) {
        let first = gone(&decide(&snapshots, &retention, at(now)));
        let second = gone(&decide(&snapshots, &retention, at(now + later)));
        prop_assert!(first.is_subset(&second));
    }

    #[test]
    fn rules_add_up(
        snapshots in any_snapshots(), one in any_retention(), two in any_retention(),
        now in 0..60_000_000_i64,
    ) {
        let counting = |of: &Retention| Retention {
            min_age_s: 0, max_age_s: None, keep_labels: Vec::new(), ..of.clone()
        };
        let (one, two) = (counting(&one), counting(&two));
        prop_assume!(one.has_rules() && two.has_rules());
        let both = Retention {
            last: one.last.max(two.last), hourly: one.hourly.max(two.hourly),
            daily: one.daily.max(two.daily), weekly: one.weekly.max(two.weekly),
            monthly: one.monthly.max(two.monthly), yearly: one.yearly.max(two.yearly),
            ..Retention::default()
        };
        let kept = |rules: &Retention| kept(&decide(&snapshots, rules, at(now)));
        prop_assert_eq!(kept(&both), kept(&one).union(&kept(&two)).cloned().collect());
    }

    #[test]
    fn somebody_elses_snapshot_changes_nothing(
        snapshots in any_snapshots(), retention in any_retention(), now in 0..60_000_000_i64,
        place in 0..100_u64, moment in 0..60_000_000_i64, theirs in any::<bool>(),
    ) {
        let mut more = snapshots.clone();
        let whose = if theirs { None } else { Some(OTHER) };
        let mut foreign = snapshot(place, moment, whose);
        foreign.id.identity = "ffff".to_owned();
        more.push(foreign);
        let before = gone(&decide(&snapshots, &retention, at(now)));
        prop_assert_eq!(gone(&decide(&more, &retention, at(now))), before);
    }

    #[test]
    fn what_is_protected_stays_whatever_the_rules_say(
        snapshots in any_snapshots(), retention in any_retention(), now in 0..60_000_000_i64,
        chosen in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let held: BTreeMap<SnapshotId, Vec<Reason>> = snapshots.iter().zip(chosen)
            .filter(|(_, chosen)| *chosen)
            .map(|(one, _)| (one.id.clone(), vec![Reason::Held { by: "me".to_owned() }]))
            .collect();
        let view = View {
            policy: POLICY, retention: &retention, zone: Tz::UTC, now: at(now),
            protected: &held, short_of_space: true,
        };
        let gone = gone(&plan(&snapshots, &view));
        prop_assert!(held.keys().all(|id| !gone.contains(id)));
    }
}

#[test]
fn the_first_of_a_day_stands_for_it_and_stays() {
    let retention = Retention { hourly: 3, daily: 3, ..Retention::default() };
    let moments = |until: i64| own((0..=until).map(|hour| hour * 3600));
    let mut standing = BTreeSet::new();
    for hour in 0..200 {
        let snapshots = moments(hour);
        let verdicts = decide(&snapshots, &retention, at(hour * 3600));
        for verdict in &verdicts {
            let daily = |reason: &Reason| matches!(reason, Reason::Stands { kind: "daily", .. });
            if verdict.reasons.iter().any(daily) {
                standing.insert(verdict.snapshot.clone());
            }
        }
    }
    // START is at 22:13: two hours of the first day, 8 whole days, six hours of the last. Each day
    // has only ever had one.
    assert_eq!(standing.len(), 10);
}

#[test]
fn a_machine_that_was_off_keeps_what_it_has() {
    let retention = Retention { daily: 5, ..Retention::default() };
    let snapshots = own((0..5).map(|day| day * DAY));
    let verdicts = decide(&snapshots, &retention, at(2000 * DAY));
    assert_eq!(gone(&verdicts).len(), 0);
}

#[test]
fn days_are_those_of_the_time_zone() {
    // 2026-03-29 has 23 hours in Berlin and 2026-10-25 has 25.
    let begin = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp() - START;
    for (from, hours) in [("2026-03-28T23:00:00Z", 23), ("2026-10-24T22:00:00Z", 25)] {
        let from = begin(from);
        let snapshots = own((-24..hours + 24).map(|hour| from + hour * 3600));
        let daily = Retention { daily: 2, ..Retention::default() };
        let zone = Tz::Europe__Berlin;
        let now = at(from + (hours + 24) * 3600);
        let verdicts = decide_in(&snapshots, &daily, zone, now);
        let mut stays: Vec<i64> = snapshots
            .iter()
            .filter(|one| kept(&verdicts).contains(&one.id))
            .map(|one| (moment(one).timestamp() - START - from) / 3600)
            .collect();
        // The newest is kept as such.
        assert_eq!(stays.pop(), Some(hours + 23));
        assert_eq!(stays, [0, hours], "midnight of that day and of the next");
        // In autumn there are two hours of one name, and both count.
        let hourly = Retention { hourly: 60, ..Retention::default() };
        let verdicts = decide_in(&snapshots, &hourly, zone, now);
        assert_eq!(kept(&verdicts).len(), snapshots.len().min(60));
    }
}

#[test]
fn a_leap_day_is_a_day_and_weeks_are_those_of_iso() {
    let begin = DateTime::parse_from_rfc3339("2028-02-27T12:00:00Z").unwrap().timestamp() - START;
    let snapshots = own((0..4).map(|day| begin + day * DAY));
    let retention = Retention { daily: 10, ..Retention::default() };
    let verdicts = decide(&snapshots, &retention, at(begin + 5 * DAY));
    let times: Vec<String> = verdicts
        .iter()
        .flat_map(|verdict| &verdict.reasons)
        .filter_map(|reason| match reason {
            Reason::Stands { time, .. } => Some(time.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(times, ["2028-02-27", "2028-02-28", "2028-02-29", "2028-03-01"]);
    let new_year = DateTime::parse_from_rfc3339("2027-01-01T12:00:00Z").unwrap();
    assert_eq!(week(new_year.with_timezone(&Tz::UTC)), "2026-W53");
}

#[test]
fn twenty_years_of_hours_stay_within_what_the_rules_name() {
    let retention = Retention {
        last: 2,
        hourly: 24,
        daily: 7,
        weekly: 5,
        monthly: 12,
        yearly: 20,
        ..Retention::default()
    };
    let most = 2 + 24 + 7 + 5 + 12 + 20;
    let (mut there, mut order, mut destroyed) = (Vec::new(), 0, 0);
    // Every three hours, with a week off now and then; planned once a day.
    for step in 0..20 * 366 * 8_i64 {
        if (step / 56) % 11 == 10 {
            continue;
        }
        order += 1;
        there.push(snapshot(order, step * 10_800, Some(POLICY)));
        if step % 8 == 7 {
            let gone =
                gone(&decide_in(&there, &retention, Tz::America__New_York, at(step * 10_800)));
            destroyed += gone.len();
            there.retain(|one| !gone.contains(&one.id));
            assert!(there.len() <= most, "{} at step {step}", there.len());
        }
    }
    assert!(destroyed > 40_000, "{destroyed}");
    let years: BTreeSet<i32> = there.iter().map(|one| moment(one).year()).collect();
    assert!(years.len() >= 20, "{years:?}");
}

#[test]
fn torn_ones_stand_only_for_want_of_whole_ones() {
    let retention = Retention { daily: 2, ..Retention::default() };
    let mut snapshots = own([0, 60, 120, DAY]);
    snapshots[0].state = SnapshotState::Torn;
    snapshots[3].state = SnapshotState::Torn;
    let verdicts = decide(&snapshots, &retention, at(2 * DAY));
    let stays: Vec<bool> = verdicts.iter().map(|one| one.keep).collect();
    // The second stands for the first day, the third is the newest whole one.
    assert_eq!(stays, [false, true, true, true]);
}

#[test]
fn a_snapshot_from_the_future_stays_and_takes_nobodys_place() {
    let retention = Retention { last: 2, daily: 2, ..Retention::default() };
    let mut snapshots = own([0, DAY, 2 * DAY]);
    snapshots.push(snapshot(4, 3650 * DAY, Some(POLICY)));
    snapshots.push(snapshot(5, 3 * DAY, Some(POLICY)));
    let verdicts = decide(&snapshots, &retention, at(3 * DAY));
    let stays: Vec<bool> = verdicts.iter().map(|one| one.keep).collect();
    assert_eq!(stays, [false, false, true, true, true]);
    assert_eq!(verdicts[3].reasons, [Reason::Future]);
}

#[test]
fn room_is_made_from_the_oldest_and_never_from_what_is_firm() {
    let retention = Retention { daily: 30, min_age_s: 100, ..Retention::default() };
    let snapshots = own((0..20).map(|day| day * DAY));
    let held = BTreeMap::from([(snapshots[1].id.clone(), vec![Reason::Held { by: "x".into() }])]);
    let view = View {
        policy: POLICY,
        retention: &retention,
        zone: Tz::UTC,
        now: at(20 * DAY),
        protected: &held,
        short_of_space: true,
    };
    let verdicts = plan(&snapshots, &view);
    let stays: Vec<bool> = verdicts.iter().take(12).map(|one| one.keep).collect();
    assert_eq!(stays.iter().filter(|keep| !**keep).count(), 10);
    assert!(stays[1] && stays[11], "the held one, and what lies behind the tenth");
    assert_eq!(verdicts[0].reasons, [Reason::Space]);
}

#[test]
fn without_rules_nothing_goes_and_with_age_alone_only_the_old() {
    let snapshots = own((0..10).map(|day| day * DAY));
    assert!(gone(&decide(&snapshots, &Retention::default(), at(5000 * DAY))).is_empty());
    let age = Retention { max_age_s: Some(4 * 86_400), ..Retention::default() };
    assert_eq!(gone(&decide(&snapshots, &age, at(9 * DAY))).len(), 5);
    assert_eq!(gone(&decide(&snapshots, &age, at(5000 * DAY))).len(), 9, "never the newest");
}

#[test]
fn a_fifth_goes_at_once_and_ten_at_least() {
    let rules = Retention::default();
    assert_eq!((most_at_once(&rules, 3), most_at_once(&rules, 1000)), (10, 200));
    let own = Retention { max_destroy_per_run: Some(2), ..rules };
    assert_eq!(most_at_once(&own, 1000), 2);
}
