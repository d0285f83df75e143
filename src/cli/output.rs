//! Everything that is printed goes through here: results to standard output, remarks to standard
//! error, and neither lets a foreign text steer the terminal.

use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use protocol::Priority;
use serde_json::Value;

use super::exit::Failure;

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// JSON instead of text for people.
    pub(crate) json: bool,
    /// Whether colours are welcome.
    pub(crate) colour: bool,
}

impl Style {
    /// The style for this process: colours only on a terminal that wants them (`NO_COLOR`).
    pub(crate) fn of_stdout(json: bool) -> Self {
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { json, colour: wants_colour(io::stdout().is_terminal(), no_colour, dumb) }
    }

    /// The text in the colour of its urgency.
    pub(crate) fn urgency(self, priority: Priority, text: &str) -> String {
        let code = match priority.number() {
            0..=2 => return text.to_owned(),
            3..=5 => "33",
            6..=8 => "31",
            _ => "1;97;41",
        };
        self.paint(code, text)
    }

    /// The text, less conspicuous.
    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// The text, more conspicuous.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn wants_colour(terminal: bool, no_colour: bool, dumb: bool) -> bool {
    terminal && !no_colour && !dumb
}

/// Writes text to standard output, at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))
}

/// Writes one line to standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints a value: one line with `--json`, indented for people.
pub(crate) fn value(style: Style, value: &Value) -> Result<(), Failure> {
    if style.json {
        return line(&one_line(&value.to_string()));
    }
    line(&escape_controls(&format!("{value:#}")))
}

/// Writes a remark to standard error. That nobody can read it is no reason to stop.
pub(crate) fn remark(text: &str) {
    writeln!(io::stderr(), "sysadmctl: {}", clean(text)).ok();
}

/// Says why a command failed: the sentence, then what to do next.
pub(crate) fn failure(failure: &Failure) {
    if !failure.message.is_empty() {
        remark(&failure.message);
    }
    if let Some(hint) = &failure.hint {
        remark(hint);
    }
}

/// Prints rows under their headings, each column as wide as it needs, without borders.
pub(crate) fn table(style: Style, headings: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    print(&layout(style, headings, rows))
}

/// Prints a list of objects as a table: one row each, one member per column.
pub(crate) fn records(
    style: Style,
    list: &Value,
    headings: &[&str],
    members: &[&str],
    none: &str,
) -> Result<(), Failure> {
    let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
        remark(none);
        return Ok(());
    };
    let row = |value| members.iter().map(|member| cell(value, member)).collect();
    table(style, headings, &list.iter().map(row).collect::<Vec<_>>())
}

fn layout(style: Style, headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(headings[column].chars().count())
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let one_row = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let heading: Vec<String> = headings.iter().map(ToString::to_string).collect();
    let mut text = style.faint(&one_row(&heading));
    text.push('\n');
    for row in &rows {
        text.push_str(&one_row(row));
        text.push('\n');
    }
    text
}

/// A member of an answer as a table shows it: texts as they are, `-` for what is not there.
pub(crate) fn cell(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::Array(items)) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A foreign text on one line, with whatever could steer a terminal made visible.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            cleaned.extend(c.escape_default());
        } else {
            cleaned.push(c);
        }
    }
    cleaned
}

/// Besides control characters those that reorder what stands around them.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON text on one line: line breaks in JSON text can only stand between its tokens.
pub(crate) fn one_line(json: &str) -> String {
    escape_controls(&json.replace(['\n', '\r'], " "))
}

/// JSON leaves DEL and the C1 controls in strings as they are; terminals may obey them.
fn escape_controls(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if steers(c) && !matches!(c, '\n' | '\t') {
            // A `String` takes everything that is written to it.
            write!(escaped, "\\u{:04x}", u32::from(c)).ok();
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { json: false, colour: false };
    const COLOURED: Style = Style { json: false, colour: true };

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert!(wants_colour(true, false, false));
        assert!(!wants_colour(false, false, false));
        assert!(!wants_colour(true, true, false));
        assert!(!wants_colour(true, false, true));
    }

    #[test]
    fn urgency_has_its_colour_and_information_none() {
        let shown = |number| COLOURED.urgency(Priority::clamped(number), "x");
        assert_eq!(shown(0), "x");
        assert_eq!(shown(4), "\x1b[33mx\x1b[0m");
        assert_eq!(shown(7), "\x1b[31mx\x1b[0m");
        assert_eq!(shown(10), "\x1b[1;97;41mx\x1b[0m");
        assert_eq!(PLAIN.urgency(Priority::MAX, "x"), "x");
    }

    #[test]
    fn a_foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{9b}d\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}");
        assert_eq!(clean("Grüße, 世界"), "Grüße, 世界");
        let json = one_line("{\n\"a\":\"\u{9b}2J\u{7f}\"}");
        assert_eq!(json, "{ \"a\":\"\\u009b2J\\u007f\"}");
        assert_eq!(
            serde_json::from_str::<Value>(&json).unwrap(),
            serde_json::json!({"a": "\u{9b}2J\u{7f}"})
        );
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = [vec!["a".to_owned(), "long cell".to_owned()], vec!["bcd".to_owned()]];
        assert_eq!(layout(PLAIN, &["ID", "WHAT"], &rows), "ID   WHAT\na    long cell\nbcd\n");
    }

    #[test]
    fn cells_show_what_is_there() {
        let value = serde_json::json!({"t":"x","n":3,"b":true,"l":["a","b"],"z":null,"e":""});
        let shown: Vec<String> =
            ["t", "n", "b", "l", "z", "e", "absent"].iter().map(|key| cell(&value, key)).collect();
        assert_eq!(shown, ["x", "3", "yes", "a,b", "-", "-", "-"]);
    }
}
