//! What follows from the rules, whatever order things happen in.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::record::{ALLOWANCE, FAILURES, PENALTY, PENALTY_MAX};
use super::*;

/// The password checks a source may have that turn out wrong, in [`SPAN`].
const CHECKS_MAX: usize = 25;
const SPAN: Duration = Duration::from_mins(10);
/// Some day, in seconds.
const DAY: u64 = 1_800_000_000;

fn at(seconds: u64) -> Time {
    Time::from_micros((DAY + seconds) * 1_000_000)
}

fn source(number: u32) -> Source {
    Source::from(IpAddr::from(Ipv4Addr::from_bits(0x7f00_0001 + number)))
}

fn is_refused(attempt: Attempt) -> bool {
    matches!(attempt, Attempt::Refuse { .. })
}

/// One thing that happens.
#[derive(Debug, Clone)]
struct Act {
    /// Milliseconds since the one before.
    after: u64,
    source: u32,
    account: u8,
    /// Whether the password is right.
    right: bool,
    /// Milliseconds the check takes.
    takes: u64,
}

fn acts(sources: u32) -> impl Strategy<Value = Vec<Act>> {
    // Mostly as fast as one can, sometimes with patience.
    let after = prop_oneof![6 => 0u64..2_000, 3 => 0u64..70_000, 1 => 0u64..1_000_000];
    let right = prop_oneof![4 => Just(false), 1 => Just(true)];
    let act = (after, 0..sources, 0u8..3, right, 0u64..30_000).prop_map(
        |(after, source, account, right, takes)| Act { after, source, account, right, takes },
    );
    vec(act, 1..400)
}

/// A world of attempts that overlap, and what was seen in it.
#[derive(Default)]
struct World {
    penalties: Penalties,
    /// Checks that run: when they end, of whom, how.
    running: Vec<(Time, Source, String, Lane, bool)>,
    /// When checks ended that were wrong, where, and on the account of somebody known there.
    wrong: HashMap<(Source, Option<String>), Vec<Time>>,
    refusals: Vec<Duration>,
}

impl World {
    /// Ends the checks that are done by now, in order.
    fn end(&mut self, now: Time) {
        self.running.sort_by_key(|(end, ..)| *end);
        let done = self.running.partition_point(|(end, ..)| *end <= now);
        for (end, source, account, lane, right) in self.running.drain(..done) {
            if right {
                self.penalties.succeeded(&source, Some(&account), end);
            } else {
                self.penalties.failed(&source, Some(&account), end);
                let known = (lane == Lane::Known).then_some(account);
                self.wrong.entry((source, known)).or_default().push(end);
            }
        }
    }

    fn play(&mut self, acts: &[Act]) {
        let mut now = at(0);
        for act in acts {
            now = after(now, Duration::from_millis(act.after));
            self.end(now);
            let (source, account) = (source(act.source), act.account.to_string());
            match self.penalties.may_try(&source, Some(&account), now) {
                Attempt::Go { delay, lane } => {
                    assert!(delay <= DELAY_MAX);
                    let end = after(now, Duration::from_millis(act.takes));
                    self.running.push((end, source, account, lane, act.right));
                }
                Attempt::Refuse { retry_after } => self.refusals.push(retry_after),
            }
        }
        self.end(after(now, Duration::from_mins(1)));
    }
}

proptest! {
    #[test]
    fn no_source_has_more_than_25_wrong_checks_in_ten_minutes(acts in acts(2)) {
        let mut world = World::default();
        world.play(&acts);
        for times in world.wrong.values() {
            for (first, start) in times.iter().enumerate() {
                let within = times[first..].iter().take_while(|end| **end <= after(*start, SPAN));
                prop_assert!(within.count() <= CHECKS_MAX);
            }
        }
        for refusal in world.refusals {
            prop_assert!(!refusal.is_zero() && refusal <= PENALTY_MAX, "{refusal:?}");
        }
    }

    #[test]
    fn whoever_is_right_is_never_refused(acts in acts(3)) {
        let mut world = World::default();
        // One after the other: what is not decided yet could be wrong.
        let right = |act| Act { right: true, takes: 0, ..act };
        world.play(&acts.into_iter().map(right).collect::<Vec<_>>());
        prop_assert!(world.refusals.is_empty());
    }

    #[test]
    fn nobody_elses_failures_touch_who_is_known(acts in acts(50)) {
        let mut world = World { penalties: Penalties::with_bounds(20, 2), ..World::default() };
        let admin = source(0);
        world.penalties.succeeded(&admin, Some("0"), at(0));
        let mut now = at(0);
        for act in acts {
            now = after(now, Duration::from_millis(act.after));
            // Elsewhere on the administrator's account, at their own address on others.
            let account = if act.source == 0 { "1" } else { "0" };
            world.penalties.failed(&source(act.source), Some(account), now);
            let attempt = world.penalties.may_try(&admin, Some("0"), now);
            let free = Attempt::Go { lane: Lane::Known, delay: Duration::ZERO };
            prop_assert_eq!(attempt, free);
            world.penalties.succeeded(&admin, Some("0"), now);
        }
    }

    #[test]
    fn memory_is_bounded_and_a_penalty_is_not_forgotten(acts in acts(200)) {
        let mut world = World { penalties: Penalties::with_bounds(10, 5), ..World::default() };
        let guesser = source(1_000);
        for _ in 0..FAILURES {
            world.penalties.failed(&guesser, None, at(0));
        }
        let mut now = at(1);
        for act in acts {
            // Others fail without end while the penalty lasts.
            now = after(now, Duration::from_millis(act.after)).min(at(PENALTY.as_secs() - 1));
            let other = source(act.source);
            world.penalties.may_try(&other, Some(&act.source.to_string()), now);
            world.penalties.failed(&other, Some(&act.source.to_string()), now);
            prop_assert!(is_refused(world.penalties.may_try(&guesser, None, now)));
            prop_assert!(world.penalties.sources.len() <= 10);
            prop_assert!(world.penalties.accounts.len() <= 5);
        }
    }

    #[test]
    fn however_the_clock_is_set_nobody_waits_longer_than_ten_minutes(
        steps in vec((0u64..5_000, 1u8..30), 1..60),
    ) {
        let mut penalties = Penalties::default();
        for (seconds, failures) in steps {
            for _ in 0..failures {
                penalties.failed(&source(0), Some("a"), at(seconds));
            }
            if let Attempt::Refuse { retry_after } = penalties.may_try(&source(0), None, at(0)) {
                prop_assert!(retry_after <= PENALTY_MAX, "{retry_after:?}");
            }
        }
    }
}

/// Fails as soon as it may, for so long; when it failed, in seconds.
fn guess(penalties: &mut Penalties, seconds: u64) -> Vec<u64> {
    let mut failures = Vec::new();
    let mut now = 0;
    while now <= seconds {
        match penalties.may_try(&source(0), Some("root"), at(now)) {
            Attempt::Go { .. } => {
                penalties.failed(&source(0), Some("root"), at(now));
                failures.push(now);
            }
            Attempt::Refuse { retry_after } => now += retry_after.as_secs(),
        }
    }
    failures
}

#[test]
fn the_fifth_failure_costs_fifteen_seconds_and_each_further_one_twice_as_much() {
    let mut penalties = Penalties::default();
    let failures = guess(&mut penalties, 4_000);
    assert_eq!(failures[..10], [0, 0, 0, 0, 0, 15, 45, 105, 225, 465]);
    assert_eq!(failures[10..13], [945, 1_545, 2_145], "at most ten minutes");
}

#[test]
fn four_failures_a_minute_are_no_attack_but_not_for_long() {
    let mut penalties = Penalties::default();
    let mut refused = Vec::new();
    for second in (0..600).step_by(16) {
        match penalties.may_try(&source(0), None, at(second)) {
            Attempt::Go { .. } => penalties.failed(&source(0), None, at(second)),
            Attempt::Refuse { .. } => refused.push(second),
        }
    }
    assert!(refused.iter().all(|second| *second > 180), "{refused:?}");
    assert!(600 / 16 - refused.len() <= CHECKS_MAX);
}

#[test]
fn a_quiet_quarter_of_an_hour_or_a_success_begins_anew() {
    let mut penalties = Penalties::default();
    let last = *guess(&mut penalties, 60).last().unwrap();
    let later = at(last + 60 + 15 * 60);
    for _ in 0..FAILURES - 1 {
        assert!(!is_refused(penalties.may_try(&source(0), None, later)));
        penalties.failed(&source(0), None, later);
    }
    assert!(!is_refused(penalties.may_try(&source(0), None, later)));
    penalties.succeeded(&source(0), None, later);
    for _ in 0..FAILURES - 1 {
        penalties.failed(&source(0), None, later);
    }
    assert!(!is_refused(penalties.may_try(&source(0), None, later)));
}

#[test]
fn guesses_at_one_account_are_not_paid_with_successes_at_another() {
    let mut penalties = Penalties::default();
    let mut checks = 0;
    for second in 0..SPAN.as_secs() {
        if !is_refused(penalties.may_try(&source(0), Some("root"), at(second))) {
            penalties.failed(&source(0), Some("root"), at(second));
            checks += 1;
        }
        if !is_refused(penalties.may_try(&source(0), Some("mallory"), at(second))) {
            penalties.succeeded(&source(0), Some("mallory"), at(second));
        }
    }
    assert!(checks <= CHECKS_MAX, "{checks}");
}

#[test]
fn attempts_at_the_same_time_are_as_few() {
    let mut penalties = Penalties::default();
    let mut go = || !is_refused(penalties.may_try(&source(0), None, at(0)));
    let begun = (0..1_000).filter(|_| go()).count();
    assert_eq!(begun, ALLOWANCE as usize);
    let short = Attempt::Refuse { retry_after: Duration::from_secs(1) };
    assert_eq!(penalties.may_try(&source(0), None, at(0)), short);
    // Nothing more is heard of them, so they count as failed.
    assert!(is_refused(penalties.may_try(&source(0), None, at(61))));
}

#[test]
fn many_who_fail_on_one_account_slow_strangers_down_a_little() {
    let mut penalties = Penalties::default();
    penalties.succeeded(&source(500), Some("root"), at(0));
    for number in 0..200 {
        penalties.failed(&source(number), Some("root"), at(1));
    }
    let slow = Attempt::Go { lane: Lane::Unknown, delay: DELAY_MAX };
    assert_eq!(penalties.may_try(&source(501), Some("root"), at(1)), slow);
    let free = Attempt::Go { lane: Lane::Known, delay: Duration::ZERO };
    assert_eq!(penalties.may_try(&source(500), Some("root"), at(1)), free);
    assert_eq!(penalties.may_try(&source(501), Some("else"), at(2)), {
        // Its first attempt is not decided yet.
        Attempt::Go { lane: Lane::Unknown, delay: Duration::ZERO }
    });
    let fresh = Attempt::Go { lane: Lane::Fresh, delay: Duration::ZERO };
    assert_eq!(penalties.may_try(&source(502), Some("else"), at(2)), fresh);
    assert_eq!(penalties.may_try(&source(503), Some("root"), at(601)), fresh, "it cools down");
}

#[test]
fn a_login_is_remembered_for_thirty_days_and_for_so_many() {
    let mut penalties = Penalties::default();
    penalties.succeeded(&source(0), Some("root"), at(0));
    let month = 30 * 86_400;
    let lane = |penalties: &mut Penalties, second: u64| {
        for number in 0..20 {
            penalties.failed(&source(1 + number), Some("root"), at(second));
        }
        penalties.may_try(&source(0), Some("root"), at(second))
    };
    let free = Attempt::Go { lane: Lane::Known, delay: Duration::ZERO };
    assert_eq!(lane(&mut penalties, month - 1), free);
    penalties.succeeded(&source(0), None, at(month - 1));
    assert_ne!(lane(&mut penalties, month + 1), free);
    for number in 0..10_000 {
        penalties.succeeded(&source(number), Some("one"), at(month));
        penalties.succeeded(&source(0), Some(&number.to_string()), at(month));
    }
    assert!(penalties.known.len() <= 64 + 1_024, "{}", penalties.known.len());
}

#[test]
fn strangers_get_in_when_nobody_more_can_be_remembered() {
    let mut penalties = Penalties::with_bounds(10, 10);
    for number in 0..10 {
        for _ in 0..FAILURES {
            penalties.failed(&source(number), None, at(0));
        }
    }
    let slow = Attempt::Go { lane: Lane::Unknown, delay: DELAY_MAX };
    assert_eq!(penalties.may_try(&source(77), Some("root"), at(1)), slow);
    assert!(is_refused(penalties.may_try(&source(9), None, at(1))));
    let fresh = Attempt::Go { lane: Lane::Fresh, delay: Duration::ZERO };
    assert_eq!(penalties.may_try(&source(77), Some("root"), at(16)), fresh, "there is room again");
}

#[test]
fn who_is_known_waits_for_failures_on_their_own_account_and_a_success_ends_that() {
    let mut penalties = Penalties::default();
    penalties.succeeded(&source(0), Some("root"), at(0));
    let mut go = |second| !is_refused(penalties.may_try(&source(0), Some("root"), at(second)));
    let begun = (0..100).filter(|_| go(0)).count();
    assert_eq!(begun, ALLOWANCE as usize, "also a guesser at the administrator's address");
    let mut penalties = Penalties::default();
    penalties.succeeded(&source(0), Some("root"), at(0));
    for _ in 0..FAILURES {
        penalties.failed(&source(0), Some("root"), at(0));
    }
    let refused = Attempt::Refuse { retry_after: PENALTY };
    assert_eq!(penalties.may_try(&source(0), Some("root"), at(0)), refused);
    let fresh = Attempt::Go { lane: Lane::Fresh, delay: Duration::ZERO };
    assert_eq!(penalties.may_try(&source(0), Some("else"), at(0)), fresh, "nobody else waits");
    let later = at(PENALTY.as_secs());
    assert!(!is_refused(penalties.may_try(&source(0), Some("root"), later)));
    penalties.succeeded(&source(0), Some("root"), later);
    let free = Attempt::Go { lane: Lane::Known, delay: Duration::ZERO };
    assert_eq!(penalties.may_try(&source(0), Some("root"), later), free);
}

#[test]
fn what_could_not_be_checked_is_held_against_nobody() {
    let mut penalties = Penalties::default();
    penalties.succeeded(&source(1), Some("known"), at(0));
    for (number, account) in [(0, "new"), (1, "known")] {
        for second in 0..1_000 {
            let attempt = penalties.may_try(&source(number), Some(account), at(second));
            assert!(!is_refused(attempt), "{account} at {second}");
            penalties.undecided(&source(number), account, at(second));
        }
    }
}

#[test]
fn a_login_from_before_is_as_good_as_one_of_now_but_not_for_longer() {
    let mut penalties = Penalties::default();
    let (old, recent) = (at(0), at(29 * 86_400));
    let now = at(31 * 86_400);
    // Newest first, as a trail is read backwards.
    penalties.recall(&source(0), "root", recent, now);
    penalties.recall(&source(0), "root", old, now);
    penalties.recall(&source(1), "root", old, now);
    let free = Attempt::Go { lane: Lane::Known, delay: Duration::ZERO };
    assert_eq!(penalties.may_try(&source(0), Some("root"), now), free);
    let fresh = Attempt::Go { lane: Lane::Fresh, delay: Duration::ZERO };
    assert_eq!(penalties.may_try(&source(1), Some("root"), now), fresh);
    assert_eq!(penalties.may_try(&source(0), Some("root"), at(60 * 86_400)), fresh);
}

#[test]
fn a_clock_that_is_set_back_forgets() {
    let mut penalties = Penalties::default();
    guess(&mut penalties, 1_000);
    assert!(is_refused(penalties.may_try(&source(0), None, at(1_001))));
    assert!(!is_refused(penalties.may_try(&source(0), None, at(0))));
}

#[test]
fn one_who_has_many_addresses_is_one_source() {
    let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(source("2001:db8::1"), source("2001:db8:0:0:ffff::2"));
    assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    assert_eq!(source("::ffff:192.0.2.7"), source("192.0.2.7"));
    assert_ne!(source("192.0.2.7"), source("192.0.2.8"));
    assert_ne!(Source::local(1_000), Source::local(1_001));
}

#[test]
fn root_may_mistype_as_often_as_they_like() {
    let mut penalties = Penalties::default();
    for _ in 0..100 {
        penalties.failed(&Source::local(0), Some("root"), at(0));
    }
    assert!(!is_refused(penalties.may_try(&Source::local(0), Some("root"), at(0))));
    assert_eq!(penalties.sources.len(), 0);
}
