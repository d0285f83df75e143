//! What clients send, before and after their login.

use std::io::{self, Cursor, Read, Write};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use protocol::{Json, Time};
use secrecy::ExposeSecret as _;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use sysadmd::access::Proof;
use sysadmd::access::challenge::{Challenge, PublicKey};
use sysadmd::config::Limits;
use sysadmd::fuzzing::{
    self, Pages, args_of, header_proof, introduced, log_query, logs_asked, method_of, split,
    time_by_pattern, trail_query, websocket_config,
};
use sysadmd::sight::Sight;
use sysadmd::store::PAGE_MAX;
use sysadmd::wire::sysadm::{self, Wanted};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket};

use crate::{line_and_rest, utf8};

/// A request: its envelope, its arguments, and the answer that repeats its parts.
pub fn envelope(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let said = match sysadm::decode(text) {
        Ok(said) => said,
        Err(garbled) => {
            let message = message_of(&sysadm::refusal(&garbled.id, &garbled.fault));
            assert_eq!(message["id"], garbled.id);
            assert_eq!(message["args"]["code"], "400");
            return;
        }
    };
    assert!(serde_json::from_str::<IgnoredAny>(said.args).is_ok());
    if let Ok(Value::Object(members)) = serde_json::from_str(text) {
        assert_eq!(members["namespace"].as_str(), Some(&*said.namespace));
        assert_eq!(members["name"].as_str(), Some(&*said.name));
        let id = members.get("id").and_then(Value::as_str).unwrap_or_default();
        assert_eq!(id, said.id);
    }
    let Ok(args) = said.read_args() else { return };
    let message = message_of(&sysadm::answer(&said, &Json::from(args.clone())));
    assert_eq!(message["namespace"], *said.namespace);
    assert_eq!(message["id"], *said.id);
    // A number with more digits than a float has reads as another one each time.
    if !text.contains(['.', 'e', 'E']) {
        assert_eq!(message["args"], args);
    }
}

/// The JSON of the one frame there is.
fn message_of(frame: &[u8]) -> Value {
    let mut cursor = Cursor::new(frame);
    let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
    assert!(header.is_final && header.mask.is_none());
    let payload = &frame[usize::try_from(cursor.position()).unwrap()..];
    assert_eq!(payload.len() as u64, length);
    serde_json::from_slice(payload).unwrap()
}

/// The arguments of `events/list`.
pub fn list(data: &[u8]) {
    let Ok(args) = serde_json::from_slice::<Value>(data) else { return };
    match log_query(&args, Sight::everything()) {
        Ok(query) => {
            assert!((1..=PAGE_MAX).contains(&query.limit));
            assert!(query.interest.filter.check().is_ok());
        }
        Err(fault) => assert_eq!(fault.kind.status(), 400),
    }
}

/// The arguments of `rpc/logs`, and what a pattern reads back from a time that it wrote.
pub fn logs(data: &[u8]) {
    const NOW: u64 = 1_795_694_400_000_000;
    let Ok(args) = serde_json::from_slice::<Value>(data) else { return };
    let asked = match logs_asked(&args, Time::from_micros(NOW)) {
        Ok(asked) => asked,
        Err(fault) => return assert_eq!(fault.kind.status(), 400),
    };
    if args["start_time"].is_null() {
        assert!(asked.since <= asked.until.unwrap_or(Time::from_micros(NOW)));
    }
    let (Some(pattern), Some(text)) = (args["time_format"].as_str(), args["start_time"].as_str())
    else {
        return;
    };
    if let Ok(time) = time_by_pattern(pattern, text) {
        let whole = "yyyy-MM-dd'T'hh:mm:ss.zzz'000Z'";
        assert_eq!(time_by_pattern(whole, &time.to_string()), Ok(time));
    }
}

/// The arguments of `rpc/audit`.
pub fn trail(data: &[u8]) {
    let Ok(args) = serde_json::from_slice::<Value>(data) else { return };
    match trail_query(&args) {
        Ok(query) => assert!((1..=1000).contains(&query.limit)),
        Err(fault) => assert_eq!(fault.kind.status(), 400),
    }
}

/// The arguments of `events/subscribe`.
pub fn subscribe(data: &[u8]) {
    let Ok(args) = serde_json::from_slice::<Value>(data) else { return };
    match sysadm::subscription(&args) {
        Err(fault) => assert_eq!(fault.kind.status(), 400),
        Ok(Wanted::Classic(classes)) => {
            let mut names: Vec<&str> = classes.iter().map(|class| class.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), classes.len(), "a class is there twice");
        }
        Ok(Wanted::OptedIn(sub, wanted)) => {
            assert!((1..=64).contains(&sub.chars().count()));
            assert!((1..=300).contains(&wanted.heartbeat_s));
        }
    }
}

/// What proves a login: a line with the method's name, then the arguments.
pub fn login(data: &[u8]) {
    let (name, args) = line_and_rest(data);
    let (Some(name), Ok(args)) = (utf8(name), serde_json::from_slice::<Value>(args)) else {
        return;
    };
    match fuzzing::login(name, &args) {
        Ok(shown) => assert!(!format!("{shown:?}").contains("canary")),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// A line with a method, perhaps in a version, then the arguments of `rpc/hello`.
pub fn greeting(data: &[u8]) {
    let (line, rest) = line_and_rest(data);
    let Some(method) = utf8(line) else { return };
    let (plain, version) = split(method);
    match version {
        None => assert_eq!(plain, method),
        Some(version) => {
            let (namespace, name) = plain.split_once('/').unwrap();
            assert_eq!(format!("{namespace}@{version}/{name}"), method);
        }
    }
    let Ok(args) = serde_json::from_slice::<Value>(rest) else { return };
    let Ok((client, _)) = introduced(&args) else { return };
    for text in [&client.name, &client.version] {
        assert!(text.chars().count() <= 64 && !text.contains(char::is_control));
    }
    assert!(client.versions.len() <= 64 && client.versions.keys().all(|name| name.len() <= 64));
    assert!(client.versions.values().all(|version| (1..=9_999).contains(version)));
}

/// An `Authorization` header.
pub fn header(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Some(Proof::Secret(secret)) = header_proof(text) {
        assert!(secret.expose_secret().len() <= text.len());
    }
    let basic = format!("bAsIc {}", STANDARD.encode(format!("user:{text}")));
    let Some(Proof::Password { user, password }) = header_proof(&basic) else {
        panic!("no password in {basic}")
    };
    assert_eq!((user.as_str(), password.expose_secret()), ("user", text));
}

/// A line with the `Origin` header, then the `Host` header.
pub fn origin(data: &[u8]) {
    let (origin, host) = line_and_rest(data);
    let mut headers = HeaderMap::new();
    for (name, value) in [(ORIGIN, origin), (HOST, host)] {
        match HeaderValue::from_bytes(value) {
            Ok(value) => headers.insert(name, value),
            Err(_) => return,
        };
    }
    let pages = Pages::new(&["https://listed.example".to_owned()], ["nas".to_owned()]);
    let may = pages.check(&headers).is_ok();
    let (Some(origin), Some(host)) = (utf8(origin), utf8(host)) else { return };
    let (origin, host) = (origin.to_lowercase(), host.to_lowercase());
    if matches!(&*origin, "null" | "?") || !origin.is_ascii() {
        assert!(!may, "it is nobody's own");
    } else if !origin.contains("://") || origin == "https://listed.example" {
        assert!(may);
    } else if may {
        // Whoever may is at home: the page's host is the one it speaks to, but for a usual port.
        let bare = |text: &str| {
            let text = text.split_once("://").map_or(text, |(_, host)| host);
            text.trim_end_matches(":443").trim_end_matches(":80").to_owned()
        };
        assert_eq!(bare(&origin), bare(&host));
        // And by a name that nobody else can give this machine.
        let port =
            host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let name = port.map_or(&*host, |(name, _)| name);
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        assert!(address || matches!(name, "localhost" | "nas"), "{host} is no name of ours");
    }
}

/// A command as classic clients write it.
pub fn command_words(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let Ok(words) = fuzzing::command_words(text) else { return };
    assert!(words.iter().all(|word| !word.contains(char::is_control)));
    let quoted = |word: &String| format!("\"{}\"", word.replace('"', "\"\"\""));
    let again: Vec<String> = words.iter().map(quoted).collect();
    // Three quotes in a row are one that is meant: so an empty word can be written in one way only.
    if words.iter().all(|word| !word.is_empty() && !word.starts_with('"') && !word.ends_with('"')) {
        assert_eq!(fuzzing::command_words(&again.join(" ")), Ok(words));
    }
}

/// What a receiver of deliveries answers: a line with its status, then headers.
pub fn sink_answer(data: &[u8]) {
    let (status, rest) = line_and_rest(data);
    let status = utf8(status).and_then(|text| text.parse::<StatusCode>().ok());
    let Some(status) = status else { return };
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let verdict = fuzzing::judge_sink(status, &headers, Time::from_micros(1_000_000_000_000_000));
    assert_eq!(verdict == fuzzing::SinkVerdict::Taken, status.is_success());
    if let fuzzing::SinkVerdict::Later(why, asked) = verdict {
        assert!(!why.is_empty() && asked.is_none_or(|asked| asked.as_secs() <= 3_600), "{asked:?}");
    }
    let consent = fuzzing::sink_consent(status, &headers, "nas.example");
    if let Ok(rate) = consent {
        assert!(status.is_success() && rate.is_none_or(|rate| rate.as_secs() <= 60));
    }
}

/// A line with a path, then a body.
pub fn rest(data: &[u8]) {
    let (path, body) = line_and_rest(data);
    if let Some(Ok((namespace, name))) = utf8(path).map(method_of) {
        assert!(!namespace.is_empty() && !namespace.contains('/'));
        assert!(!name.is_empty() && !name.contains('/'));
    }
    if let Ok(args) = args_of(body) {
        let again = json!({ "args": args }).to_string();
        let read = args_of(again.as_bytes());
        // One level deeper it may be too deep.
        if !again.contains(['.', 'e', 'E'])
            && let Ok(read) = read
        {
            assert_eq!(read, args);
        }
    }
}

/// A public key as `register_ssl_cert` sends it, and an answer to a challenge.
pub fn challenge_key(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let challenge = Challenge::new(Time::from_micros(1)).unwrap();
    let encoded = STANDARD.encode(text);
    for text in [text, &encoded] {
        if let Ok(key) = PublicKey::parse(text) {
            assert_eq!(PublicKey::parse(&key.encoded()).unwrap(), key);
            assert!(key.pem().ends_with("-----END PUBLIC KEY-----\n"));
        }
    }
    assert_eq!(challenge.answered_by(text, [].iter(), Time::from_micros(1)), None);
}

/// Frames as the daemon reads them.
pub fn websocket(data: &[u8]) {
    const MOST: usize = 1024;
    let limits = Limits { message_bytes: MOST, ..Limits::default() };
    let stream = Stream { read: Cursor::new(data), written: 0 };
    let config = websocket_config(&limits);
    let mut websocket = WebSocket::from_raw_socket(stream, Role::Server, Some(config));
    let mut messages = 0;
    while let Ok(message) = websocket.read() {
        messages += 1;
        match message {
            Message::Ping(payload) | Message::Pong(payload) => assert!(payload.len() <= 125),
            message => assert!(message.len() <= MOST),
        }
    }
    // The shortest masked frame has six bytes.
    assert!(messages * 6 <= data.len());
    // Besides pongs there is one close, perhaps with a reason of its own.
    let written = websocket.get_ref().written;
    assert!(written <= data.len() + 32, "{written} bytes are answered");
}

struct Stream<'a> {
    read: Cursor<&'a [u8]>,
    written: usize,
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read.read(buf)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.written += buf.len();
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
