//! The command line of `sysadmd`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, FilterFn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::inherited::Inherited;
use super::reload::Reread;
use super::{EX_CONFIG, EX_DATAERR, EX_IOERR, Environment, StartError, backup, built_in, journal};
use crate::clock::Clock;
use crate::config::{Config, FILE, File, Overrides, Runner};
use crate::listen::tls::{Tls, TlsError};
use crate::store::{AuditVerdict, Store, StoreError};

/// sysexits(3): the command was used incorrectly.
const EX_USAGE: u8 = 64;

const AFTER_HELP: &str = "\
Signals:
  TERM, INT         stop
  HUP               read the configuration and the files of the TLS certificate again; stop when it
                    comes from the terminal being closed

Environment:
  SYSADMD_LOG       what is logged to standard error, such as debug [default: info]; of libraries
                    never more than info, because their lines hold what clients send
  CREDENTIALS_DIRECTORY  where a service manager has put credentials: sysadmd.certificate and
                    sysadmd.key are used when the configuration names no certificate
  XDG_STATE_HOME    where a daemon that is not root's keeps what it writes, in sysadmd/

Exit codes:
   0  it was asked to stop; with --check: everything is right
  64  the command line is wrong
  65  the database cannot be used; with --check also: the audit trail was altered
  69  an address cannot be listened on
  74  the system refused something else
  75  another daemon uses the database: try again later
  78  the configuration or the certificate is wrong";

/// One privileged daemon per Linux host: durable, prioritized events and supervised plugins.
#[derive(Debug, Clone, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// The configuration file [default as root: /etc/sysadmd/sysadmd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything a run writes is kept
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Listen here with TLS, instead of where the configuration says; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// Listen here without TLS, on loopback only; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    listen_plain: Vec<SocketAddr>,
    /// Check the configuration, the certificate, the database and the audit trail in it, say what is
    /// wrong, and exit
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum Role {
    /// Be a built-in plugin, as the daemon starts it
    Plugin {
        /// Which one
        name: String,
    },
    /// Be the other side of another machine's replication, as the forced command of an SSH key
    Serve(Served),
    /// Print the manual page, or the completions of a shell, for a package
    #[command(hide = true, subcommand)]
    Write(Written),
    /// Write the state into an archive, also while the daemon runs
    Backup(Archive),
    /// Put a backup in the place of the state, while no daemon runs; what was there is put aside
    Restore(Archive),
    /// Put limits on this process and become a plugin, as the daemon starts it
    #[command(hide = true, disable_help_flag = true)]
    Launch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// What another machine may do here.
#[derive(Debug, Clone, Args)]
struct Served {
    /// Speak on standard input and output
    #[arg(long, required = true)]
    stdio: bool,
    /// Copies may go to this directory or ZFS dataset and what is below it; may be repeated
    #[arg(long = "root", value_name = "TARGET")]
    roots: Vec<String>,
    /// This dataset may be read, by id, name or path; may be repeated
    #[arg(long = "from", value_name = "DATASET")]
    sources: Vec<String>,
    /// Where the plugin snapshot keeps snapshots of directories
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/sysadmd/plugin-state/snapshot/store"
    )]
    store: PathBuf,
}

/// A backup, and of what.
#[derive(Debug, Clone, Args)]
struct Archive {
    /// The archive; a backup is never written over another file
    file: PathBuf,
    /// The configuration that says where the state is [default as root:
    /// /etc/sysadmd/sysadmd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the state is
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// What a package has beside the program.
#[derive(Debug, Clone, Subcommand)]
enum Written {
    /// The manual page
    Man,
    /// The completions
    Completions {
        /// For which shell
        shell: Shell,
    },
}

pub(super) fn command() -> clap::Command {
    Options::command()
}

pub(super) fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let code = if error.use_stderr() { EX_USAGE } else { 0 };
            // Nobody is left to tell when the terminal is gone.
            error.print().ok();
            return ExitCode::from(code);
        }
    };
    match options.role {
        Some(Role::Launch { arguments }) => crate::host::launch::main(arguments),
        Some(Role::Plugin { ref name }) => built_in::run(name).unwrap_or_else(|| {
            let known: Vec<&str> = built_in::names().collect();
            complain(&format!(
                "there is no built-in plugin {name:?}; there is: {}",
                known.join(", ")
            ));
            ExitCode::from(EX_USAGE)
        }),
        Some(Role::Serve(served)) => {
            let Served { roots, sources, store, stdio: _ } = served;
            replication::serve_stdio(&replication::serve::Limits { roots, sources, store })
        }
        Some(Role::Write(what)) => write(&what),
        Some(Role::Backup(archive)) => keep(archive, true),
        Some(Role::Restore(archive)) => keep(archive, false),
        None => serve(options),
    }
}

/// Saves the state, or restores it.
fn keep(archive: Archive, save: bool) -> ExitCode {
    let Archive { file, config, state_dir } = archive;
    let options = Options {
        config,
        state_dir,
        role: None,
        listen: Vec::new(),
        listen_plain: Vec::new(),
        check: false,
    };
    let dir = match configure(options, nix::unistd::geteuid().is_root()) {
        Ok(config) => config.state_dir,
        Err(sentence) => {
            complain(&sentence);
            return ExitCode::from(EX_CONFIG);
        }
    };
    let done = if save {
        backup::save(&dir, &file)
            .map(|()| format!("{} is a backup of {}", file.display(), dir.display()))
    } else {
        backup::restore(&dir, &file).map(|aside| match aside {
            Some(aside) => format!("restored; what was there before is in {}", aside.display()),
            None => "restored".to_owned(),
        })
    };
    match done {
        Ok(sentence) => {
            complain(&sentence);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn write(what: &Written) -> ExitCode {
    let mut text = Vec::new();
    let made = match what {
        Written::Man => clap_mangen::Man::new(command()).section("8").render(&mut text),
        Written::Completions { shell } => {
            clap_complete::generate(*shell, &mut command(), "sysadmd", &mut text);
            Ok(())
        }
    };
    match made.and_then(|()| std::io::stdout().write_all(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot be written: {error}"));
            ExitCode::from(EX_IOERR)
        }
    }
}

fn serve(options: Options) -> ExitCode {
    let is_root = nix::unistd::geteuid().is_root();
    let check = options.check;
    let config = match configure(options.clone(), is_root) {
        Ok(config) => config,
        // The journal is read by more than may see every line of the file.
        Err(_) if journal::is_there() => {
            complain("the configuration cannot be used; sysadmd --check says why");
            return ExitCode::from(EX_CONFIG);
        }
        Err(sentence) => {
            complain(&sentence);
            return ExitCode::from(EX_CONFIG);
        }
    };
    if check {
        return check_all(&config);
    }
    heed_signals();
    log_to_stderr();
    keep_memory_private(is_root);
    let reread = move || configure(options.clone(), is_root);
    match run(config, is_root, &reread) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Whoever starts us may have blocked signals, and a blocked SIGTERM would never end us.
fn heed_signals() {
    if let Err(error) = nix::sys::signal::SigSet::all().thread_unblock() {
        complain(&format!("signals that were blocked stay blocked: {error}"));
    }
}

/// Passwords and tokens pass through this memory: no core file of it is written, for a person's
/// daemon neither, and root's cannot be looked into by a process that has no such capability. A
/// plugin begins anew with `execve`, which gives back everything but the limit.
fn keep_memory_private(is_root: bool) {
    let cores = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // Whoever runs a daemon of their own may look into it.
    let looks = if is_root { set_dumpable(false) } else { Ok(()) };
    if let Err(error) = cores.and(looks) {
        tracing::warn!(%error, "a core file of this process could be written");
    }
}

fn run(config: Config, is_root: bool, reread: &Reread) -> Result<(), StartError> {
    let binary = std::env::current_exe()?;
    // Before there are other threads: it changes the environment.
    let inherited = Inherited::take()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let environment = Environment { binary, clock: Clock::system(), is_root };
    runtime.block_on(super::run(config, environment, reread, inherited))
}

fn configure(options: Options, is_root: bool) -> Result<Config, String> {
    let named = options.config.is_some();
    let path = options.config.unwrap_or_else(|| PathBuf::from(FILE));
    let mut file = read_file(&path, named, is_root)?;
    let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(dir) = from_env("CREDENTIALS_DIRECTORY") {
        use_credentials(&mut file, Path::new(&dir));
    }
    let over = Overrides {
        state_dir: options.state_dir,
        listen: options.listen,
        listen_plain: options.listen_plain,
    };
    let state_home = from_env("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| from_env("HOME").map(|home| Path::new(&home).join(".local/state")));
    file.complete(over, &Runner { is_root, state_home }).map_err(|error| error.to_string())
}

/// A certificate that the service manager hands over, where the configuration names none.
fn use_credentials(file: &mut File, dir: &Path) {
    let [certificate, key] = ["sysadmd.certificate", "sysadmd.key"].map(|name| dir.join(name));
    if file.tls.certificate.is_none() && file.tls.key.is_none() && certificate.exists() {
        (file.tls.certificate, file.tls.key) = (Some(certificate), Some(key));
    }
}

/// A file that nobody named and that is not there means the defaults.
fn read_file(path: &Path, named: bool, is_root: bool) -> Result<File, String> {
    if !named && (!is_root || !path.exists()) {
        return Ok(File::default());
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration {}: {error}", path.display()))?;
    let file = File::parse(&text, path).map_err(|error| error.to_string())?;
    // What is in /etc, every plugin may read whom the file's own mode lets.
    let is_open = path.metadata().is_ok_and(|it| it.permissions().mode() & 0o004 != 0);
    if is_root && is_open && !file.plugins.config.is_empty() {
        complain(&format!(
            "everybody, every plugin too, can read {} and what it says to plugins; if that is \
             secret: chmod o-r",
            path.display()
        ));
    }
    Ok(file)
}

fn check_all(config: &Config) -> ExitCode {
    if let Err(unfit) = Tls::check(&config.tls, Clock::system().now()) {
        complain(&TlsError::from(unfit).to_string());
        return ExitCode::from(EX_CONFIG);
    }
    if !config.state_dir.join("sysadmd.db").exists() {
        complain("the configuration is right; there is no database yet");
        return ExitCode::SUCCESS;
    }
    let dir = &config.state_dir;
    match Store::check_all(dir).and_then(|()| Store::audit_verify_file(dir)) {
        Ok(verdict) => tell_verdict(&verdict),
        // So that a configuration can be checked before the daemon that runs takes it.
        Err(StoreError::InUse { pid, .. }) => {
            let who = pid.map(|pid| format!(", process {pid},")).unwrap_or_default();
            complain(&format!(
                "the configuration is right; the database was not looked at, because a daemon{who} \
                 uses it"
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(StartError::from(error).exit_code())
        }
    }
}

fn tell_verdict(verdict: &AuditVerdict) -> ExitCode {
    match verdict {
        AuditVerdict::Intact { first, last, head } => {
            let records = if first > last {
                "without records".to_owned()
            } else {
                format!("records {first} to {last}")
            };
            let head = head.iter().fold(String::new(), |mut digits, byte| {
                // A `String` takes everything that is written to it.
                write!(digits, "{byte:02x}").ok();
                digits
            });
            complain(&format!(
                "the configuration and the database are right; the audit trail is intact: \
                 {records}, head {last}:{head}"
            ));
            ExitCode::SUCCESS
        }
        AuditVerdict::Broken { seq, what } => {
            complain(&format!(
                "the audit trail is not as it was recorded, from record {seq} on: {what}"
            ));
            ExitCode::from(EX_DATAERR)
        }
    }
}

fn log_to_stderr() {
    let wanted = EnvFilter::try_from_env("SYSADMD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        // Telling standard error that nothing can be written to it would be a panic.
        .log_internal_errors(false);
    let wanted = wanted.and(harmless());
    if journal::is_there() {
        // The journal keeps the time, and the level as a number.
        let lines = lines.without_time().with_level(false).with_ansi(false);
        let lines = lines.with_writer(journal::Lines).with_filter(wanted);
        tracing_subscriber::registry().with(lines).init();
    } else {
        let lines = lines.with_ansi(std::io::stderr().is_terminal());
        let lines = lines.with_writer(std::io::stderr).with_filter(wanted);
        tracing_subscriber::registry().with(lines).init();
    }
}

/// Nothing below `info` of what is not ours, whatever is asked for: libraries print the frames, the
/// headers and the keys they handle, and there is no telling what stands in them.
fn harmless() -> FilterFn {
    FilterFn::new(|line| *line.level() <= tracing::Level::INFO || is_ours(line.target()))
}

/// Whether a module of this program said it.
fn is_ours(target: &str) -> bool {
    target.split("::").next() == Some("sysadmd")
}

/// Says a sentence to whoever started us, before there is a log.
fn complain(sentence: &str) {
    // Nobody is left to tell when standard error is gone.
    writeln!(std::io::stderr(), "sysadmd: {sentence}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{EX_TEMPFAIL, EX_UNAVAILABLE};

    #[test]
    fn only_our_own_modules_are_ours() {
        for (target, ours) in [
            ("sysadmd", true),
            ("sysadmd::listen::http", true),
            ("sysadmd_x::frames", false),
            ("tungstenite::protocol", false),
            ("hyper::proto", false),
        ] {
            assert_eq!(is_ours(target), ours, "{target}");
        }
    }

    #[test]
    fn a_credential_is_used_where_the_configuration_names_no_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::default();
        use_credentials(&mut file, dir.path());
        assert_eq!(file, File::default(), "there is none");
        let certificate = dir.path().join("sysadmd.certificate");
        std::fs::write(&certificate, "").unwrap();
        use_credentials(&mut file, dir.path());
        assert_eq!(file.tls.certificate, Some(certificate));
        assert_eq!(file.tls.key, Some(dir.path().join("sysadmd.key")));
        file.tls.certificate = Some("/own".into());
        use_credentials(&mut file, dir.path());
        assert_eq!(file.tls.certificate.as_deref(), Some(Path::new("/own")));
    }

    #[test]
    fn the_help_names_the_numbers_that_are_used() {
        command().debug_assert();
        for code in [EX_USAGE, EX_DATAERR, EX_UNAVAILABLE, EX_IOERR, EX_TEMPFAIL, EX_CONFIG] {
            assert!(AFTER_HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
