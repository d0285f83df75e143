//! Runs one of the system's own tools: by absolute path, with an argument vector, without a shell.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The most that is kept of what a tool prints, on each of its two outputs.
const OUTPUT_MAX: u64 = 4 * 1024 * 1024;
/// How long a tool may take that only reads.
pub(crate) const TOOL_TIME: Duration = Duration::from_mins(1);
/// How often it is looked whether the tool has ended.
const STEP: Duration = Duration::from_millis(5);

/// What a tool answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What it printed.
    pub(crate) output: String,
    /// What it complained about, without line ends around it.
    pub(crate) complaint: String,
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
}

impl Answer {
    /// The output of a tool that was content; otherwise its complaint.
    pub(crate) fn good(self) -> Result<String, String> {
        match self.code {
            Some(0) => Ok(self.output),
            code if self.complaint.is_empty() => Err(match code {
                Some(code) => format!("the tool ended with {code}"),
                None => "the tool was ended by a signal".to_owned(),
            }),
            _ => Err(self.complaint),
        }
    }
}

/// Runs `program` (an absolute path) and waits for its end, but no longer than `patience`. `secret`
/// goes to its standard input.
///
/// # Errors
/// When it cannot be started, or takes longer; it is then ended.
pub(crate) fn run(
    program: &str,
    args: &[&str],
    secret: Option<&str>,
    patience: Duration,
) -> io::Result<Answer> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(if secret.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (output, complaint) = (reader(child.stdout.take()), reader(child.stderr.take()));
    if let (Some(secret), Some(mut stdin)) = (secret, child.stdin.take()) {
        // Much shorter than a pipe holds; who does not read it ends with a complaint.
        drop(stdin.write_all(secret.as_bytes()));
    }
    let code = wait(&mut child, patience)?;
    let text = |reader: JoinHandle<String>| reader.join().unwrap_or_default();
    Ok(Answer { output: text(output), complaint: text(complaint).trim().to_owned(), code })
}

fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<i32>> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"));
        }
        thread::sleep(STEP);
    }
}

fn reader(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What was read before an error is what there is. Beyond the bound nothing is kept,
            // and a tool that goes on printing ends by its closed output.
            drop(stream.take(OUTPUT_MAX).read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn arguments_arrive_as_they_are_and_a_secret_by_standard_input() {
        let odd = "a b\n'\"$(id)";
        let answer = run("/usr/bin/printf", &["%s", odd], None, LONG).unwrap();
        assert_eq!(answer.good().unwrap(), odd);
        let answer = run("/usr/bin/cat", &[], Some("secret"), LONG).unwrap();
        assert_eq!(answer.good().unwrap(), "secret");
    }

    #[test]
    fn a_complaint_is_kept_and_a_missing_tool_is_an_error() {
        let answer = run("/usr/bin/ls", &["/no/such/file"], None, LONG).unwrap();
        let complaint = answer.good().unwrap_err();
        assert!(complaint.contains("/no/such/file"), "{complaint}");
        let missing = run("/no/such/tool", &[], None, LONG).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            run("/usr/bin/false", &[], None, LONG).unwrap().good().unwrap_err(),
            "the tool ended with 1"
        );
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        let error = run("/usr/bin/sleep", &["60"], None, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn endless_output_is_cut_off() {
        let answer = run("/usr/bin/yes", &[], None, LONG).unwrap();
        assert_eq!(answer.output.len() as u64, OUTPUT_MAX);
    }
}
