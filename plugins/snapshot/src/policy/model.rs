//! What a policy is, and whether it can be meant. Plain data.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schedule;
use super::select;
use crate::backend::{Error, Result, name};

/// Most schedules of one policy, patterns of one selection, and labels that stay.
const LIST_MAX: usize = 64;
/// Longest title in bytes.
const TITLE_BYTES_MAX: usize = 200;
/// Most snapshots one rule keeps. With five rules a dataset has at most half a million.
const COUNT_MAX: u32 = 100_000;
/// Longest time in seconds: a hundred years.
const AGE_S_MAX: u64 = 100 * 366 * 86_400;

/// Of what snapshots are taken when, and which stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its identity, which every snapshot of it carries. A new one when absent.
    #[serde(default = "Uuid::new_v4")]
    pub id: Uuid,
    /// What people call it; may change at any time.
    pub title: String,
    /// Whether its schedules count, and what it does not keep is destroyed by itself.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Of what.
    pub datasets: Selection,
    /// When; without any it takes snapshots only when somebody asks.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// What stays.
    #[serde(default)]
    pub retention: Retention,
    /// The time zone of its schedules and of the days, weeks and months of its retention: a name of
    /// the IANA database, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Take none while nothing has changed since the newest one, where the storage can tell.
    #[serde(default)]
    pub skip_if_unchanged: bool,
}

/// Which datasets a policy is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Ids, names, or patterns for names: `*` stands for anything within one part of a name, `**`
    /// as a part for any number of parts.
    pub include: Vec<String>,
    /// The same, for what is left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Also what lies below each of them, at the same instant where the storage can do that.
    #[serde(default)]
    pub recursive: bool,
}

/// When snapshots are taken. Exactly one of `cron` and `every_s` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Names the schedule within its policy and becomes part of the snapshots' names.
    pub label: String,
    /// A cron pattern of five fields in the policy's time zone; also `L`, `#` and `@daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Every so many seconds, counted from 1970 and so not from when the daemon was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u64>,
    /// Begin at some moment within so many seconds, the same one for the same policy and time, so
    /// that a hundred hosts do not begin together.
    #[serde(default)]
    pub jitter_s: u32,
    /// Only at times of the day within this window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What to do about times that have passed while nobody was there.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// A time that has passed longer ago than this is not caught up with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lateness_s: Option<u64>,
}

/// A part of every day, by the clock of the policy's time zone; over midnight when it ends before it
/// begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// `HH:MM`, within it.
    pub begin: String,
    /// `HH:MM`, no longer within it.
    pub end: String,
}

/// What to do about times that have passed while nobody was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// One snapshot for all of them.
    #[default]
    One,
    /// Nothing.
    None,
}

/// What stays. The rules add up: a snapshot that any of them keeps is kept. Without any rule
/// everything is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The newest so many.
    pub last: u32,
    /// The first of an hour, of the newest so many hours that have one.
    pub hourly: u32,
    /// The first of a day, likewise.
    pub daily: u32,
    /// The first of an ISO week, likewise.
    pub weekly: u32,
    /// The first of a month, likewise.
    pub monthly: u32,
    /// The first of a year, likewise.
    pub yearly: u32,
    /// Nothing younger than so many seconds goes.
    pub min_age_s: u64,
    /// What the rules above keep goes after so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u64>,
    /// Snapshots with one of these labels stay for ever.
    pub keep_labels: Vec<String>,
    /// When less than this part of the pool is free, the oldest of what the rules keep go, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_free_percent: Option<u8>,
    /// Most snapshots that go at once without anybody's approval. Absent: a fifth of what the policy
    /// has, and ten at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_destroy_per_run: Option<u32>,
}

impl Retention {
    /// Whether there is a rule at all. Without one nothing is ever destroyed.
    pub fn has_rules(&self) -> bool {
        self.counts() || self.max_age_s.is_some()
    }

    /// Whether nothing but age decides.
    pub fn only_age(&self) -> bool {
        !self.counts() && self.max_age_s.is_some()
    }

    fn counts(&self) -> bool {
        let counts = [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        counts.iter().any(|count| *count > 0)
    }
}

impl Policy {
    /// Refuses what cannot be meant, in the words of the first thing that is wrong.
    ///
    /// # Errors
    /// What is wrong, and what was expected.
    pub fn check(&self) -> Result<()> {
        if self.title.trim().is_empty()
            || self.title.len() > TITLE_BYTES_MAX
            || self.title.chars().any(char::is_control)
        {
            return wrong(format!("`title` is one line of 1 to {TITLE_BYTES_MAX} bytes."));
        }
        let zone = self.zone()?;
        self.datasets.check()?;
        short("schedules", self.schedules.len())?;
        let mut labels = BTreeSet::new();
        for schedule in &self.schedules {
            name::check_label(&schedule.label)?;
            if !labels.insert(&schedule.label) {
                return wrong(format!(
                    "Two schedules have the label {}. Give each its own.",
                    schedule.label
                ));
            }
            schedule::Timetable::read(schedule, zone)?;
        }
        self.retention.check()
    }

    /// Its time zone.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn zone(&self) -> Result<Tz> {
        self.timezone.parse().map_err(|_| {
            Error::bad_request(format!(
                "There is no time zone \"{}\". Take a name such as UTC or Europe/Berlin.",
                self.timezone.escape_debug()
            ))
        })
    }
}

impl Selection {
    fn check(&self) -> Result<()> {
        short("datasets.include", self.include.len())?;
        short("datasets.exclude", self.exclude.len())?;
        if self.include.is_empty() {
            return wrong("`datasets.include` names no dataset.".to_owned());
        }
        self.include.iter().chain(&self.exclude).try_for_each(|text| select::check(text))
    }
}

impl Retention {
    fn check(&self) -> Result<()> {
        let counts = [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ];
        if let Some((rule, _)) = counts.iter().find(|(_, count)| *count > COUNT_MAX) {
            return wrong(format!("`retention.{rule}` is at most {COUNT_MAX}."));
        }
        let ages = [Some(self.min_age_s), self.max_age_s];
        if ages.iter().flatten().any(|age| *age > AGE_S_MAX) {
            return wrong("An age in `retention` is at most a hundred years.".to_owned());
        }
        if self.max_age_s.is_some_and(|age| age < self.min_age_s.max(60)) {
            return wrong(
                "`retention.max_age_s` is less than a minute or than `min_age_s`.".to_owned(),
            );
        }
        if self.min_free_percent.is_some_and(|percent| percent > 90) {
            return wrong("`retention.min_free_percent` is at most 90.".to_owned());
        }
        if self.max_destroy_per_run == Some(0) {
            return wrong(
                "`retention.max_destroy_per_run` is 1 at least. Without rules nothing goes."
                    .to_owned(),
            );
        }
        short("retention.keep_labels", self.keep_labels.len())?;
        self.keep_labels.iter().try_for_each(|label| name::check_label(label))
    }
}

fn short(what: &str, length: usize) -> Result<()> {
    if length <= LIST_MAX {
        return Ok(());
    }
    wrong(format!("`{what}` has at most {LIST_MAX} members."))
}

fn wrong<T>(sentence: String) -> Result<T> {
    Err(Error::bad_request(sentence))
}

fn yes() -> bool {
    true
}

fn utc() -> String {
    "UTC".to_owned()
}
