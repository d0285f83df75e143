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

/// A column of a table: its heading, and what it shows of an object.
pub(crate) type Column = (&'static str, fn(&Value) -> String);

/// Prints the list that stands in an answer under this name: one row for each object, each column
/// as wide as it needs, without borders. With `--json` the answer as it is.
pub(crate) fn table(
    style: Style,
    answer: &Value,
    list: &str,
    columns: &[Column],
) -> Result<(), Failure> {
    if style.json {
        return value(style, answer);
    }
    let Some(objects) = answer[list].as_array().filter(|objects| !objects.is_empty()) else {
        remark(&format!("there are no {list}"));
        return Ok(());
    };
    print(&layout(style, objects, columns))
}

pub(crate) fn layout(style: Style, objects: &[Value], columns: &[Column]) -> String {
    let heading: Vec<String> = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let row = |object| columns.iter().map(|(_, show)| clean(&show(object))).collect();
    let rows: Vec<Vec<String>> = objects.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&heading]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let one_row = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = format!("{}\n", style.faint(&one_row(&heading)));
    for row in &rows {
        text.push_str(&one_row(row));
        text.push('\n');
    }
    text
}

/// A member as a table shows it: texts as they are, `-` for what is not there.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// `2026-11-22T10:00:00.123456Z` for people: milliseconds, and a space instead of the T.
pub fn moment(time: &str) -> String {
    let time = clean(time);
    match time.split_once('T').and_then(|(day, clock)| Some((day, clock.get(..12)?))) {
        Some((day, clock)) if time.ends_with('Z') => format!("{day} {clock}Z"),
        _ => time,
    }
}

/// A number of bytes for people, such as `1.5 GiB`.
pub fn bytes(value: &Value) -> String {
    let Some(bytes) = value.as_u64() else { return "-".to_owned() };
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut step = 0;
    while step + 1 < units.len() && bytes >> (10 * (step + 1)) > 0 {
        step += 1;
    }
    if step == 0 {
        return format!("{bytes} B");
    }
    // In tenths, cut off: what is said to be free must be there.
    let tenths = (u128::from(bytes) * 10) >> (10 * step);
    format!("{}.{} {}", tenths / 10, tenths % 10, units[step])
}

/// A foreign text on one line, with whatever could steer a terminal made visible.
pub fn clean(text: &str) -> String {
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
pub fn one_line(json: &str) -> String {
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
        let objects =
            [serde_json::json!({"a":"x","b":"long cell"}), serde_json::json!({"a":"bcd"})];
        let columns: [Column; 2] = [("A", |o| text(&o["a"])), ("WHAT", |o| text(&o["b"]))];
        assert_eq!(layout(PLAIN, &objects, &columns), "A    WHAT\nx    long cell\nbcd  -\n");
    }

    #[test]
    fn bytes_are_counted_in_units_people_read() {
        let shown = |number: u64| bytes(&Value::from(number));
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1024), "1.0 KiB");
        assert_eq!(shown(1_610_612_735), "1.4 GiB");
        assert_eq!(shown(u64::MAX), "15.9 EiB");
        assert_eq!(bytes(&Value::Null), "-");
    }

    #[test]
    fn cells_show_what_is_there() {
        let values = serde_json::json!(["x", 3, true, ["a", "b"], null, ""]);
        let shown: Vec<String> = values.as_array().unwrap().iter().map(text).collect();
        assert_eq!(shown, ["x", "3", "yes", "a,b", "-", "-"]);
    }
}
