//! What a run says: rows of work, each with our figure, its anchors, and the goals against them.
//!
//! Knows how to judge and print; nothing about how a figure came about.

use serde::Serialize;

/// What our figure must be, relative to an anchor's figure or by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Shown for comparison only.
    Context,
    /// Ours ≤ factor × anchor.
    AtMostTimes(f64),
    /// Ours ≥ factor × anchor.
    AtLeastTimes(f64),
    /// Ours ≤ factor × anchor + constant, in the row's unit.
    AtMostTimesPlus(f64, f64),
    /// Ours ≤ limit.
    AtMost(f64),
    /// Ours ≥ limit.
    AtLeast(f64),
}

impl Goal {
    fn text(self) -> Option<String> {
        match self {
            Self::Context => None,
            Self::AtMostTimes(f) => Some(format!("≤ {f} ×")),
            Self::AtLeastTimes(f) => Some(format!("≥ {f} ×")),
            Self::AtMostTimesPlus(f, c) => Some(format!("≤ {f} × + {}", figure(c))),
            Self::AtMost(v) => Some(format!("≤ {}", figure(v))),
            Self::AtLeast(v) => Some(format!("≥ {}", figure(v))),
        }
    }

    fn met(self, ours: f64, anchor: Option<f64>) -> Option<bool> {
        match self {
            Self::Context => None,
            Self::AtMostTimes(f) => anchor.map(|a| ours <= f * a),
            Self::AtLeastTimes(f) => anchor.map(|a| ours >= f * a),
            Self::AtMostTimesPlus(f, c) => anchor.map(|a| ours <= f * a + c),
            Self::AtMost(v) => Some(ours <= v),
            Self::AtLeast(v) => Some(ours >= v),
        }
    }
}

/// One comparison of a row.
#[derive(Debug, Serialize)]
pub(crate) struct Versus {
    /// Which anchor; empty for a goal that stands by itself.
    pub(crate) anchor: String,
    /// The anchor's figure, in the row's unit.
    pub(crate) value: Option<f64>,
    /// Ours divided by the anchor's.
    pub(crate) ratio: Option<f64>,
    /// The goal in words.
    pub(crate) goal: Option<String>,
    /// Whether it is met; absent when there is no goal or a figure is missing.
    pub(crate) met: Option<bool>,
}

/// One line of work.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The goal's number (`P1` …) or a short name.
    pub(crate) id: &'static str,
    /// What was done.
    pub(crate) work: String,
    /// The unit of every figure of the row.
    pub(crate) unit: &'static str,
    /// Our figure; absent when the daemon was left out.
    pub(crate) ours: Option<f64>,
    /// The comparisons.
    pub(crate) versus: Vec<Versus>,
}

impl Row {
    /// A row without comparisons.
    pub(crate) fn new(
        id: &'static str,
        work: impl Into<String>,
        unit: &'static str,
        ours: Option<f64>,
    ) -> Self {
        Self { id, work: work.into(), unit, ours, versus: Vec::new() }
    }

    /// Adds a comparison with an anchor. A missing figure is shown as missing and judged neither way.
    pub(crate) fn against(mut self, anchor: &str, value: Option<f64>, goal: Goal) -> Self {
        let both = self.ours.zip(value);
        self.versus.push(Versus {
            anchor: anchor.to_owned(),
            value,
            ratio: both.filter(|(_, a)| *a > 0.0).map(|(o, a)| o / a),
            goal: goal.text(),
            met: self.ours.and_then(|o| goal.met(o, value)),
        });
        self
    }

    /// Adds a goal that needs no anchor.
    pub(crate) fn goal(self, goal: Goal) -> Self {
        self.against("", None, goal)
    }
}

/// A figure with three significant digits, or whole when large.
pub(crate) fn figure(v: f64) -> String {
    match v.abs() {
        a if a >= 10_000.0 => format!("{:.0} k", v / 1000.0),
        a if a >= 100.0 => format!("{v:.0}"),
        a if a >= 10.0 => format!("{v:.1}"),
        a if a >= 1.0 => format!("{v:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{v:.3}"),
    }
}

const HEAD: [&str; 8] = ["#", "work", "unit", "ours", "anchor", "ratio", "goal", "met"];

/// The table as aligned plain text, one line per comparison, a row's own columns only on its first line.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for row in rows {
        lines.extend(lines_of(row));
    }
    let width = |column: usize| {
        lines.iter().filter_map(|l| l.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

fn lines_of(row: &Row) -> Vec<[String; 8]> {
    let shown = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), figure);
    let own = [row.id.to_owned(), row.work.clone(), row.unit.to_owned(), shown(row.ours)];
    let blank = || [const { String::new() }; 4];
    if row.versus.is_empty() {
        return vec![join(own, blank())];
    }
    let cells = row.versus.iter().enumerate().map(|(i, v)| {
        let anchor = if v.anchor.is_empty() {
            String::new()
        } else {
            format!("{} {}", v.anchor, shown(v.value))
        };
        let met = match (v.goal.is_some(), v.met) {
            (false, _) => String::new(),
            (true, None) => "not judged".to_owned(),
            (true, Some(true)) => "yes".to_owned(),
            (true, Some(false)) => "NO".to_owned(),
        };
        let ratio = v.ratio.map_or_else(String::new, figure);
        let left = if i == 0 { own.clone() } else { blank() };
        join(left, [anchor, ratio, v.goal.clone().unwrap_or_default(), met])
    });
    cells.collect()
}

fn join(left: [String; 4], right: [String; 4]) -> [String; 8] {
    let [id, work, unit, ours] = left;
    let [anchor, ratio, goal, met] = right;
    [id, work, unit, ours, anchor, ratio, goal, met]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_only_when_both_figures_are_there() {
        let row = Row::new("P1", "flood", "s/M", Some(0.2))
            .against("nats", Some(0.9), Goal::AtMostTimes(0.25))
            .against("raw", None, Goal::AtMostTimes(2.5))
            .against("tung", Some(4.0), Goal::Context)
            .goal(Goal::AtMost(0.1));
        let met: Vec<Option<bool>> = row.versus.iter().map(|v| v.met).collect();
        assert_eq!(met, [Some(true), None, None, Some(false)]);
    }

    #[test]
    fn the_text_names_what_is_missed_and_what_could_not_be_judged() {
        let rows = [
            Row::new("P1", "flood", "s/M", Some(2.0)).against(
                "nats",
                Some(1.0),
                Goal::AtMostTimes(0.5),
            ),
            Row::new("P2", "window", "s/M", None).against("raw", Some(1.0), Goal::AtMostTimes(1.5)),
        ];
        let text = text(&rows);
        assert!(text.contains("nats 1.00"), "{text}");
        assert!(text.contains("NO") && text.contains("not judged"), "{text}");
    }
}
