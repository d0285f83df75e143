//! What `sysadmctl` reads: the daemon, plugins, files, the command line, and what it prints of them.

use std::io::BufReader;
use std::time::Duration;

use protocol::Cursor;
use serde_json::Value;
use serde_json::value::RawValue;
use sysadmd::fuzzing::{self, Sorted};

use crate::{line_and_rest, utf8};

/// A message of the daemon.
pub fn messages(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    fuzzing::retry_after(text);
    match fuzzing::sorted(text) {
        Sorted::Pushed(Some(lines)) => {
            for line in &lines {
                assert_eq!(line.matches('\n').count(), 1, "{line:?}");
                let shown = line.strip_suffix('\n').unwrap_or_default().replace('\t', " ");
                assert!(!shown.is_empty() && !steers(&shown), "{line:?}");
            }
            assert!(serde_json::from_str::<Box<RawValue>>(&lines[1]).is_ok(), "{lines:?}");
        }
        Sorted::Answer(_, Err(fault)) => assert!(fault.kind.status() >= 400),
        Sorted::Answer(_, Ok(_)) | Sorted::Pushed(None) | Sorted::Other => {}
    }
}

/// Foreign text on a terminal.
pub fn output(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    assert!(!steers(&fuzzing::clean(text)));
    assert!(!steers(&fuzzing::moment(text)));
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let line = fuzzing::one_line(text);
    assert!(!steers(&line.replace('\t', " ")));
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    fuzzing::bytes_for_people(&value);
    fuzzing::text(&value);
    let objects = value.as_array().cloned().unwrap_or_else(|| vec![value]);
    let table = fuzzing::table(&objects);
    assert_eq!(table.lines().count(), objects.len() + 1);
    assert!(table.lines().all(|line| !steers(line)));
}

/// Whether a terminal would do something else than show it.
fn steers(text: &str) -> bool {
    let reorders = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|c| c.is_control() || reorders(c))
}

/// Lengths of time.
pub fn lengths(data: &[u8]) {
    let Some(Ok(length)) = utf8(data).map(fuzzing::length) else { return };
    assert!(length <= Duration::from_hours(100 * 365 * 24));
    assert_eq!(fuzzing::length(&format!("{}s", length.as_secs())), Ok(length));
}

/// A line with an address, then a file of fingerprints or with a cursor.
pub fn connection(data: &[u8]) {
    let (address, file) = line_and_rest(data);
    let (Some(address), Some(file)) = (utf8(address), utf8(file)) else { return };
    if let Some(url) = fuzzing::url(address) {
        assert_eq!(fuzzing::url(&url).as_deref(), Some(&*url), "from {address}");
        let plain = url.strip_prefix("ws://");
        let local = ["localhost:", "127.", "[::1]:", "[::ffff:127."];
        assert!(plain.is_none_or(|host| local.iter().any(|it| host.starts_with(it))), "{url}");
        assert!(!url.contains('@'), "{url}");
    }
    if let Ok(Some(fingerprint)) = fuzzing::known_in(file, address) {
        let line = format!("{address} {fingerprint}\n");
        assert_eq!(fuzzing::known_in(&line, address), Ok(Some(fingerprint)));
    }
    if let Some(cursor) = fuzzing::cursor_in(file) {
        assert!(cursor.parse::<Cursor>().is_ok() && !cursor.contains(char::is_whitespace));
    }
}

/// A process' `stat` line, and what a plugin writes.
pub fn plugin_output(data: &[u8]) {
    let (stat, output) = line_and_rest(data);
    if let Some(Some(shown)) = utf8(stat).map(|stat| fuzzing::member(stat, 42)) {
        assert!(shown.ends_with(')'));
    }
    let most = stat.len().max(1);
    let mut output = BufReader::with_capacity(7, output);
    let mut heard = 0;
    while let Some(said) = fuzzing::heard(&mut output, most) {
        if let Err(why) = said {
            assert!(!why.contains(char::is_control), "{why:?}");
        }
        heard += 1;
        assert!(heard <= data.len());
    }
}
