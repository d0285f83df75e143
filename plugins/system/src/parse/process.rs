//! One process: `/proc/PID/stat`.

/// What is read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The program's name, at most 15 bytes.
    pub name: String,
    /// The kernel's letter.
    pub state: char,
    /// Kernel and user time together, in ticks.
    pub ticks: u64,
    /// The priority as the scheduler counts it.
    pub priority: i64,
    /// From -20 to 19.
    pub nice: i64,
    /// How many threads it has.
    pub threads: u64,
    /// When it began, in ticks since the machine did.
    pub started: u64,
    /// Address space in bytes.
    pub virtual_bytes: u64,
    /// Memory in use, in pages.
    pub resident_pages: u64,
    /// The processor it ran on last.
    pub processor: u64,
}

/// Reads the line; a name may hold blanks and parentheses.
pub fn stat(text: &str) -> Option<Stat> {
    let (before, rest) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    // The numbers of proc(5), of which the third is the first here.
    let word = |number: usize| words.get(number - 3).copied();
    let number = |at: usize| word(at)?.parse::<u64>().ok();
    let signed = |at: usize| word(at)?.parse::<i64>().ok();
    Some(Stat {
        name: name.to_owned(),
        state: word(3)?.chars().next()?,
        ticks: number(14)?.saturating_add(number(15)?),
        priority: signed(18)?,
        nice: signed(19)?,
        threads: number(20)?,
        started: number(22)?,
        virtual_bytes: number(23)?,
        resident_pages: number(24)?,
        processor: number(39).unwrap_or(0),
    })
}

/// The state as `top` words it.
pub(crate) fn state_word(state: char) -> &'static str {
    match state {
        'R' => "RUN",
        'S' => "SLEEP",
        'D' => "DISK",
        'Z' => "ZOMBIE",
        'T' | 't' => "STOP",
        'I' => "IDLE",
        _ => "UNKNOWN",
    }
}

/// The real user of `/proc/PID/status`.
pub fn owner(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes for a column of `top`, such as `12M`; at most four digits and the unit.
pub fn short_bytes(bytes: u64) -> String {
    let units = ["B", "K", "M", "G", "T", "P"];
    let mut step = 0;
    while step + 1 < units.len() && bytes >> (10 * step) > 1023 {
        step += 1;
    }
    format!("{}{}", bytes >> (10 * step), units[step])
}

/// Seconds as `top` shows processor time: `M:SS`.
pub(crate) fn short_time(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_numbers() {
        let text = "42 (a) b (c) R 1 42 42 0 -1 0 0 0 0 0 7 5 0 0 20 0 3 0 1234 4096000 250 0 0 0 0 \
                    0 0 0 0 0 0 0 0 0 0 1 0\n";
        let stat = stat(text).unwrap();
        assert_eq!(stat.name, "a) b (c");
        assert_eq!((stat.state, stat.ticks, stat.priority, stat.nice), ('R', 12, 20, 0));
        assert_eq!((stat.threads, stat.started, stat.resident_pages), (3, 1234, 250));
    }

    #[test]
    fn our_own_process_is_read() {
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let stat = stat(&own).unwrap();
        assert!(stat.threads >= 1 && stat.resident_pages > 0, "{stat:?}");
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(owner(&status), Some(nix::unistd::getuid().as_raw()));
    }

    #[test]
    fn columns_are_short() {
        assert_eq!((short_bytes(0), short_bytes(12 << 20)), ("0B".to_owned(), "12M".to_owned()));
        assert_eq!(short_time(125), "2:05");
    }

    proptest! {
        #[test]
        fn a_line_with_any_name_is_read(name in "[^\n]{1,15}", ticks in 0..u64::MAX / 2) {
            let line = format!(
                "1 ({name}) S 0 0 0 0 0 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5 6 7 0 0 0 0 0"
            );
            let stat = stat(&line).unwrap();
            prop_assert_eq!((stat.name, stat.ticks), (name, ticks));
        }
    }
}
