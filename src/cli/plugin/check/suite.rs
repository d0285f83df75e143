//! The checks themselves, each on a fresh process.

use protocol::link::{Frame, fault_of, method};
use protocol::manifest::Method;
use serde_json::{Value, json};

use super::super::Problem;
use super::super::target::{StateDir, Target};
use super::Verdict;
use super::session::{Seen, Session, is_unknown_method};

/// Calls that are made at once, if the manifest allows so many.
const AT_ONCE: usize = 16;
/// Milliseconds of silence after which nothing more is expected.
const SILENCE_MS: u64 = 300;
/// Milliseconds that a plugin without work must survive.
const STEADY_MS: u64 = 1000;

struct Test {
    name: &'static str,
    expected: &'static str,
    advice: &'static str,
    run: fn(&mut Bench<'_>) -> Result<(), String>,
}

/// What the checks work with.
struct Bench<'a> {
    target: &'a Target,
    state: StateDir,
    seen: Seen,
}

impl Bench<'_> {
    fn ready(&mut self) -> Result<Session<'_>, String> {
        Session::ready(self.target, &self.state, &mut self.seen)
    }

    fn start(&mut self) -> Result<Session<'_>, String> {
        Session::start(self.target, &self.state, &mut self.seen)
    }
}

const HANDSHAKE: Test = Test {
    name: "handshake",
    expected: "answers initialize within limits.start_ms with a version offered and its own id",
    advice: "answer the first line you read with {\"version\":1,\"plugin\":{\"id\":…}} at once, \
             before any slow work, and flush standard output",
    run: |bench| bench.ready().map(drop),
};

const TESTS: [Test; 12] = [
    Test {
        name: "steady",
        expected: "is still there and well a second after the handshake",
        advice: "its standard error says why it ended; run it with `sysadmctl plugin run`",
        run: steady,
    },
    Test {
        name: "health",
        expected: "answers health within health.timeout_ms",
        advice: "answer the request `health` with any result, also while calls run",
        run: |bench| bench.ready()?.health(),
    },
    Test {
        name: "unknown-members",
        expected: "goes on after members, notifications and answers that it does not know",
        advice: "ignore what you do not know: members, messages without `id`, answers to nothing",
        run: unknown_members,
    },
    Test {
        name: "unknown-request",
        expected: "answers a request that it does not know with error -32601",
        advice: "give your `match` on the method a last arm for every other request",
        run: unknown_request,
    },
    Test {
        name: "unknown-call",
        expected: "answers a call of a method that it does not have with an error",
        advice: "answer with code -32000 and data {\"kind\":\"not-found\",\"message\":…}",
        run: unknown_call,
    },
    Test {
        name: "examples",
        expected: "every example in the manifest answers as promised, in time",
        advice: "correct the plugin, or the example in manifest.json",
        run: examples,
    },
    Test {
        name: "many-calls",
        expected: "answers calls made at once all and once each, in any order",
        advice: "answer every request that has an `id`; limits.calls says how many may come at once",
        run: many_calls,
    },
    Test {
        name: "cancel",
        expected: "answers a cancelled call all the same and lives on",
        advice: "treat `cancel` as a wish: end the call early if you can, then answer it",
        run: cancel,
    },
    Test {
        name: "credit",
        expected: "publishes no more events than it has credit for, and goes on when it gets more",
        advice: "count `credit` from initialize down by one for each event/publish and up by n for \
                 each event/credit; wait at zero",
        run: credit,
    },
    Test {
        name: "shutdown",
        expected: "answers shutdown and exits with 0 within limits.stop_ms",
        advice: "finish what runs, answer the request, then exit with 0",
        run: shutdown,
    },
    Test {
        name: "end-of-input",
        expected: "exits within limits.stop_ms when its standard input ends",
        advice: "exit when reading a line finds the end: it means that the daemon is gone",
        run: end_of_input,
    },
    Test {
        name: "no-orphan",
        expected: "leaves no process behind",
        advice: "end and wait for the programs you start, and do not let them have standard output",
        run: no_orphan,
    },
];

const LAST: [Test; 4] = [
    Test {
        name: "pure-output",
        expected: "writes nothing but JSON-RPC lines to standard output",
        advice: "print to standard error: it goes to the daemon's log",
        run: |bench| none(&bench.seen.garbage),
    },
    Test {
        name: "declared-events",
        expected: "publishes only classes of its manifest, within their bounds",
        advice: "add the class to `events` in manifest.json, or correct the event",
        run: |bench| {
            let undeclared: Vec<String> = bench.seen.undeclared.iter().cloned().collect();
            none(&undeclared)?;
            none(&bench.seen.bad_events)
        },
    },
    Test {
        name: "one-answer",
        expected: "answers each request once and nothing else",
        advice: "copy the request's `id` into exactly one answer",
        run: |bench| none(&bench.seen.strange_answers),
    },
    Test {
        name: "never-overdrawn",
        expected: "never published without credit",
        advice: "see `credit`",
        run: |bench| {
            let overdrawn = || "it published more than it had credit for".to_owned();
            if bench.seen.overdrawn { Err(overdrawn()) } else { Ok(()) }
        },
    },
];

/// Runs all checks; also returns the end of what the plugin wrote to standard error.
pub(super) fn run(target: &Target) -> Result<(Vec<Verdict>, String), Problem> {
    let mut bench = Bench { target, state: StateDir::make()?, seen: Seen::default() };
    let mut verdicts = vec![HANDSHAKE.verdict(&mut bench)];
    // Without a handshake everything else would fail for the same reason.
    if verdicts[0].found.is_none() {
        verdicts.extend(TESTS.iter().map(|test| test.verdict(&mut bench)));
    }
    verdicts.extend(LAST.iter().map(|test| test.verdict(&mut bench)));
    Ok((verdicts, bench.seen.last_words))
}

impl Test {
    fn verdict(&self, bench: &mut Bench<'_>) -> Verdict {
        let found = (self.run)(bench).err();
        Verdict { name: self.name, expected: self.expected, found, advice: self.advice }
    }
}

fn none(found: &[String]) -> Result<(), String> {
    if found.is_empty() { Ok(()) } else { Err(found.join("; ")) }
}

fn steady(bench: &mut Bench<'_>) -> Result<(), String> {
    let mut session = bench.ready()?;
    session.listen(STEADY_MS);
    session.health()
}

fn unknown_members(bench: &mut Bench<'_>) -> Result<(), String> {
    let mut session = bench.start()?;
    session.greet(&json!({ "from_the_future": { "n": [1] }, "features": ["x-unknown"] }))?;
    session.notify("x-unknown/notification", &json!({ "a": 1 }));
    session.say_line(r#"{"jsonrpc":"2.0","id":"x-unknown","result":{"to":"nobody"}}"#);
    session.say_line(r#"{"jsonrpc":"2.0","method":"event/credit","params":{"n":1,"x":2},"x":3}"#);
    session.health()
}

fn unknown_request(bench: &mut Bench<'_>) -> Result<(), String> {
    let within = bench.target.manifest.health.timeout_ms;
    let mut session = bench.ready()?;
    let number = session.ask("x-unknown/request", &json!({}));
    let answer = session.answer(number, within)?;
    if is_unknown_method(&answer) { Ok(()) } else { Err(short(&answer)) }
}

fn unknown_call(bench: &mut Bench<'_>) -> Result<(), String> {
    let (called, within) = (unknown_name(bench.target), bench.target.manifest.limits.call_ms);
    let mut session = bench.ready()?;
    let number = session.call(&called, &Value::Null);
    let answer = session.answer(number, within)?;
    if answer.error.is_some() { Ok(()) } else { Err(short(&answer)) }
}

fn examples(bench: &mut Bench<'_>) -> Result<(), String> {
    let target = bench.target;
    let mut session = bench.ready()?;
    for Method { method: called, examples, .. } in &target.manifest.methods {
        for example in examples {
            let wrong = |found: String| format!("{called} {}: {found}", example.args);
            let number = session.call(called, &example.args);
            let answer = session.answer(number, target.call_ms(called)).map_err(wrong)?;
            if let Some(error) = &answer.error {
                return Err(wrong(format!("fault: {}", fault_of(error))));
            }
            let result: Value = answer.result.unwrap_or_default().read().unwrap_or_default();
            if example.result.as_ref().is_some_and(|promised| *promised != result) {
                return Err(wrong(format!("answered {result}")));
            }
        }
    }
    Ok(())
}

fn many_calls(bench: &mut Bench<'_>) -> Result<(), String> {
    let (called, args) = harmless(bench.target);
    let count = bench.target.manifest.limits.calls.min(AT_ONCE);
    let within = bench.target.call_ms(&called);
    let mut session = bench.ready()?;
    let numbers: Vec<u64> = (0..count).map(|_| session.call(&called, &args)).collect();
    for number in numbers {
        session.answer(number, within).map_err(|found| format!("one of {count}: {found}"))?;
    }
    session.listen(SILENCE_MS / 3);
    Ok(())
}

fn cancel(bench: &mut Bench<'_>) -> Result<(), String> {
    let (called, args) = harmless(bench.target);
    let within = bench.target.call_ms(&called);
    let mut session = bench.ready()?;
    session.notify(method::CANCEL, &json!({ "request_id": "check-nobody" }));
    let number = session.call(&called, &args);
    session.notify(method::CANCEL, &json!({ "request_id": format!("check-{number}") }));
    session.answer(number, within)?;
    session.health()
}

fn credit(bench: &mut Bench<'_>) -> Result<(), String> {
    let (called, args) = harmless(bench.target);
    let within = bench.target.call_ms(&called);
    let count = bench.target.manifest.limits.calls.min(3);
    let mut session = bench.start()?;
    session.keep_short(1);
    session.greet(&json!({}))?;
    let numbers: Vec<u64> = (0..count).map(|_| session.call(&called, &args)).collect();
    // A plugin without events, or one that refuses without credit, needs no more than this.
    session.listen(SILENCE_MS);
    if !numbers.iter().all(|number| session.is_answered(*number)) {
        session.give(8);
    }
    for number in numbers {
        session.answer(number, within).map_err(|found| format!("after credit came: {found}"))?;
    }
    Ok(())
}

fn shutdown(bench: &mut Bench<'_>) -> Result<(), String> {
    let within = bench.target.manifest.limits.stop_ms;
    let mut session = bench.ready()?;
    let params = json!({ "reason": "check", "grace_ms": within });
    let number = session.ask(method::SHUTDOWN, &params);
    session.answer(number, within)?;
    session.close_input();
    match session.exit(within) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("it ended with {status}")),
        None => Err(format!("it still ran after {within} ms")),
    }
}

fn end_of_input(bench: &mut Bench<'_>) -> Result<(), String> {
    let within = bench.target.manifest.limits.stop_ms;
    let mut session = bench.ready()?;
    session.close_input();
    session.exit(within).map(drop).ok_or_else(|| format!("it still ran after {within} ms"))
}

fn no_orphan(bench: &mut Bench<'_>) -> Result<(), String> {
    let within = bench.target.manifest.limits.stop_ms;
    let (called, args) = harmless(bench.target);
    let call_ms = bench.target.call_ms(&called);
    let mut session = bench.ready()?;
    let number = session.call(&called, &args);
    session.answer(number, call_ms)?;
    session.close_input();
    if session.exit(within).is_none() {
        return Err("it does not end".to_owned());
    }
    session.remains(1000).map_or(Ok(()), Err)
}

/// A call that may be made often: the first example of a query, else of any method, else one that
/// the plugin does not know.
fn harmless(target: &Target) -> (String, Value) {
    let mut methods: Vec<&Method> = target.manifest.methods.iter().collect();
    methods.sort_by_key(|method| method.kind != protocol::manifest::Kind::Query);
    methods
        .iter()
        .find_map(|method| {
            let example = method.examples.first()?;
            Some((method.method.clone(), example.args.clone()))
        })
        .unwrap_or_else(|| (unknown_name(target), Value::Null))
}

fn unknown_name(target: &Target) -> String {
    let first = target.manifest.methods.first().and_then(|method| method.method.split_once('/'));
    let namespace = first.map_or(target.manifest.id.as_str(), |(namespace, _)| namespace);
    format!("{namespace}/x-unknown-method")
}

fn short(answer: &Frame) -> String {
    format!("it answered {}", answer.line().chars().take(120).collect::<String>())
}
