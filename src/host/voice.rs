//! What a plugin says in the daemon's log: under its name, one line each, not too many.

use tokio::time::Instant;
use tracing::Level;

use crate::bucket::Bucket;

/// Lines a second, and at once, that one source within a plugin may add to the log. A person reads
/// it; what is more tells nothing new.
const LINES_PER_S: u32 = 20;
const LINES_BURST: u32 = 200;

/// Writes one source's lines.
#[derive(Debug)]
pub(crate) struct Voice {
    plugin: String,
    bucket: Bucket,
    left_out: u64,
}

impl Voice {
    pub(crate) fn new(plugin: &str) -> Self {
        let bucket = Bucket::new(LINES_PER_S, LINES_BURST, Instant::now());
        Self { plugin: plugin.to_owned(), bucket, left_out: 0 }
    }

    /// Writes a line, or counts it as left out. `about` says where it comes from.
    pub(crate) fn say(&mut self, level: Level, about: &str, text: &str) {
        if self.bucket.take(Instant::now()).is_err() {
            self.left_out += 1;
            return;
        }
        let plugin = self.plugin.as_str();
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            tracing::warn!(plugin, about, left_out, "too many lines; some were left out");
        }
        let text = printable(text);
        match level {
            Level::ERROR => tracing::error!(plugin, about, "{text}"),
            Level::WARN => tracing::warn!(plugin, about, "{text}"),
            Level::INFO => tracing::info!(plugin, about, "{text}"),
            Level::DEBUG => tracing::debug!(plugin, about, "{text}"),
            Level::TRACE => tracing::trace!(plugin, about, "{text}"),
        }
    }
}

/// The level of this name; what nobody knows is `info`.
pub(crate) fn level_of(name: &str) -> Level {
    name.parse().unwrap_or(Level::INFO)
}

/// Without characters that would move the reader's cursor or begin a line of their own.
fn printable(text: &str) -> String {
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_cannot_forge_a_line_of_the_log() {
        assert_eq!(printable("a\n2026 ERROR b\x1b[2J\r\n"), "a 2026 ERROR b [2J");
        assert_eq!(level_of("warn"), Level::WARN);
        assert_eq!(level_of("shout"), Level::INFO);
    }

    #[test]
    fn what_is_too_much_is_counted_and_not_written() {
        let mut voice = Voice::new("loud");
        for _ in 0..=LINES_BURST + 50 {
            voice.say(Level::TRACE, "stderr", "x");
        }
        assert!(voice.left_out > 0);
    }
}
