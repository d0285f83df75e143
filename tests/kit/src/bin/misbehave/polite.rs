//! Behaviours that keep to the protocol, by the SDK.

use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use protocol::Json;
use sdk::{Context, Draft, Fault, FaultKind, Level, Plugin, Published, Request, Value, json};

use crate::process::{eat, linger, portrait};
use crate::{Order, hostile};

/// Serves with the SDK; `None` when the behaviour is not one of these.
pub(crate) fn serve(order: &Order) -> Option<ExitCode> {
    let time = Duration::from_millis(order.number.unwrap_or(200));
    let manner = match order.behaviour.as_str() {
        "good" => Manner::Good,
        "hang" => Manner::Hang,
        "slow" => Manner::Slow(time),
        "late" => Manner::Late(time),
        "slow-start" => Manner::SlowStart(time),
        "fail-start" => Manner::FailStart,
        "crash-loop" => Manner::CrashLoop(time),
        "eat-memory" => Manner::EatMemory(order.number.unwrap_or(2 << 30)),
        "no-health" => Manner::NoHealth,
        "chatty" => Manner::Chatty,
        _ => return None,
    };
    Some(sdk::serve(&order.manifest_text(), Polite(manner)))
}

enum Manner {
    Good,
    Hang,
    Slow(Duration),
    Late(Duration),
    SlowStart(Duration),
    FailStart,
    CrashLoop(Duration),
    EatMemory(u64),
    NoHealth,
    Chatty,
}

struct Polite(Manner);

impl Plugin for Polite {
    fn start(&self, ctx: &Context) -> Result<(), Fault> {
        match &self.0 {
            Manner::SlowStart(time) => drop(ctx.pause(*time)),
            Manner::FailStart => return Err(Fault::new(FaultKind::Failed, "as asked for")),
            Manner::CrashLoop(time) => {
                let time = *time;
                std::thread::spawn(move || {
                    std::thread::sleep(time);
                    std::process::abort();
                });
            }
            Manner::EatMemory(bytes) => {
                let eaten = eat(usize::try_from(*bytes).unwrap_or(usize::MAX));
                ctx.log(Level::Warn, &format!("ate {eaten} of {bytes} bytes"));
            }
            Manner::Chatty => {
                for number in 0..1000 {
                    eprintln(&format!("line {number} of much that nobody asked for"));
                }
                eprintln(&"x".repeat(1 << 20));
            }
            _ => {}
        }
        Ok(())
    }

    fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault> {
        match &self.0 {
            Manner::Hang => linger(),
            Manner::Slow(time) => drop(ctx.pause(*time)),
            Manner::Late(time) => {
                let until = ctx.deadline().unwrap_or_else(Instant::now) + *time;
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
            }
            _ => {}
        }
        answer(ctx, request)
    }

    fn health(&self, _: &Context) -> Result<Value, Fault> {
        if matches!(self.0, Manner::NoHealth) { linger() } else { Ok(Value::Null) }
    }
}

fn answer(ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let args = &request.args;
    match request.name.as_str() {
        "echo" if ctx.version() > 1 => Ok(json!({ "echo": args, "version": ctx.version() })),
        "echo" => Ok(args.clone()),
        "sleep" => sleep(ctx, args),
        "publish" => publish(ctx, args),
        "ring" => ring(ctx, args),
        "fault" => Err(serde_json::from_value(args["fault"].clone())
            .unwrap_or_else(|error| Fault::bad_request(format!("`fault`: {error}")))),
        "self" => Ok(about(ctx)),
        "log" => {
            let level = match args["level"].as_str() {
                Some("error") => Level::Error,
                Some("warn") => Level::Warn,
                _ => Level::Info,
            };
            ctx.log(level, args["message"].as_str().unwrap_or_default());
            Ok(Value::Null)
        }
        "print" => {
            print(args["text"].as_str().unwrap_or_default());
            Ok(Value::Null)
        }
        "hang" => linger(),
        "eat" => {
            let bytes = usize::try_from(number(args, "bytes", 0)).unwrap_or(usize::MAX);
            Ok(json!({ "eaten": eat(bytes) }))
        }
        "exit" => {
            std::process::exit(i32::try_from(number(args, "code", 0)).unwrap_or(1));
        }
        "crash" => std::process::abort(),
        "panic" => panicking(),
        "hostile" => hostile::act(ctx, args),
        _ => Err(sdk::unknown_method(request)),
    }
}

#[allow(clippy::panic, reason = "a panic is what the test asked for")]
fn panicking() -> ! {
    panic!("as asked for")
}

fn sleep(ctx: &Context, args: &Value) -> Result<Value, Fault> {
    let ms = number(args, "ms", 100);
    let begin = Instant::now();
    let step = Duration::from_millis((ms / 10).clamp(1, 100));
    loop {
        let slept = u64::try_from(begin.elapsed().as_millis()).unwrap_or(ms).min(ms);
        ctx.progress(slept, Some(ms), "ms", "sleeping");
        if slept == ms {
            return Ok(json!({ "slept_ms": ms }));
        }
        if !ctx.pause(step.min(Duration::from_millis(ms - slept))) {
            return Err(Fault::new(FaultKind::Cancelled, "the sleep was cut short"));
        }
    }
}

/// Says of alerts what is asked for: `raise` and `clear`, one after the other, `n` times, or `sync`.
/// Answers what the daemon said last.
fn ring(ctx: &Context, args: &Value) -> Result<Value, Fault> {
    let wrong = |error: serde_json::Error| Fault::bad_request(error.to_string());
    let mut told = Value::Null;
    for _ in 0..number(args, "n", 1) {
        if let Some(raise) = args.get("raise") {
            let raise: sdk::Raise = serde_json::from_value(raise.clone()).map_err(wrong)?;
            told = serde_json::to_value(ctx.raise(&raise)?).map_err(wrong)?;
        }
        if let Some(clear) = args.get("clear") {
            let clear: sdk::Clear = serde_json::from_value(clear.clone()).map_err(wrong)?;
            told = serde_json::to_value(ctx.clear(&clear)?).map_err(wrong)?;
        }
    }
    if let Some(all) = args.get("sync") {
        let all: Vec<sdk::Raise> = serde_json::from_value(all.clone()).map_err(wrong)?;
        ctx.sync_alerts(&all)?;
    }
    Ok(told)
}

/// Publishes `draft` `n` times with at most `batch` unanswered; a batch of 0 asks for no answers.
/// Each event's `data` (an object or absent) gets `i`, its number from 0, so that a test sees order
/// and loss. Or publishes each of `drafts` once, as it is.
fn publish(ctx: &Context, args: &Value) -> Result<Value, Fault> {
    if let Some(drafts) = args["drafts"].as_array() {
        return publish_each(ctx, drafts);
    }
    let draft: Draft = serde_json::from_value(args["draft"].clone())
        .map_err(|error| Fault::bad_request(format!("`draft`: {error}")))?;
    let (n, batch) = (number(args, "n", 1), number(args, "batch", 1));
    if batch == 0 {
        for i in 0..n {
            ctx.publish_unacknowledged(&numbered(&draft, i))?;
        }
        return Ok(json!({ "published": n }));
    }
    let width = usize::try_from(batch.min(64)).unwrap_or(1);
    // As many places as threads: each thread hands over one number at a time.
    let (give, take) = sync_channel::<u64>(width);
    let take = std::sync::Mutex::new(take);
    let told = std::sync::Mutex::new(Vec::<Published>::new());
    let outcome = std::thread::scope(|scope| {
        let work = || publish_taken(ctx, &draft, &take, &told);
        let threads: Vec<_> = (0..width).map(|_| scope.spawn(work)).collect();
        for i in 0..n {
            if give.send(i).is_err() {
                break;
            }
        }
        drop(give);
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    });
    outcome?;
    let told = told.into_inner().unwrap_or_default();
    let seqs = || told.iter().filter_map(|published| published.seq);
    Ok(json!({ "published": told.len(), "first": seqs().min(), "last": seqs().max() }))
}

/// Publishes these, one after the other, without asking for answers.
fn publish_each(ctx: &Context, drafts: &[Value]) -> Result<Value, Fault> {
    for draft in drafts {
        let draft: Draft = serde_json::from_value(draft.clone())
            .map_err(|error| Fault::bad_request(format!("`drafts`: {error}")))?;
        ctx.publish_unacknowledged(&draft)?;
    }
    Ok(json!({ "published": drafts.len() }))
}

fn publish_taken(
    ctx: &Context,
    draft: &Draft,
    take: &std::sync::Mutex<Receiver<u64>>,
    told: &std::sync::Mutex<Vec<Published>>,
) -> Result<(), Fault> {
    let next = || take.lock().ok().and_then(|take| take.recv().ok());
    let mut fault = Ok(());
    while let Some(i) = next() {
        // After a refusal the rest is taken and thrown away, so that the giver is not left waiting.
        if fault.is_ok() {
            match ctx.publish(&numbered(draft, i)) {
                Ok(published) => told.lock().map_or((), |mut told| told.push(published)),
                Err(refusal) => fault = Err(refusal),
            }
        }
    }
    fault
}

fn numbered(draft: &Draft, i: u64) -> Draft {
    let mut data: Value = draft.data.read().unwrap_or_default();
    if data.is_null() || data.is_object() {
        data["i"] = i.into();
    }
    Draft { data: Json::from(data), ..draft.clone() }
}

fn about(ctx: &Context) -> Value {
    let mut about = portrait();
    about["actor"] = ctx.actor().into();
    about["role"] = ctx.role().as_str().into();
    about["state_dir"] = json!(ctx.state_dir());
    about["config"] = ctx.config().clone();
    about["credit"] = ctx.credit().into();
    about["deadline_ms"] =
        json!(ctx.deadline().map(|end| end.saturating_duration_since(Instant::now()).as_millis()));
    about
}

fn number(args: &Value, name: &str, otherwise: u64) -> u64 {
    args[name].as_u64().unwrap_or(otherwise)
}

/// What `println!` in a plugin's code would do; a closed stream is nothing to this test.
fn print(line: &str) {
    let mut output = std::io::stdout();
    drop(writeln!(output, "{line}").and_then(|()| output.flush()));
}

fn eprintln(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
