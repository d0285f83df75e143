//! Jobs: what clients want to be done, what is kept of it, and what it says.

use protocol::Json;
use serde_json::{Value, json};
use sysadmd::fuzzing::{self, commands_of};

use crate::{line_and_rest, utf8};

/// Arguments of `rpc/jobs run`, and every member as a job of `rpc/dispatcher run`.
pub fn job_asked(data: &[u8]) {
    let Ok(args) = serde_json::from_slice::<Value>(data) else { return };
    match fuzzing::job_asked(&args) {
        Err(fault) => assert_eq!(fault.kind.status(), 400),
        Ok(asked) => {
            assert!((1..=604_800).contains(&asked.timeout_s) && asked.locks <= 8);
            for name in &asked.names {
                assert!((1..=128).contains(&name.chars().count()) && !name.contains('\0'));
            }
            check(asked.commands.as_deref().unwrap_or_default());
        }
    }
    for (name, value) in args.as_object().into_iter().flatten() {
        match commands_of(name, value) {
            Err(fault) => assert_eq!(fault.kind.status(), 400),
            Ok(commands) => {
                let commands = commands.unwrap_or_default();
                check(&commands.into_iter().map(|command| command.argv).collect::<Vec<_>>());
            }
        }
    }
}

/// What the kernel is given is a program and what it takes.
fn check(commands: &[Vec<String>]) {
    assert!(commands.len() <= 64);
    for argv in commands {
        assert!(!argv[0].is_empty() && argv.len() <= 256);
        assert!(argv.iter().all(|word| !word.contains('\0')));
        assert!(argv.iter().map(String::len).sum::<usize>() <= 64 * 1024);
    }
}

/// A row: a line with what is shown of a job, then what it is to do.
pub fn job_kept(data: &[u8]) {
    let (job, work) = line_and_rest(data);
    let read = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    let (Some(job), Some(work)) = (read(job), read(work)) else { return };
    let secret = work["secret"] == true;
    let exact = !has_fraction(&job) && !has_fraction(&work);
    let Some((job, work)) = fuzzing::job_kept(Json::from(job), Json::from(work)) else { return };
    if secret {
        let kept = work.read::<Value>().unwrap();
        let args = &kept["task"]["call"]["args"];
        assert!(args.is_null(), "{args} is a secret and must not be kept");
    }
    if exact {
        let texts = |job: &Json, work: &Json| [job.text().to_owned(), work.text().to_owned()];
        let written = texts(&job, &work);
        let (job, work) = fuzzing::job_kept(job, work).unwrap();
        assert_eq!(texts(&job, &work), written);
    }
}

/// Whether it holds a number with more digits than a float has, which reads as another one each time.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(all) => all.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        _ => false,
    }
}

/// How much is kept of the beginning and of the end, how much is read at a time, and behind them
/// what is said: a byte with a length, then as much.
pub fn job_log(data: &[u8]) {
    let Some((&[first, last, most, ..], mut rest)) = data.split_first_chunk::<3>() else { return };
    let (first, last, most) = (usize::from(first), usize::from(last), usize::from(most).max(1));
    let mut pieces = Vec::new();
    while let Some((&length, behind)) = rest.split_first() {
        let (piece, left) = behind.split_at(behind.len().min(usize::from(length)));
        pieces.push(piece);
        rest = left;
    }
    let said = pieces.concat();
    let (read, excerpt) = fuzzing::job_log((first, last), &pieces, most);
    let mut place = 0;
    for (from, bytes) in &read {
        let from = usize::try_from(*from).unwrap();
        assert!(from >= place && bytes.len() <= most);
        assert_eq!(&said[from..from + bytes.len()], bytes);
        assert!(from == place || said.len() > first + last, "something is left out for no reason");
        place = from + bytes.len();
    }
    assert_eq!(place, said.len(), "it is read to its end");
    if utf8(&said).is_some_and(|text| text.len() <= most && said.len() <= first + last) {
        assert_eq!(excerpt.as_bytes(), said);
    }
    assert!(excerpt.len() <= most + json!(said.len()).to_string().len() + 32, "{excerpt:?}");
}
