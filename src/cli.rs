//! The command line `sysadmctl`.
//!
//! It knows the options, how answers look on a terminal, and the `SysAdm` protocol as any client
//! does. It must not know the daemon: it stands on the crate `protocol` and on libraries alone.
//! `src/bin/sysadmctl.rs` calls it.

mod alerts;
mod audit;
mod backoff;
mod bundle;
pub(crate) mod client;
mod connect;
mod containers;
mod deprecations;
mod doctor;
pub(crate) mod events;
mod exit;
#[cfg(test)]
mod fake;
mod jobs;
mod keys;
mod man;
pub(crate) mod output;
pub(crate) mod plugin;
mod plugins;
mod policies;
mod replication;
mod rules;
mod service;
mod sessions;
mod setup;
mod sinks;
mod snapshots;
mod status;
mod system;
pub(crate) mod target;
mod tokens;
mod triggers;
pub(crate) mod trust;
pub(crate) mod when;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use protocol::{Fault, FaultKind};
use serde_json::{Value, json};

use client::Client;
use exit::{EXIT_TABLE, Exit, Failure};
use output::Style;
use target::{Connection, Target};

/// The largest message the daemon takes, so reading more from standard input is of no use.
const STDIN_BYTES_MAX: u64 = 1024 * 1024;

const ENVIRONMENT: &str = "\
Environment:
  SYSADMD_SOCKET, SYSADMD_URL, SYSADMD_TOKEN   as the options; the options win
  NO_COLOR                                     no colours

Without any of them: /run/sysadmd/sysadmd.sock for root, and for everybody else the socket of
their own daemon in ~/.local/state/sysadmd/ or, when there is none, the system's.";

#[derive(Debug, Parser)]
#[command(
    name = "sysadmctl",
    version,
    about = "Talk to sysadmd: call its methods, follow its events, manage its plugins",
    after_help = format!("{ENVIRONMENT}\n\n{EXIT_TABLE}"),
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Daemon(DaemonCommand),
    /// Say what is wrong with the installation on this machine, and how to mend it
    Doctor(doctor::Doctor),
    /// Finish an installation: the first administrator's token, addresses, certificate, who is admin
    Setup(setup::Setup),
    /// Gather what somebody who is to help needs to see, and nothing that is secret
    SupportBundle(bundle::Bundle),
    /// Write, check and try a plugin of your own (needs no daemon)
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        #[arg(value_parser = ["bash", "zsh", "fish"])]
        shell: String,
    },
    /// Print the manual page, or write the pages of all commands
    Man {
        /// Write them all into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// What needs a daemon to answer.
#[derive(Debug, Subcommand)]
enum DaemonCommand {
    /// Show the daemon and its plugins on one screen
    Status,
    /// Call a method and print its result
    Call {
        /// The namespace, such as snapshot
        namespace: String,
        /// The name, such as list
        name: String,
        /// The arguments as JSON; `-` reads them from standard input [default: {}]
        #[arg(value_name = "JSON")]
        args: Option<String>,
    },
    /// Follow, look back at, or fire events
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Show, start and stop plugins
    #[command(subcommand)]
    Plugins(plugins::PluginsCommand),
    /// Show, take and destroy snapshots
    #[command(subcommand)]
    Snapshots(snapshots::SnapshotsCommand),
    /// Show and change what takes snapshots by itself, and what stays of them
    #[command(subcommand)]
    Policies(policies::PoliciesCommand),
    /// Copy snapshots to another place, and see how that goes
    #[command(subcommand)]
    Replication(replication::ReplicationCommand),
    /// Show and change the containers of this machine's engines
    #[command(subcommand)]
    Containers(containers::ContainersCommand),
    /// Show and change the services that containers make up, by their labels
    Services {
        #[command(subcommand)]
        command: Option<containers::ServicesCommand>,
    },
    /// Show and change the stacks: services of one compose project or swarm stack
    Stacks {
        #[command(subcommand)]
        command: Option<containers::GroupCommand>,
    },
    /// Show how the machine is, and start and stop its services
    #[command(subcommand)]
    System(system::SystemCommand),
    /// Have calls done as jobs, and show, await, abort and retry them
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Show what is wrong, acknowledge and silence it, and follow it
    #[command(subcommand)]
    Alerts(alerts::AlertsCommand),
    /// Make, show, rotate and revoke tokens
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// Show the roles and what each may do
    Roles,
    /// Show, pause, resume and try where events are delivered to
    #[command(subcommand)]
    Sinks(sinks::SinksCommand),
    /// Make, show and delete URLs that do one thing when they are called
    #[command(subcommand)]
    Triggers(triggers::TriggersCommand),
    /// Make, show and delete rules: calls that are made when something happens
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Show and end the sessions of web logins
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Show, register and revoke keys that log users in
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Show who still uses what is on its way out
    Deprecations(deprecations::Deprecations),
    /// Show, export and verify who did what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

/// The command line, for whoever writes it down.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// What a command ends with when the daemon answers with this kind of fault.
pub fn exit_code(kind: FaultKind) -> u8 {
    Failure::from(Fault::new(kind, "")).exit.code()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return show_clap(&error),
    };
    let Arguments { connection, json, command: wanted } = arguments;
    let done = match wanted {
        Command::Plugin(command) => return plugin::run(command, json),
        Command::Completions { shell } => completions(&shell),
        Command::Man { out } => man::run(command(), out.as_deref()),
        Command::SupportBundle(bundle) => in_runtime(bundle::run(&bundle, &connection)),
        Command::Setup(setup) => {
            in_runtime(setup::run(&setup, &connection, Style::of_stdout(json)))
        }
        Command::Doctor(doctor) => {
            in_runtime(doctor::run(&doctor, &connection, Style::of_stdout(json)))
        }
        Command::Daemon(command) => ask_daemon(command, &connection, json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure);
            failure.exit.into()
        }
    }
}

fn show_clap(error: &clap::Error) -> ExitCode {
    let wanted = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // When nobody can read it, the number still tells.
    error.print().ok();
    if wanted { ExitCode::SUCCESS } else { Exit::Usage.into() }
}

fn ask_daemon(command: DaemonCommand, connection: &Connection, json: bool) -> Result<(), Failure> {
    let style = Style::of_stdout(json);
    let target = Target::choose(connection)?;
    in_runtime(perform(command, &target, style))
}

fn in_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let done = runtime.block_on(work);
    // A thread may still be writing to a pipe that nobody reads.
    runtime.shutdown_background();
    done
}

#[expect(clippy::cognitive_complexity, reason = "one arm for each subcommand, and nothing else")]
async fn perform(command: DaemonCommand, target: &Target, style: Style) -> Result<(), Failure> {
    match command {
        DaemonCommand::Status => status::run(target, style).await,
        DaemonCommand::Call { namespace, name, args } => {
            call([&namespace, &name], args.as_deref(), target, style).await
        }
        DaemonCommand::Events(command) => events::run(command, target, style).await,
        DaemonCommand::Plugins(command) => plugins::run(command, target, style).await,
        DaemonCommand::Containers(command) => containers::run(command, target, style).await,
        DaemonCommand::Services { command } => containers::services(command, target, style).await,
        DaemonCommand::Stacks { command } => containers::stacks(command, target, style).await,
        DaemonCommand::Snapshots(command) => snapshots::run(command, target, style).await,
        DaemonCommand::Policies(command) => policies::run(command, target, style).await,
        DaemonCommand::Replication(command) => replication::run(command, target, style).await,
        DaemonCommand::System(command) => system::run(command, target, style).await,
        DaemonCommand::Jobs(command) => jobs::run(command, target, style).await,
        DaemonCommand::Alerts(command) => alerts::run(command, target, style).await,
        DaemonCommand::Tokens(command) => tokens::run(command, target, style).await,
        DaemonCommand::Roles => tokens::roles(target, style).await,
        DaemonCommand::Sinks(command) => sinks::run(command, target, style).await,
        DaemonCommand::Triggers(command) => triggers::run(command, target, style).await,
        DaemonCommand::Rules(command) => rules::run(command, target, style).await,
        DaemonCommand::Sessions(command) => sessions::run(command, target, style).await,
        DaemonCommand::Keys(command) => keys::run(command, target, style).await,
        DaemonCommand::Deprecations(command) => deprecations::run(command, target, style).await,
        DaemonCommand::Audit(command) => audit::run(command, target, style).await,
    }
}

async fn call(
    [namespace, name]: [&str; 2],
    args: Option<&str>,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let args = arguments_of(args)?;
    let (mut client, _) = Client::open(target).await?;
    output::value(style, &client.call::<Value>(namespace, name, args).await?)
}

fn arguments_of(text: Option<&str>) -> Result<Value, Failure> {
    let parsed = match text {
        None => return Ok(json!({})),
        Some("-") => {
            let mut text = String::new();
            let stdin = std::io::stdin().lock();
            stdin.take(STDIN_BYTES_MAX).read_to_string(&mut text).map_err(|error| {
                Failure::new(Exit::File, format!("cannot read standard input: {error}"))
            })?;
            parse_json(&text)
        }
        Some(text) => parse_json(text),
    };
    parsed.map_err(|why| Failure::usage(format!("the arguments are no JSON: {why}")))
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn completions(shell: &str) -> Result<(), Failure> {
    let shell: Shell = shell.parse().map_err(Failure::usage)?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "sysadmctl", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn options_may_stand_behind_the_command() {
        let given = ["sysadmctl", "call", "rpc", "query", "--json", "--socket", "/s"];
        let arguments = Arguments::try_parse_from(given).unwrap();
        assert!(arguments.json);
        assert_eq!(arguments.connection.socket.unwrap().to_str(), Some("/s"));
    }

    #[test]
    fn arguments_are_checked_before_anybody_is_asked() {
        assert_eq!(arguments_of(None).unwrap(), json!({}));
        assert_eq!(arguments_of(Some("[1]")).unwrap(), json!([1]));
        assert_eq!(arguments_of(Some("{a:1}")).unwrap_err().exit, Exit::Usage);
    }
}
