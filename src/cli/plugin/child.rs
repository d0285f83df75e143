//! The plugin's process: started, spoken to, listened to, and ended with all that it started.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use protocol::link::Frame;

use super::target::Target;

/// Where a plugin's own programs are looked for, as under the daemon.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of what it wrote to standard error is kept for the report.
const STDERR_KEPT: usize = 2048;

/// A running plugin that leads its own process group. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

/// What came from its standard output.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Message(Frame),
    /// Something that is none, and why.
    Garbage(String),
    /// Nobody holds it open any more.
    End,
}

impl Child {
    /// Starts it. `hear` gets all that it says until it returns false; `loud` lets its standard
    /// error through to ours.
    pub(crate) fn start(
        target: &Target,
        loud: bool,
        hear: impl FnMut(Heard) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let mut process = Command::new(&target.program)
            .args(&target.args)
            .current_dir(&target.dir)
            .env_clear()
            .envs([("PATH", PATH), ("LANG", "C"), ("LC_ALL", "C"), ("TZ", "UTC")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if loud { Stdio::inherit() } else { Stdio::piped() })
            .process_group(0)
            .spawn()?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        if let Some(output) = process.stdout.take() {
            let most = target.manifest.limits.line_bytes;
            thread::spawn(move || listen(output, most, hear));
        }
        if let Some(errors) = process.stderr.take() {
            let kept = Arc::clone(&stderr);
            thread::spawn(move || keep_end(errors, &kept));
        }
        Ok(Self { input: process.stdin.take(), process, stderr })
    }

    /// Says something; false when it does not listen any more.
    pub(crate) fn say(&mut self, frame: &Frame) -> bool {
        self.say_line(&frame.line())
    }

    /// Says a line as it is.
    pub(crate) fn say_line(&mut self, line: &str) -> bool {
        let line = format!("{line}\n");
        self.input.as_mut().is_some_and(|input| input.write_all(line.as_bytes()).is_ok())
    }

    /// Closes its standard input.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// The processes that are left of its group.
    pub(crate) fn group(&self) -> Vec<String> {
        group_members(self.process.id())
    }

    /// The end of what it wrote to standard error.
    pub(crate) fn last_words(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }

    /// Ends the whole group, at first politely.
    pub(crate) fn stop(&mut self, patience: Duration) {
        self.close_input();
        let end = Instant::now() + patience;
        while self.ended().is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.close_input();
        // Not reaped yet, or somebody of the group still lives: then the number is still theirs.
        if self.ended().is_none() || !self.group().is_empty() {
            if let Ok(group) = i32::try_from(self.process.id()) {
                killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
            }
            self.process.wait().ok();
        }
    }
}

fn listen(output: impl Read, most: usize, mut hear: impl FnMut(Heard) -> bool) {
    let mut output = BufReader::new(output);
    loop {
        let heard = next(&mut output, most);
        let ended = matches!(heard, Heard::End);
        if !hear(heard) || ended {
            break;
        }
    }
    // Nobody listens, but the plugin must not stall on a full pipe while it ends.
    io::copy(&mut output, &mut io::sink()).ok();
}

/// The next line that is not empty.
pub(crate) fn next(output: &mut impl BufRead, most: usize) -> Heard {
    let shown = |line: &[u8]| {
        let text = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        super::printable(text.trim_end())
    };
    let mut line = Vec::new();
    let room = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = output.by_ref().take(room).read_until(b'\n', &mut line);
    if read.is_err() || line.is_empty() {
        return Heard::End;
    }
    if line.last() != Some(&b'\n') && line.len() > most {
        let text = shown(&line);
        skip_line(output);
        return Heard::Garbage(format!("a line of more than {most} bytes: {text}…"));
    }
    match std::str::from_utf8(&line) {
        Err(_) => Heard::Garbage(format!("a line that is not UTF-8: {}", shown(&line))),
        Ok(text) => match Frame::parse(text) {
            Ok(frame) => Heard::Message(frame),
            Err(_) => {
                Heard::Garbage(format!("a line that is no JSON-RPC object: {}", shown(&line)))
            }
        },
    }
}

fn skip_line(output: &mut impl BufRead) {
    loop {
        let (used, found) = match output.fill_buf() {
            Ok([]) | Err(_) => return,
            Ok(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (bytes.len(), false),
            },
        };
        output.consume(used);
        if found {
            return;
        }
    }
}

fn keep_end(mut errors: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = errors.read(&mut bytes) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&bytes[..count]);
        let too_many = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..too_many);
    }
}

/// Processes of a group that still run, as `name (pid)`, from `/proc/PID/stat` (proc(5)).
fn group_members(group: u32) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|stat| member(&stat, group)).collect()
}

/// A process of this group, from its `stat` line, unless it is gone but for its exit code.
pub fn member(stat: &str, group: u32) -> Option<String> {
    // The name may hold blanks and brackets; the last bracket ends it.
    let (head, tail) = stat.rsplit_once(')')?;
    let (pid, name) = head.split_once(" (")?;
    let mut fields = tail.split_whitespace();
    let (state, of_group) = (fields.next()?, fields.nth(1)?);
    let gone = matches!(state, "Z" | "X");
    (of_group.parse() == Ok(group) && !gone).then(|| format!("{name} ({pid})"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end_and_no_message_is_longer_than_its_bound(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), Just(b'}'), any::<u8>()], 0..400),
            most in 1usize..40,
        ) {
            let mut output = BufReader::with_capacity(3, &bytes[..]);
            let mut heard = 0;
            loop {
                match next(&mut output, most) {
                    Heard::End => break,
                    Heard::Message(_) | Heard::Garbage(_) => heard += 1,
                }
                prop_assert!(heard <= bytes.len());
            }
        }
    }

    #[test]
    fn a_group_member_is_known_by_its_stat_line() {
        let stat = "77 (a (b) c) S 1 42 42 0 -1";
        assert_eq!(member(stat, 42), Some("a (b) c (77)".to_owned()));
        assert_eq!(member(stat, 43), None);
        assert_eq!(member("77 (a) Z 1 42 42 0 -1", 42), None);
    }

    #[test]
    fn lines_that_are_no_messages_are_named_and_the_next_one_is_heard() {
        let bytes = b"hello\n\xff\n{\"method\":\"log\"}\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n{}";
        let mut output = BufReader::new(&bytes[..]);
        let mut heard = Vec::new();
        loop {
            match next(&mut output, 24) {
                Heard::End => break,
                Heard::Message(frame) => heard.push(frame.line()),
                Heard::Garbage(why) => heard.push(why),
            }
        }
        assert_eq!(heard.len(), 5, "{heard:?}");
        assert!(heard[0].contains("no JSON-RPC object: hello"), "{heard:?}");
        assert!(heard[1].contains("not UTF-8"), "{heard:?}");
        assert!(heard[2].contains("\"log\""), "{heard:?}");
        assert!(heard[3].contains("more than 24 bytes"), "{heard:?}");
    }
}
