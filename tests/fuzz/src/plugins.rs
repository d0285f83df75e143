//! What plugins are and say.

use std::path::PathBuf;
use std::sync::OnceLock;

use jsonrpsee_types::Id;
use protocol::alert::{ALERT_TEXT_BYTES_MAX, Raise, Report, SUBJECT_BYTES_MAX, SYNC_MAX};
use protocol::deprecated::{ending_members, has_ending};
use protocol::event::{DATA_BYTES_MAX, TEXT_BYTES_MAX};
use protocol::link::{
    Call, Cancel, Credit, Frame, Initialize, Initialized, Log, Progress, Published, Shutdown,
    fault_of, method,
};
use protocol::manifest::RESERVED_NAMESPACES;
use protocol::{Draft, Json, Manifest};
use sysadmd::description::Form;
use sysadmd::description::compare::refused;
use sysadmd::dispatch::describe_all;
use sysadmd::fuzzing::{self, Facts, judge_hello, judge_permission};

use crate::utf8;

/// One line of the link.
pub fn frame(data: &[u8]) {
    let Some(Ok(frame)) = utf8(data).map(Frame::parse) else { return };
    let line = frame.line();
    assert!(!line.contains(['\n', '\r']));
    let again = Frame::parse(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
    assert_eq!(again.line(), line);
    if let Some(error) = &frame.error {
        let fault = fault_of(error);
        let answer = Frame::parse(&Frame::fault(Id::Number(1), &fault).line()).unwrap();
        let back = fault_of(&answer.error.unwrap());
        assert_eq!(
            (back.kind, &back.message, &back.hint),
            (fault.kind, &fault.message, &fault.hint)
        );
    }
    frame.read_params::<Call>().ok();
    frame.read_params::<Cancel>().ok();
    frame.read_params::<Credit>().ok();
    frame.read_params::<Initialize>().ok();
    frame.read_params::<Initialized>().ok();
    frame.read_params::<Log>().ok();
    frame.read_params::<Progress>().ok();
    frame.read_params::<Published>().ok();
    frame.read_params::<Shutdown>().ok();
    if let Ok(draft) = frame.read_params::<Draft>()
        && draft.check().is_ok()
    {
        assert!(draft.message.len() <= TEXT_BYTES_MAX && draft.subject.len() <= TEXT_BYTES_MAX);
        assert!(draft.data.text().len() <= DATA_BYTES_MAX);
    }
}

/// What a plugin says of alerts: any line, as any of the three.
pub fn alert(data: &[u8]) {
    let Some(Ok(frame)) = utf8(data).map(Frame::parse) else { return };
    for name in [method::ALERT_RAISE, method::ALERT_CLEAR, method::ALERT_SYNC] {
        let Ok(report) = fuzzing::read_report(name, &frame) else { continue };
        assert_eq!(report.check(), Ok(()));
        let raised = match &report {
            Report::Raise(raise) => std::slice::from_ref(raise),
            Report::Sync(sync) => sync.alerts.as_slice(),
            Report::Clear(_) => &[],
        };
        assert!(raised.len() <= SYNC_MAX);
        for raise in raised {
            assert!(raise.subject.len() <= SUBJECT_BYTES_MAX);
            assert!(raise.message.len() <= ALERT_TEXT_BYTES_MAX);
            let again = Json::of(raise).unwrap().read::<Raise>().unwrap();
            assert_eq!(again, *raise);
        }
    }
}

/// A plugin's answer to `initialize`.
pub fn hello(data: &[u8]) {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    let manifest = MANIFEST.get_or_init(|| {
        let text = r#"{"manifest_version":1,"id":"hello","version":"1.0.0","exec":["./hello"]}"#;
        Manifest::parse(text).unwrap()
    });
    let Some(Ok(frame)) = utf8(data).map(Frame::parse) else { return };
    match judge_hello(&frame, manifest) {
        Ok(_) => assert!(frame.error.is_none() && frame.line().contains("hello")),
        Err(sentence) => assert!(!sentence.is_empty()),
    }
}

/// The longest line, the sizes of the pieces it comes in, and what a plugin writes.
pub fn lines(data: &[u8]) {
    let Some((&[most, sizes @ ..], output)) = data.split_first_chunk::<5>() else { return };
    let most = usize::from(most).max(1);
    let mut parts: Vec<&[u8]> = output.split(|byte| *byte == b'\n').collect();
    if parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    let expected: Vec<Result<Vec<u8>, Vec<u8>>> = parts
        .iter()
        .map(|part| {
            part.get(..most)
                .filter(|_| part.len() > most)
                .map_or(Ok(part.to_vec()), |beginning| Err(beginning.to_vec()))
        })
        .collect();
    assert_eq!(fuzzing::lines(output, &sizes.map(usize::from), most), expected);
}

/// A plugin's manifest.
pub fn manifest(data: &[u8]) {
    let Some(Ok(manifest)) = utf8(data).map(Manifest::parse) else { return };
    assert!((2..=32).contains(&manifest.id.len()) && manifest.id.is_ascii());
    assert!(manifest.limits.line_bytes >= 1024);
    for method in &manifest.methods {
        let (namespace, name) = method.method.split_once('/').unwrap();
        assert!(!RESERVED_NAMESPACES.contains(&namespace) && !name.contains('/'));
    }
    described(&manifest);
    let json = serde_json::to_string(&manifest).unwrap();
    let again = Manifest::parse(&json).unwrap_or_else(|error| panic!("{error} in {json}"));
    assert_eq!(again.methods.len(), manifest.methods.len());
    assert_eq!((again.id, again.limits, again.exec), (manifest.id, manifest.limits, manifest.exec));
}

/// Whatever a manifest says can be described, and breaks nobody while it stays as it is.
fn described(manifest: &Manifest) {
    let description = describe_all(std::slice::from_ref(manifest));
    for form in Form::ALL {
        let document = description.document(form);
        assert_eq!(document["info"]["title"], "sysadmd");
    }
    assert_eq!(refused(&description, &description), []);
    for method in &manifest.methods {
        let used = method.examples.iter().flat_map(|it| ending_members(&method.params, &it.args));
        assert!(used.count() == 0 || has_ending(&method.params));
    }
}

/// Owners and modes of a program and the directories above it, four bytes each.
pub fn permission(data: &[u8]) {
    let facts: Vec<Facts> = data
        .chunks_exact(4)
        .map(|part| Facts {
            path: PathBuf::from("/x"),
            owner: u32::from(part[0]) | u32::from(part[1]) << 8,
            mode: u32::from(part[2]) | u32::from(part[3]) << 8,
        })
        .collect();
    let trusted = facts.iter().enumerate().all(|(height, facts)| {
        let shut = facts.mode & 0o022 == 0 || height >= 2 && facts.mode & 0o1000 != 0;
        facts.owner == 0 && shut
    });
    assert_eq!(judge_permission(&facts).is_none(), trusted);
}
