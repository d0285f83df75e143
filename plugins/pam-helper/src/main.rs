//! `sysadmd-pam`: answers one question, whether a password is a user's, and ends.
//!
//! It reads four fields from its standard input, each with a NUL behind it: the PAM service, the
//! user, the password, and the address of whoever asks (empty for this machine). It writes one line
//! of JSON: `{"verdict":"ok"}`, `denied`, or `expired` and `unavailable` with a `message`. The exit
//! status is 0 whenever the line is there.
//!
//! It is a program of its own because libpam runs other people's code in the process that calls it,
//! may wait for as long as it likes, and wants to be root. Whoever may start it learns by it what
//! `su` would tell them too.

mod answer;
mod check;
#[expect(unsafe_code, reason = "libpam is a C library; nothing but the calls to it is in here")]
mod ffi;
mod quiet;
mod request;

use std::fs::File;
use std::io::{self, Write as _};
use std::process::ExitCode;

use answer::Answer;
use request::Request;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        show_usage();
        return ExitCode::from(64);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "sysadmd-pam: {error}").ok();
            ExitCode::from(71)
        }
    }
}

/// # Errors
/// When there is nobody to answer to, or when the secret could not be kept.
fn run() -> io::Result<()> {
    quiet::keep_secrets()?;
    let mut question = quiet::take_stdin()?;
    let mut line = quiet::take_stdout()?;
    let bytes = request::read(&mut question)?;
    let answer = match Request::parse(bytes.as_slice()) {
        Ok(request) => check::check(&request),
        Err(fault) => Answer::Unavailable(fault.to_owned()),
    };
    write_line(&mut line, &answer)
}

fn write_line(line: &mut File, answer: &Answer) -> io::Result<()> {
    line.write_all(format!("{}\n", answer.json()).as_bytes())
}

fn show_usage() {
    let usage = "sysadmd-pam takes no arguments: sysadmd starts it and asks on its standard input";
    writeln!(io::stderr(), "{usage}").ok();
}
