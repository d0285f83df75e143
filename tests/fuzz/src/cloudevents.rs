//! `CloudEvents`, as clients bring them and ask for them.

use protocol::{Class, Cursor};
use sysadmd::wire::cloudevents::{
    Attribute, CloudEvent, Question, binary, event_of, fire_args, parse, parse_batch, read_binary,
};

use crate::{line_and_rest, utf8};

/// An event or a batch of them in JSON.
pub fn cloudevent(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Ok(events) = parse_batch(text) {
        let texts: Vec<String> = events.iter().map(CloudEvent::text).collect();
        assert_eq!(parse_batch(&format!("[{}]", texts.join(","))).unwrap(), events);
    }
    let Ok(event) = parse(text) else { return };
    assert!(!event.id.is_empty() && !event.source.is_empty() && !event.kind.is_empty());
    assert_eq!(parse(&event.text()).unwrap(), event);
    if let Ok(args) = fire_args(&event) {
        let class = Class::parse(args["class"].as_str().unwrap()).unwrap();
        assert_eq!(class.family(), "user", "clients fire nothing else");
        assert!(args["priority"].as_u64().is_none_or(|priority| priority <= 10));
    }
    if let Ok((record, cursor, host)) = event_of(&event) {
        let mut out = Vec::new();
        sysadmd::wire::cloudevents::write(&record, &cursor, &host, &mut out);
        let again = event_of(&parse(utf8(&out).unwrap()).unwrap()).unwrap();
        assert_eq!(again, (record, cursor, host));
    }
}

/// A message in binary mode: headers as `name: value` lines up to an empty one, then the body.
pub fn cloudevent_binary(data: &[u8]) {
    let (mut headers, mut kind, mut rest) = (Vec::new(), None, data);
    loop {
        let (line, behind) = line_and_rest(rest);
        rest = behind;
        let colon = line.windows(2).position(|pair| pair == b": ");
        let Some(colon) = colon else { break };
        let (Some(name), value) = (utf8(&line[..colon]), &line[colon + 2..]) else { return };
        if name == "content-type" {
            kind = utf8(value);
        } else {
            headers.push((name, value));
        }
    }
    let Ok(event) = read_binary(headers, kind, rest) else { return };
    let texts = |value: &Attribute| matches!(value, Attribute::Text(_));
    assert!(event.extensions.values().all(texts), "headers know no types");
    let sent = binary(&event);
    let headers = sent.headers.iter().map(|(name, value)| {
        assert!(value.bytes().all(|byte| (0x21..=0x7E).contains(&byte)));
        (name.strip_prefix("ce-").unwrap(), value.as_bytes())
    });
    let again = read_binary(headers, sent.content_type.as_deref(), &sent.body).unwrap();
    assert_eq!((again.id, again.extensions), (event.id, event.extensions));
}

/// What is asked for in a query.
pub fn cloudevents_query(data: &[u8]) {
    let Some(Ok(question)) = utf8(data).map(Question::parse) else { return };
    if let Ok(stream) = question.clone().stream() {
        assert!((1..=300).contains(&stream.heartbeat.as_secs()));
        assert!(stream.filter.check().is_ok());
    }
    let Ok(batch) = question.batch() else { return };
    assert!((1..=1000).contains(&batch.limit) && batch.wait.as_secs() <= 300);
    let cursor = Cursor { instance: uuid::Uuid::nil(), seq: 7, ahead: vec![9] };
    let next = Question::parse(&batch.next(&cursor)).unwrap().batch().unwrap();
    assert_eq!((next.limit, next.wait), (batch.limit, batch.wait));
    assert_eq!(next.filter.min_priority, batch.filter.min_priority);
}
