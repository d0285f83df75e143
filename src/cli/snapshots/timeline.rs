//! Snapshots by days: how many there are, and from when to when.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::output::{self, Style};

/// Marks on one line; what is more is written as a number.
const MARKS_MAX: usize = 48;

/// What there is of one day.
#[derive(Debug, Default)]
struct Day {
    ours: usize,
    foreign: usize,
    first: String,
    last: String,
}

/// Prints the days of each dataset, the newest first. With `--json` the list as it is.
pub(super) fn show(style: Style, answer: &Value) -> Result<(), Failure> {
    if style.json {
        return output::value(style, answer);
    }
    let text = lines(answer, style);
    if text.is_empty() {
        output::remark("there are no snapshots");
        return Ok(());
    }
    output::print(&text)
}

fn lines(answer: &Value, style: Style) -> String {
    let mut datasets: BTreeMap<String, BTreeMap<String, Day>> = BTreeMap::new();
    for snapshot in answer["snapshots"].as_array().into_iter().flatten() {
        let name = output::clean(&output::text(&snapshot["dataset_name"]));
        let created = output::clean(snapshot["created"].as_str().unwrap_or_default());
        let Some((day, time)) = created.split_once('T') else { continue };
        let time = time.get(..5).unwrap_or(time).to_owned();
        let day = datasets.entry(name).or_default().entry(day.to_owned()).or_default();
        if snapshot["owner"] == "ours" {
            day.ours += 1;
        } else {
            day.foreign += 1;
        }
        if day.first.is_empty() || time < day.first {
            day.first.clone_from(&time);
        }
        if time > day.last {
            day.last = time;
        }
    }
    let mut text = String::new();
    for (name, days) in &datasets {
        let total: usize = days.values().map(|day| day.ours + day.foreign).sum();
        text.push_str(&style.bold(&format!("{name}  {total}")));
        text.push('\n');
        for (date, day) in days.iter().rev() {
            text.push_str(&line(date, day));
        }
    }
    text
}

/// `2026-11-27  00:00-03:00Z  4  ****`: a star for each of ours, a point for each foreign one.
fn line(date: &str, day: &Day) -> String {
    let count = day.ours + day.foreign;
    let stars = "*".repeat(day.ours.min(MARKS_MAX));
    let points = ".".repeat(day.foreign.min(MARKS_MAX - stars.len()));
    let more = if count > MARKS_MAX { "…" } else { "" };
    format!("  {date}  {}-{}Z  {count:>4}  {stars}{points}{more}\n", day.first, day.last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn days_are_counted_newest_first() {
        let one = |created: &str, owner: &str| json!({ "dataset_name": "tank", "created": created, "owner": owner });
        let answer = json!({ "snapshots": [
            one("2026-11-26T23:00:00Z", "ours"),
            one("2026-11-27T03:00:00Z", "ours"),
            one("2026-11-27T00:30:00Z", "foreign"),
            one("nonsense", "ours"),
        ] });
        assert_eq!(
            lines(&answer, Style { json: false, colour: false }),
            "tank  3\n  2026-11-27  00:30-03:00Z     2  *.\n  2026-11-26  23:00-23:00Z     1  *\n"
        );
        let many = Day { ours: 500, ..Day::default() };
        assert!(line("2026-11-27", &many).ends_with("*…\n"));
    }
}
