//! `sysadmd launch`: puts the bounds on a plugin and becomes it.
//!
//! The daemon starts plugins through this role of its own binary, because limits that a process
//! puts on itself need no `unsafe` between fork and exec. It knows nothing but its arguments.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::execv;

/// `EX_USAGE` and `EX_OSERR` of sysexits.h.
const EXIT_USAGE: u8 = 64;
const EXIT_OS: u8 = 71;

/// Runs `--memory-bytes N --open-files N -- PROGRAM ARG…` (without the word `launch` itself) and
/// returns only when the program could not be started; what is wrong stands on standard error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (code, sentence) = match Order::parse(args) {
        Err(sentence) => (EXIT_USAGE, sentence),
        Ok(order) => match order.run() {
            Err(sentence) => (EXIT_OS, sentence),
        },
    };
    // Nobody is left to tell when standard error is gone.
    drop(writeln!(std::io::stderr(), "sysadmd launch: {sentence}"));
    ExitCode::from(code)
}

/// The arguments with which the daemon calls [`main`], up to and including `--`.
pub(crate) fn arguments(memory_bytes: u64, open_files: u64) -> [String; 6] {
    let (memory, files) = (memory_bytes.to_string(), open_files.to_string());
    ["launch".into(), MEMORY.into(), memory, FILES.into(), files, "--".into()]
}

const MEMORY: &str = "--memory-bytes";
const FILES: &str = "--open-files";

#[derive(Debug, Default, PartialEq, Eq)]
struct Order {
    memory_bytes: Option<u64>,
    open_files: Option<u64>,
    command: Vec<CString>,
}

impl Order {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let (mut order, mut args) = (Self::default(), args.into_iter());
        while let Some(arg) = args.next() {
            let limit = match arg.to_str() {
                Some(MEMORY) => &mut order.memory_bytes,
                Some(FILES) => &mut order.open_files,
                Some("--") => break,
                _ => return Err(format!("unknown argument {}", arg.display())),
            };
            let number = args.next().and_then(|value| value.to_str()?.parse().ok());
            *limit = Some(number.ok_or(format!("{} needs a number", arg.display()))?);
        }
        let text = |arg: OsString| CString::new(arg.into_vec());
        order.command = args.map(text).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        if order.command.is_empty() {
            return Err("a program is missing after --".to_owned());
        }
        Ok(order)
    }

    fn run(&self) -> Result<Infallible, String> {
        let limits = [
            (Resource::RLIMIT_DATA, self.memory_bytes),
            (Resource::RLIMIT_NOFILE, self.open_files),
            (Resource::RLIMIT_CORE, Some(0)),
        ];
        for (resource, limit) in limits {
            if let Some(limit) = limit {
                lower(resource, limit).map_err(|e| format!("cannot set {resource:?}: {e}"))?;
            }
        }
        set_no_new_privs().map_err(|e| format!("cannot set no_new_privs: {e}"))?;
        let program = &self.command[0];
        execv(program, &self.command)
            .map_err(|e| format!("cannot run {}: {}", program.to_string_lossy(), e.desc()))
    }
}

/// Sets both limits; without privileges the hard limit cannot be raised, and stays.
fn lower(resource: Resource, limit: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let limit = limit.min(hard);
    setrlimit(resource, limit, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Order, String> {
        Order::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_daemons_own_arguments_are_understood() {
        let mut line = arguments(5, 7)[1..].join(" ");
        line.push_str(" /bin/true -x");
        let command = vec![CString::from(c"/bin/true"), CString::from(c"-x")];
        let order = Order { memory_bytes: Some(5), open_files: Some(7), command };
        assert_eq!(parse(&line), Ok(order));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, named) in [
            ("--memory-bytes x -- /bin/true", "--memory-bytes needs a number"),
            ("--speed 3 -- /bin/true", "--speed"),
            ("--open-files 3 --", "program is missing"),
        ] {
            let sentence = parse(line).unwrap_err();
            assert!(sentence.contains(named), "{sentence}");
        }
    }
}
