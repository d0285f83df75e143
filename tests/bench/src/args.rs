//! The command line, and the sizes it stands for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::serve::Serve;

/// Compares sysadmd with its anchors on this machine and prints one table.
#[derive(Debug, Parser)]
#[command(name = "sysadmd-bench", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one anchor; the program starts these itself.
    Serve(Serve),
    /// Be the plugin of the plugin rows; the daemon starts it.
    Plugin,
}

/// What to measure.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Plan {
    /// Runs of each work; the median is told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) runs: u32,
    /// Small sizes and one run: proves that everything works, its figures mean little.
    #[arg(long, conflicts_with = "full")]
    pub(crate) quick: bool,
    /// Fill the log with 10 million events instead of 1 million.
    #[arg(long)]
    pub(crate) full: bool,
    /// Only these rows, for example P1,P4.
    #[arg(long, value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
    /// Also write the table as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// End with status 1 when a goal is missed.
    #[arg(long)]
    pub(crate) check: bool,
    /// The daemon [default: sysadmd beside this program].
    #[arg(long, value_name = "PATH")]
    pub(crate) sysadmd: Option<PathBuf>,
    /// Measure the anchors only.
    #[arg(long, conflicts_with = "sysadmd")]
    pub(crate) anchors_only: bool,
    /// nats-server [default: where Debian's package puts it].
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/nats-server")]
    pub(crate) nats: PathBuf,
    /// Folder for everything the servers write; must be on the disk to be measured [default: beside this program].
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

/// What the command line asks for.
pub(crate) enum What {
    /// Be an anchor.
    Serve(Serve),
    /// Be the plugin.
    Plugin,
    /// Measure.
    Measure(Plan),
}

impl Args {
    /// Tells the two uses apart.
    pub(crate) fn split(self) -> What {
        match self.command {
            Some(Command::Serve(serve)) => What::Serve(serve),
            Some(Command::Plugin) => What::Plugin,
            None => What::Measure(self.plan),
        }
    }
}

/// How much of each work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Runs of each work.
    pub(crate) runs: u32,
    /// Subscribers of the wide works.
    pub(crate) subscribers: usize,
    /// Messages of a flood.
    pub(crate) flood: u32,
    /// Deliveries of a window-1 work, split among its subscribers.
    pub(crate) paced: u32,
    /// Idle connections without TLS.
    pub(crate) idle: usize,
    /// Idle connections with TLS.
    pub(crate) idle_tls: usize,
    /// Length of one run of calls or of durable writes.
    pub(crate) span: Duration,
    /// Events in the log for start and replay.
    pub(crate) log: u32,
}

impl Plan {
    /// The sizes of this plan.
    pub(crate) fn sizes(&self) -> Sizes {
        if self.quick {
            return Sizes {
                runs: 1,
                subscribers: 100,
                flood: 1000,
                paced: 5000,
                idle: 500,
                idle_tls: 100,
                span: Duration::from_millis(300),
                log: 20_000,
            };
        }
        Sizes {
            runs: self.runs,
            subscribers: 1000,
            flood: 3000,
            paced: 200_000,
            // The usual hard limit is 20,000 open files a process.
            idle: 10_000,
            idle_tls: 2000,
            span: Duration::from_secs(2),
            log: if self.full { 10_000_000 } else { 1_000_000 },
        }
    }

    /// Whether row `id` is wanted.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|r| r.eq_ignore_ascii_case(id))
    }
}
