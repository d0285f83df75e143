use proptest::prelude::*;

use super::*;

fn time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn schedule(cron: &str) -> Schedule {
    Schedule {
        label: "test".to_owned(),
        cron: Some(cron.to_owned()),
        every_s: None,
        jitter_s: 0,
        window: None,
        catch_up: CatchUp::One,
        max_lateness_s: None,
    }
}

fn table(cron: &str, zone: &str) -> Timetable {
    Timetable::read(&schedule(cron), zone.parse().unwrap()).unwrap()
}

/// What a scheduler that looks every minute takes between two moments.
fn taken(table: &Timetable, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let (mut now, mut last, mut slots) = (from, from, Vec::new());
    while now <= until {
        let due = due(table, b"x", last, now);
        assert!(due.until >= last && due.until <= now);
        last = due.until;
        slots.extend(due.slot);
        now += TimeDelta::minutes(1);
    }
    slots
}

#[test]
fn a_daily_job_runs_once_a_day_also_when_the_clocks_change() {
    for (zone, day) in [
        ("Europe/Berlin", "2026-03-28T12:00:00Z"),
        ("Europe/Berlin", "2026-10-24T12:00:00Z"),
        ("America/New_York", "2026-03-07T12:00:00Z"),
        ("America/New_York", "2026-10-31T12:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
        ("Africa/Casablanca", "2026-02-14T12:00:00Z"),
    ] {
        for cron in ["30 2 * * *", "0 2 * * *", "59 1 * * *", "0 3 * * *", "@daily"] {
            let from = time(day);
            let slots = taken(&table(cron, zone), from, from + TimeDelta::days(4));
            assert_eq!(slots.len(), 4, "{zone} {cron}: {slots:?}");
        }
    }
}

#[test]
fn an_hourly_job_runs_every_hour_of_the_world() {
    for day in ["2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z"] {
        let from = time(day);
        let slots = taken(&table("0 * * * *", "Europe/Berlin"), from, from + TimeDelta::hours(36));
        assert_eq!(slots.len(), 36, "{slots:?}");
        assert!(slots.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::hours(1)));
    }
}

#[test]
fn a_leap_day_comes_every_four_years() {
    let table = table("0 0 29 2 *", "UTC");
    let next = table.after(time("2026-01-01T00:00:00Z"));
    assert_eq!(next, Some(time("2028-02-29T00:00:00Z")));
    assert_eq!(table.at_or_before(time("2031-12-31T00:00:00Z")), next);
}

#[test]
fn a_week_that_was_missed_is_caught_up_with_once() {
    let table = table("0 * * * *", "UTC");
    let last = time("2026-11-20T10:00:00Z");
    let now = time("2026-11-27T10:20:00Z");
    let first = due(&table, b"x", last, now);
    assert_eq!(first.slot, Some(time("2026-11-27T10:00:00Z")));
    assert_eq!(first.missed, 7 * 24 - 1);
    let then = due(&table, b"x", first.until, now);
    assert_eq!((then.slot, then.missed), (None, 0));
    assert_eq!(then.next, Some(time("2026-11-27T11:00:00Z")));
    let years = due(&table, b"x", time("1999-01-01T00:00:00Z"), now);
    assert_eq!((years.slot, years.missed), (first.slot, MISSED_MAX - 1));
}

#[test]
fn what_is_too_late_or_not_to_be_caught_up_with_is_only_counted() {
    let last = time("2026-11-20T10:00:00Z");
    let now = time("2026-11-27T10:20:00Z");
    let read = |schedule: &Schedule| Timetable::read(schedule, Tz::UTC).unwrap();
    let none = Schedule { catch_up: CatchUp::None, ..schedule("0 0 * * *") };
    let given_up = due(&read(&none), b"x", last, now);
    assert_eq!((given_up.slot, given_up.missed), (None, 7));
    assert_eq!(given_up.until, time("2026-11-27T00:00:00Z"));
    let on_time = due(&read(&none), b"x", last, time("2026-11-21T00:00:30Z"));
    assert_eq!((on_time.slot, on_time.missed), (Some(time("2026-11-21T00:00:00Z")), 0));
    let late = Schedule { max_lateness_s: Some(3600), ..schedule("0 0 * * *") };
    assert_eq!(due(&read(&late), b"x", last, now).slot, None);
    assert!(due(&read(&late), b"x", last, time("2026-11-27T00:59:00Z")).slot.is_some());
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_the_schedule() {
    let table = table("0 * * * *", "UTC");
    let last = time("2027-11-27T10:00:00Z");
    let now = time("2026-11-27T10:20:00Z");
    let first = due(&table, b"x", last, now);
    assert_eq!((first.slot, first.until), (None, now));
    let next = due(&table, b"x", first.until, time("2026-11-27T11:00:01Z"));
    assert_eq!(next.slot, Some(time("2026-11-27T11:00:00Z")));
}

#[test]
fn a_window_may_lie_over_midnight() {
    let window = Window { begin: "22:00".to_owned(), end: "02:00".to_owned() };
    let table = Schedule { window: Some(window), ..schedule("0 * * * *") };
    let table = Timetable::read(&table, "Europe/Berlin".parse().unwrap()).unwrap();
    let from = time("2026-11-27T12:00:00Z");
    let slots = taken(&table, from, from + TimeDelta::hours(24));
    let hours: Vec<String> = slots.iter().map(|slot| slot.format("%H").to_string()).collect();
    assert_eq!(hours, ["21", "22", "23", "00"]);
}

#[test]
fn jitter_waits_the_same_time_for_the_same_slot_and_loses_none() {
    let jittered = Schedule { jitter_s: 1800, ..schedule("0 * * * *") };
    let table = Timetable::read(&jittered, Tz::UTC).unwrap();
    let from = time("2026-11-27T12:00:00Z");
    assert_eq!(taken(&table, from, from + TimeDelta::hours(24)).len(), 23);
    let slot = time("2026-11-27T13:00:00Z");
    let begins: Vec<TimeDelta> = (0..50_u8).map(|salt| table.jitter(slot, &[salt])).collect();
    assert!(begins.iter().all(|wait| (0..=1800).contains(&wait.num_seconds())));
    assert!(begins.iter().any(|wait| *wait != begins[0]));
    assert_eq!(table.jitter(slot, b"a"), table.jitter(slot, b"a"));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |schedule: &Schedule| Timetable::read(schedule, Tz::UTC).unwrap_err().to_string();
    for cron in ["", "* * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "x", "@reboot"] {
        let sentence = refused(&schedule(cron));
        assert!(sentence.contains("cron pattern"), "{cron}: {sentence}");
    }
    let neither = Schedule { cron: None, ..schedule("") };
    assert!(refused(&neither).contains("either"));
    let both = Schedule { every_s: Some(600), ..schedule("0 0 * * *") };
    assert!(refused(&both).contains("either"));
    let fast = Schedule { every_s: Some(1), cron: None, ..schedule("") };
    assert!(refused(&fast).contains("every_s"));
    for (begin, end) in [("24:00", "1:00"), ("x", "01:00"), ("01:00", "01:00")] {
        let window = Some(Window { begin: begin.to_owned(), end: end.to_owned() });
        let windowed = Schedule { window, ..schedule("0 * * * *") };
        assert!(!refused(&windowed).is_empty());
    }
    let window = Some(Window { begin: "03:00".to_owned(), end: "04:00".to_owned() });
    let never = Schedule { window, ..schedule("0 12 * * *") };
    assert!(refused(&never).contains("no moment"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_last_slot_is_the_one_that_counting_up_finds(
        begin in 1_760_000_000..1_800_000_000_i64, cron in 0..6_usize, zone in 0..4_usize,
    ) {
        let cron = ["0 * * * *", "*/7 * * * *", "30 2 * * *", "0 0 * * 1", "15 1,2,3 * * *", "0 0 L * *"][cron];
        let zone = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"][zone];
        let table = table(cron, zone);
        let begin = DateTime::from_timestamp(begin, 0).unwrap();
        let mut slot = table.after(begin).unwrap();
        for _ in 0..40 {
            let next = table.after(slot).unwrap();
            prop_assert!(next > slot);
            let between = slot + (next - slot) / 2;
            prop_assert_eq!(table.at_or_before(between), Some(slot));
            prop_assert_eq!(table.at_or_before(slot), Some(slot));
            slot = next;
        }
    }
}
