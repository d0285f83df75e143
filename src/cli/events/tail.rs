//! `sysadmctl events tail`: follow the stream across restarts of the daemon and of the tail.

use std::cell::Cell;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use protocol::Cursor;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};

use super::cursor_file::CursorFile;
use super::{FilterOptions, show};
use crate::cli::backoff::Backoff;
use crate::cli::client::{Client, Pushed};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Style};
use crate::cli::target::Target;

/// What the help says besides the options.
pub(super) const HELP: &str = "\
With --cursor-file nothing is missed or repeated between two runs: the place is kept in the file
after what was printed, and the next run goes on from there (--from then only counts for the first
run). With --json each line is one event, or {\"gap\": …} where events are missing.";

/// The most bytes printed at once, before the place is kept.
const BATCH_BYTES: usize = 64 * 1024;

/// How long the last lines may take after Ctrl-C; a full pipe may never take them.
const PRINTING_MAX: Duration = Duration::from_millis(500);

/// What to follow and from where.
#[derive(Debug, Args)]
pub(crate) struct TailOptions {
    #[command(flatten)]
    filter: FilterOptions,
    /// Where to begin: now, oldest, snapshot (the newest of every class and subject), or a cursor
    #[arg(long, value_name = "PLACE", default_value = "now")]
    from: From,
    /// Keep the place in this file and go on from it next time
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    /// What happens when events are not read fast enough
    #[arg(long, default_value = "lossless",
          value_parser = ["lossless", "latest", "drop", "disconnect"])]
    overflow: String,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl TailOptions {
    /// Everything of these classes from this cursor on.
    pub(super) fn of(classes: &[&str], cursor: String) -> Self {
        let classes = classes.iter().map(|class| (*class).to_owned()).collect();
        Self {
            filter: FilterOptions { classes, ..FilterOptions::default() },
            from: From(cursor),
            cursor_file: None,
            overflow: "lossless".to_owned(),
            count: None,
        }
    }
}

/// A place to begin at, as the wire writes it.
#[derive(Debug, Clone)]
struct From(String);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if matches!(text, "now" | "oldest" | "snapshot") || text.parse::<Cursor>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected now, oldest, snapshot or a cursor that a tail printed".to_owned())
        }
    }
}

/// Follows until it is told to stop.
pub(crate) async fn run(
    options: TailOptions,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let mut tail = Tail::new(options, target, style)?;
    let mut interrupt = stop_signal(SignalKind::interrupt())?;
    let mut terminate = stop_signal(SignalKind::terminate())?;
    let printing = Rc::clone(&tail.printing);
    let exit = {
        let mut following = pin!(tail.follow());
        let exit = tokio::select! {
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Terminated,
            ended = &mut following => return ended,
        };
        if printing.get() == Printing::Now {
            printing.set(Printing::Last);
            // Whether it ends in time or not, the place is behind what is known to be printed.
            tokio::time::timeout(PRINTING_MAX, following).await.ok();
        }
        exit
    };
    if let (None, Some(cursor)) = (&tail.file, &tail.cursor) {
        output::remark(&format!("to go on from here: sysadmctl events tail --from {cursor}"));
    }
    Err(Failure::new(exit, ""))
}

fn stop_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot listen for signals: {error}")))
}

struct Tail<'a> {
    options: TailOptions,
    target: &'a Target,
    style: Style,
    file: Option<CursorFile>,
    /// Behind what was printed last; nothing before the first answer.
    cursor: Option<String>,
    printed: u64,
    backoff: Backoff,
    sink: Sink,
    printing: Rc<Cell<Printing>>,
}

/// Whether lines are on their way, and whether more may follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Printing {
    /// None are.
    No,
    /// Some are.
    Now,
    /// Some are, and then it is to end.
    Last,
}

/// Where the lines go.
type Sink = Arc<dyn Fn(&str) -> Result<(), Failure> + Send + Sync>;

/// What is printed in one go, and the place behind it.
#[derive(Default)]
struct Batch {
    text: String,
    events: u64,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    cursor: Option<String>,
}

impl<'a> Tail<'a> {
    fn new(options: TailOptions, target: &'a Target, style: Style) -> Result<Self, Failure> {
        let file = options.cursor_file.clone().map(CursorFile::at);
        let cursor = file.as_ref().map(CursorFile::load).transpose()?.flatten();
        Ok(Self {
            options,
            target,
            style,
            file,
            cursor,
            printed: 0,
            backoff: Backoff::default(),
            sink: Arc::new(output::print),
            printing: Rc::new(Cell::new(Printing::No)),
        })
    }

    /// The first connection must succeed, so that a wrong address is noticed; later ones are
    /// tried for ever.
    async fn follow(&mut self) -> Result<(), Failure> {
        let mut client = self.open().await?;
        loop {
            match self.read(&mut client).await {
                Err(lost) if lost.passes() => {
                    drop(client);
                    client = self.reopen(lost).await?;
                }
                ended => return ended,
            }
        }
    }

    async fn open(&mut self) -> Result<Client, Failure> {
        let (mut client, _) = Client::open(self.target).await?;
        let from = self.cursor.clone().unwrap_or_else(|| self.options.from.0.clone());
        let subscribed = client
            .subscribe(json!({
                "filter": self.options.filter.to_json(),
                "from": from,
                "overflow": self.options.overflow,
            }))
            .await?;
        let mut batch = Batch::default();
        // After any other beginning there may be events to come that lie before this cursor.
        if from == "now" {
            batch.cursor = subscribed.cursor;
        }
        if let Some(gap) = subscribed.gap.filter(|gap| gap.get() != "null") {
            batch.text = show::gap(self.style, &gap);
        }
        self.print(batch).await?;
        Ok(client)
    }

    async fn reopen(&mut self, mut lost: Failure) -> Result<Client, Failure> {
        let place = self.cursor.as_deref().unwrap_or(&self.options.from.0);
        output::remark(&format!("connection lost, resuming from {place} ({lost})"));
        loop {
            tokio::time::sleep(self.backoff.wait(lost.retry_after)).await;
            match self.open().await {
                Err(failure) if failure.passes() => lost = failure,
                Ok(client) => {
                    output::remark("connected again");
                    return Ok(client);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Prints what comes until the connection ends or enough is printed.
    async fn read(&mut self, client: &mut Client) -> Result<(), Failure> {
        loop {
            let first = client.pushed().await?;
            self.backoff.reset();
            let mut batch = Batch::default();
            let mut ended = self.collect(&mut batch, first);
            while ended.is_ok() && batch.text.len() < BATCH_BYTES && !self.enough(&batch) {
                match client.pushed_already() {
                    Some(next) => ended = next.and_then(|next| self.collect(&mut batch, next)),
                    None => break,
                }
            }
            let enough = self.enough(&batch);
            self.print(batch).await?;
            if enough {
                return Ok(());
            }
            ended?;
        }
    }

    fn enough(&self, batch: &Batch) -> bool {
        self.options.count.is_some_and(|count| self.printed + batch.events >= count)
    }

    fn collect(&self, batch: &mut Batch, pushed: Pushed) -> Result<(), Failure> {
        let args: Box<RawValue> = match pushed {
            Pushed::Event(event) => {
                batch.text.push_str(&show::event(self.style, &event));
                batch.events += 1;
                event
            }
            Pushed::Gap(gap) => {
                batch.text.push_str(&show::gap(self.style, &gap));
                gap
            }
            Pushed::Heartbeat(heartbeat) => heartbeat,
        };
        let place: Place = serde_json::from_str(args.get()).map_err(|error| {
            Failure::new(Exit::Failed, format!("an event without a readable cursor: {error}"))
        })?;
        batch.cursor = place.cursor.or(batch.cursor.take());
        Ok(())
    }

    /// Prints first and moves on second: what is repeated after a crash in between is at most one
    /// batch, and nothing is missed.
    async fn print(&mut self, batch: Batch) -> Result<(), Failure> {
        if !batch.text.is_empty() {
            self.printing.set(Printing::Now);
            // On its own thread: a full pipe must not keep Ctrl-C from us.
            let sink = Arc::clone(&self.sink);
            let printing = tokio::task::spawn_blocking(move || sink(&batch.text));
            printing.await.map_err(|error| {
                Failure::new(Exit::Failed, format!("printing failed: {error}"))
            })??;
        }
        self.printed += batch.events;
        if let Some(cursor) = batch.cursor.filter(|cursor| self.cursor.as_ref() != Some(cursor)) {
            if let Some(file) = &self.file {
                file.store(&cursor)?;
            }
            self.cursor = Some(cursor);
        }
        match self.printing.replace(Printing::No) {
            Printing::Last => Err(Failure::new(Exit::Interrupted, "")),
            Printing::No | Printing::Now => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
