//! `sysadmd launch`: confines this process to what its policy says and becomes the plugin; or watches
//! over a command for a daemon that may die.
//!
//! The daemon starts plugins through this role of its own binary, because bounds that a process
//! puts on itself need no `unsafe` between fork and exec. It knows nothing but its arguments. Its
//! own environment is empty: what a plugin's manifest says of variables is set only as the plugin
//! begins, or a `LD_PRELOAD` would run here, before anything is confined.

mod calls;
mod files;
mod policy;
mod user;
mod watch;

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::DirBuilder;
use std::io::{self, ErrorKind, Write, stderr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{close, execve};

pub(crate) use self::files::{landlock_version, opened};
pub(crate) use self::policy::{BASE, Policy};
pub(crate) use self::watch::{INPUT_BYTES_MAX, Report, arguments as watch_arguments};

/// `EX_USAGE` and `EX_OSERR` of sysexits.h.
const EXIT_USAGE: u8 = 64;
const EXIT_OS: u8 = 71;

/// How every line of this role on standard error begins.
pub(crate) const PREFIX: &str = "sysadmd launch: ";

/// Ends every process of a user instead of starting one.
const END: &str = "--end";

/// Runs `POLICY -- PROGRAM ARG…` (without the word `launch` itself) and returns only when the
/// program could not be started; what is wrong stands on standard error. `--end UID` ends every
/// process of that user; `--watch=BYTES -- PROGRAM ARG…` runs a command for as long as the daemon
/// lives, with so many bytes of its standard input as the command's.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (code, sentence) = match Order::parse(args) {
        Err(sentence) => (EXIT_USAGE, sentence),
        Ok(Order::End(uid)) => match user::end_all(uid) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(sentence) => (EXIT_OS, sentence),
        },
        Ok(Order::Watch(bytes, command)) => {
            match close_inherited().and_then(|()| watch::over(bytes, &command)) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => (EXIT_OS, format!("cannot watch over a command: {error}")),
            }
        }
        Ok(Order::Start(policy, command)) => match begin(&policy, &command) {
            Err(sentence) => (EXIT_OS, sentence),
        },
    };
    say(&sentence);
    ExitCode::from(code)
}

/// The arguments with which the daemon calls [`main`], up to and including `--`.
pub(crate) fn arguments(policy: &Policy) -> serde_json::Result<[String; 3]> {
    Ok(["launch".to_owned(), serde_json::to_string(policy)?, "--".to_owned()])
}

/// The arguments that end every process of a user.
pub(crate) fn end_arguments(uid: u32) -> [String; 3] {
    ["launch".to_owned(), END.to_owned(), uid.to_string()]
}

/// Whether a process that has ended may have been the launcher and not the plugin.
pub(crate) fn has_failed(status: ExitStatus) -> bool {
    [EXIT_USAGE, EXIT_OS].into_iter().any(|code| status.code() == Some(i32::from(code)))
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Start(Box<Policy>, Vec<CString>),
    End(u32),
    Watch(usize, Vec<OsString>),
}

impl Order {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let (first, second) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
        if first == END {
            let uid = second.to_str().and_then(|uid| uid.parse().ok());
            return uid.map(Self::End).ok_or_else(|| format!("{END} needs the number of a user"));
        }
        if let Some(bytes) = watch::bytes_of(&first)
            && second == "--"
        {
            return Ok(Self::Watch(bytes, args.collect()));
        }
        let policy = serde_json::from_slice(first.as_encoded_bytes())
            .map_err(|error| format!("the policy is not understood: {error}"))?;
        if second != "--" {
            return Err("-- is missing after the policy".to_owned());
        }
        let text = |arg: OsString| CString::new(arg.into_vec());
        let command: Vec<_> =
            args.map(text).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        if command.is_empty() {
            return Err("a program is missing after --".to_owned());
        }
        Ok(Self::Start(Box::new(policy), command))
    }
}

fn begin(policy: &Policy, command: &[CString]) -> Result<Infallible, String> {
    close_inherited().map_err(|error| format!("cannot see which files are open: {error}"))?;
    start(policy, command)
}

/// Closes all but the three standard streams. The daemon's own files never get here; what whoever
/// started the daemon has left open in it would, and is nothing to a plugin or a command.
fn close_inherited() -> io::Result<()> {
    let open = std::fs::read_dir("/proc/self/fd")?;
    let numbers = open.flatten().filter_map(|file| file.file_name().to_str()?.parse().ok());
    let more: Vec<RawFd> = numbers.filter(|number| *number > 2).collect();
    for number in more {
        // One of them was that of the directory, which is closed by now.
        close(number).ok();
    }
    Ok(())
}

/// In an order in which each step still has the rights it needs: paths are opened and limits set
/// as the daemon's user, then the user and its capabilities are given up, then files and system
/// calls are closed.
fn start(policy: &Policy, command: &[CString]) -> Result<Infallible, String> {
    let environment = policy.environment()?;
    let files = files::open(policy)?;
    limit(policy)?;
    user::become_it(policy)?;
    make_temporary_dir(policy)?;
    set_no_new_privs().map_err(|error| format!("cannot set no_new_privs: {error}"))?;
    files.close()?;
    calls::close(policy)?;
    let program = &command[0];
    execve(program, command, &environment).map_err(|error| {
        let sentence = format!("cannot run {}: {}", program.to_string_lossy(), error.desc());
        match policy.user {
            Some(user) if error == Errno::EACCES => format!(
                "{sentence}; user {user}, which the plugin runs as, must be let through every \
                 directory above it and may read and run it (chmod o+rx)"
            ),
            _ => sentence,
        }
    })
}

fn limit(policy: &Policy) -> Result<(), String> {
    let limits = [
        (Resource::RLIMIT_DATA, Some(policy.memory_bytes)),
        (Resource::RLIMIT_NOFILE, Some(policy.open_files)),
        (Resource::RLIMIT_FSIZE, Some(policy.file_bytes)),
        (Resource::RLIMIT_NPROC, policy.processes),
        (Resource::RLIMIT_CORE, Some(0)),
    ];
    for (resource, limit) in limits {
        if let Some(limit) = limit {
            lower(resource, limit).map_err(|e| format!("cannot set {resource:?}: {e}"))?;
        }
    }
    Ok(())
}

/// Sets both limits; without privileges the hard limit cannot be raised, and stays.
fn lower(resource: Resource, limit: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let limit = limit.min(hard);
    setrlimit(resource, limit, limit)
}

/// Made as the plugin's user and not as root: whatever the plugin has put into its place, nothing
/// can come of it that the plugin could not have done itself.
fn make_temporary_dir(policy: &Policy) -> Result<(), String> {
    let dir = policy.temporary_dir();
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(format!(
            "user {}, which the plugin runs as, cannot use its state directory {}: {error}; every \
             directory above it must let others through (chmod o+x)",
            nix::unistd::geteuid(),
            policy.state_dir.display()
        )),
        Err(error) => {
            // Such as a full disk: the plugin may do without.
            say(&format!("{} cannot be made: {error}", dir.display()));
            Ok(())
        }
    }
}

/// Tells the daemon's log.
fn say(sentence: &str) {
    // Nobody is left to tell when standard error is gone.
    drop(writeln!(stderr(), "{PREFIX}{sentence}"));
}

/// A path that is not there grants nothing; whoever asked for it should know.
fn say_missing(path: &Path) {
    say(&format!("{} is not there, so the plugin may not use it", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Order, String> {
        Order::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn the_daemons_own_arguments_are_understood() {
        let policy = Policy { memory_bytes: 5, processes: Some(7), ..Policy::default() };
        let [_, first, second] = arguments(&policy).unwrap();
        let order = parse(&[&first, &second, "/bin/true", "-x"]);
        let command = vec![CString::from(c"/bin/true"), CString::from(c"-x")];
        assert_eq!(order, Ok(Order::Start(Box::new(policy), command)));
        for bytes in [0, 17, INPUT_BYTES_MAX] {
            let [_, first, second] = watch_arguments(bytes);
            let command = vec![OsString::from("/bin/cat"), OsString::from("--")];
            assert_eq!(
                parse(&[&first, &second, "/bin/cat", "--"]),
                Ok(Order::Watch(bytes, command))
            );
        }
        let [_, first, second] = watch_arguments(INPUT_BYTES_MAX + 1);
        assert!(parse(&[&first, &second, "/bin/cat"]).is_err());
        let [_, first, second] = end_arguments(60_800);
        assert_eq!(parse(&[&first, &second]), Ok(Order::End(60_800)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let policy = serde_json::to_string(&Policy::default()).unwrap();
        for (words, named) in [
            (vec!["--speed", "3"], "policy"),
            (vec!["{\"memory\":3}", "--", "/bin/true"], "policy"),
            (vec![policy.as_str(), "/bin/true"], "-- is missing"),
            (vec![policy.as_str(), "--"], "program is missing"),
            (vec!["--end", "root"], "number of a user"),
        ] {
            let sentence = parse(&words).unwrap_err();
            assert!(sentence.contains(named), "{sentence}");
        }
    }
}
