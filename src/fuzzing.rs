//! Floor 9: the door by which `tests/fuzz` gets at what reads the outside: clients, plugins, tools,
//! files, rows.
//!
//! It knows names, and what shape they can be called in. Nothing in the daemon uses it.

use std::io::BufRead;

use bytes::BufMut as _;
use protocol::{Event, Fault, Json, Time};
use rusqlite::{Connection, Row};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::client::Read;
use crate::cli::events::show;
use crate::cli::output::{self, Style};
use crate::cli::plugin::child::{self, Heard};
use crate::cli::{target, trust};
use crate::dispatch::jobs::log::{Keep, Log};
use crate::dispatch::jobs::work::Task;
use crate::dispatch::jobs::{answer, record};
use crate::host::lines::{Line, Lines};
use crate::listen::tls::pair;
use crate::store::{AuditPage, AuditQuery, StoredJob};

pub use crate::access::pam::helper::verdict_in;
pub use crate::access::redact::redact;
pub use crate::cli::client::retry_after;
pub use crate::cli::events::cursor_file::cursor_in;
pub use crate::cli::output::{bytes as bytes_for_people, clean, moment, one_line, text};
pub use crate::cli::plugin::child::member;
pub use crate::cli::when::length;
pub use crate::dispatch::dispatcher::commands_of;
pub use crate::dispatch::events::query as log_query;
pub use crate::dispatch::greeting::introduced;
pub use crate::dispatch::jobs::work::split as command_words;
pub use crate::dispatch::logs::asked as logs_asked;
pub use crate::dispatch::logs::moment::by_pattern as time_by_pattern;
pub use crate::dispatch::split;
pub use crate::dispatch::trail::query as trail_query;
pub use crate::host::handshake::judge as judge_hello;
pub use crate::host::permission::{Facts, judge as judge_permission};
pub use crate::host::publish::read_report;
pub use crate::listen::http::proof as header_proof;
pub use crate::listen::pages::Pages;
pub use crate::listen::rest::{args_of, method_of};
pub use crate::listen::socket::config as websocket_config;
pub use crate::sinks::verdict::{
    Verdict as SinkVerdict, consent as sink_consent, judge as judge_sink,
};

pub use crate::wire::login::login;

const PLAIN: Style = Style { json: false, colour: false };

/// How many certificates these PEM files hold, and what the first says of itself; whether there is a
/// key. What is wrong is a sentence.
pub fn pem_files(certificate: &[u8], key: &[u8]) -> [Result<usize, String>; 2] {
    let path = std::path::Path::new("file.pem");
    let certificates = pair::certificates_in(certificate, path);
    let key = pair::private_key_in(key, path);
    [
        certificates.map(|found| found.len()).map_err(|unfit| unfit.to_string()),
        key.map(|_| 1).map_err(|unfit| unfit.to_string()),
    ]
}

/// The event in a row.
pub fn event_in(row: &Row<'_>) -> Option<Event> {
    crate::store::rows::decode(row).ok()
}

/// A page of an audit trail that lies in this database.
pub fn audit_page(db: &mut Connection, query: &AuditQuery) -> Option<AuditPage> {
    crate::store::audit::page::page(db, query, usize::MAX).ok()
}

/// A job that is asked for.
#[derive(Debug)]
pub struct Asked {
    /// The words of each of its commands; `None` when it is a call.
    pub commands: Option<Vec<Vec<String>>>,
    /// Everything that its client has named.
    pub names: Vec<String>,
    /// Locks among them.
    pub locks: usize,
    /// Seconds it may take.
    pub timeout_s: u64,
}

/// What the arguments of `rpc/jobs run` ask for.
///
/// # Errors
/// `bad-request`, with what is wrong.
pub fn job_asked(args: &Value) -> Result<Asked, Fault> {
    let wanted = answer::wanted(args)?;
    let locks = wanted.locks.len();
    let chosen = [wanted.process_id, wanted.key, wanted.queue].into_iter().flatten();
    let commands = match wanted.task {
        Task::Call(_) => None,
        Task::Commands(all) => Some(all.into_iter().map(|command| command.argv).collect()),
    };
    let names = chosen.chain(wanted.locks).collect();
    Ok(Asked { commands, names, locks, timeout_s: wanted.timeout_s })
}

/// A row about a job, what is shown of it and what it is to do, read and written again; `None` when
/// it is not understood.
pub fn job_kept(job: Json, work: Json) -> Option<(Json, Json)> {
    let created = Time::from_micros(1);
    let row = StoredJob { id: uuid::Uuid::nil(), created, ended: None, job, work };
    let (job, work) = record::read(&row)?;
    let StoredJob { job, work, .. } = record::stored(&job, &work).ok()?;
    Some((job, work))
}

/// What is kept of the log of a job that has said these pieces, with the place of each part, read
/// by so many bytes at a time; and an excerpt of all of it, of about so many bytes.
pub fn job_log(
    (first, last): (usize, usize),
    pieces: &[&[u8]],
    most: usize,
) -> (Vec<(u64, Vec<u8>)>, String) {
    let mut log = Log::new(Keep { first, last });
    for piece in pieces {
        log.push(piece);
    }
    let (mut place, mut read) = (0, Vec::new());
    while place < log.said() {
        let piece = log.read(place, most);
        place = piece.next;
        read.push((piece.from, piece.bytes));
    }
    (read, log.excerpt(0, log.said(), most))
}

/// A message as `sysadmctl` sorts it.
#[derive(Debug)]
pub enum Sorted {
    /// To the call with this id.
    Answer(String, Result<Box<RawValue>, Fault>),
    /// As a line for people and as one for programs, where it has one.
    Pushed(Option<[String; 2]>),
    /// Neither.
    Other,
}

/// Sorts a message.
pub fn sorted(message: &str) -> Sorted {
    match crate::cli::client::read_message(message) {
        Read::Answer { id, result } => Sorted::Answer(id, result),
        Read::Pushed(pushed) => Sorted::Pushed(shown(&pushed)),
        Read::Other => Sorted::Other,
    }
}

fn shown(pushed: &crate::cli::client::Pushed) -> Option<[String; 2]> {
    use crate::cli::client::Pushed;
    let styles = [PLAIN, Style { json: true, ..PLAIN }];
    match pushed {
        Pushed::Event(event) => Some(styles.map(|style| show::event(style, event))),
        Pushed::Gap(gap) => Some(styles.map(|style| show::gap(style, gap))),
        Pushed::Heartbeat(_) => None,
    }
}

/// A table of one column with the member `a` of each object.
pub fn table(objects: &[Value]) -> String {
    output::layout(PLAIN, objects, &[("A", |object| text(&object["a"]))])
}

/// What a URL says, normalized; `None` when it is refused. A certificate is pinned, so that no file
/// is looked for.
pub fn url(text: &str) -> Option<String> {
    let pinned = "00".repeat(32).parse().ok();
    target::parse_url(text, pinned).ok().map(|place| place.to_string())
}

/// The fingerprint a file has for a host, as it prints.
///
/// # Errors
/// When the line of the host cannot be read.
pub fn known_in(text: &str, authority: &str) -> Result<Option<String>, String> {
    trust::known_in(text, authority).map(|found| found.map(|it| it.to_string()))
}

/// The lines of a plugin's output that comes in pieces of these sizes, over and over; `Err` for the
/// beginning of one that is longer than `most`.
pub fn lines(output: &[u8], sizes: &[usize], most: usize) -> Vec<Result<Vec<u8>, Vec<u8>>> {
    let (mut lines, mut rest, mut found) = (Lines::new(most), output, Vec::new());
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() {
        let mut space = lines.space();
        let size = sizes.next().unwrap_or(1).clamp(1, rest.len()).min(space.remaining_mut());
        let (piece, left) = rest.split_at(size);
        space.put_slice(piece);
        rest = left;
        found.extend(std::iter::from_fn(|| lines.next()));
    }
    found.extend(lines.rest());
    let told = |line| match line {
        Line::Whole(line) => Ok(line.to_vec()),
        Line::TooLong(beginning) => Err(beginning.to_vec()),
    };
    found.into_iter().map(told).collect()
}

/// What a plugin says next, as `sysadmctl plugin` hears it: a message, something that is none, or
/// `None` at the end.
pub fn heard(output: &mut impl BufRead, most: usize) -> Option<Result<Json, String>> {
    match child::next(output, most) {
        Heard::Message(frame) => Some(Ok(Json::of(&frame).unwrap_or_default())),
        Heard::Garbage(why) => Some(Err(why)),
        Heard::End => None,
    }
}
