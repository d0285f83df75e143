//! RFC 6455, frame by frame, against a daemon's own port. Every case is what a client sends and all
//! that it gets until the end.
//!
//! `tests/conformance/run` drives the same websocket stack with the Autobahn test suite.

use crate::harness::{Running, Site};
use crate::raw::{BINARY, CLOSE, CONTINUE, PING, PONG, Raw, TEXT};

/// The last frame of a message.
const FIN: u8 = 0x80;
/// No frame's payload may depend on it.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a case is called, what the client sends, and what it hears.
type Case = (String, Vec<u8>, Vec<String>);

#[tokio::test]
async fn fragments_become_one_message_and_control_frames_may_stand_between_them() {
    let (text, fin) = (request("a"), FIN | CONTINUE);
    let (front, back) = text.split_at(20);
    let ping = frame(FIN | PING, b"between");
    let bytewise = |first: u8| {
        let count = text.len() - 1;
        let pieces = text.chunks(1).enumerate().map(|(place, byte)| match place {
            0 => frame(first, byte),
            _ => frame(if place == count { fin } else { CONTINUE }, byte),
        });
        pieces.collect::<Vec<_>>().concat()
    };
    let answer = &["answer a", "close 1000"];
    let ponged = &["pong between", "answer a", "close 1000"];
    check(&[
        case("one frame", &[frame(FIN | TEXT, &text), bye()], answer),
        case("one binary frame", &[frame(FIN | BINARY, &text), bye()], answer),
        case("two", &[frame(TEXT, front), frame(fin, back), bye()], answer),
        case("two, binary", &[frame(BINARY, front), frame(fin, back), bye()], answer),
        case("a frame for each byte", &[bytewise(TEXT), bye()], answer),
        case(
            "empty ends",
            &[frame(TEXT, b""), frame(CONTINUE, &text), frame(fin, b""), bye()],
            answer,
        ),
        case(
            "a ping between",
            &[frame(TEXT, front), ping.clone(), frame(fin, back), bye()],
            ponged,
        ),
        case("a ping in front", &[ping, frame(FIN | TEXT, &text), bye()], ponged),
        case(
            "a pong between",
            &[frame(TEXT, front), frame(FIN | PONG, b"x"), frame(fin, back), bye()],
            answer,
        ),
        case(
            "two messages at once",
            &[frame(FIN | TEXT, &text), frame(FIN | TEXT, &request("b")), bye()],
            &["answer a", "answer b", "close 1000"],
        ),
        case("a close in an unfinished message", &[frame(TEXT, front), bye()], &["close 1000"]),
        case(
            "a continuation of nothing",
            &[frame(CONTINUE, &text), frame(fin, b"")],
            &["close 1002"],
        ),
        case(
            "a continuation of a whole message",
            &[frame(FIN | TEXT, &text), frame(fin, b"")],
            &["answer a", "close 1002"],
        ),
        case(
            "a text within a text",
            &[frame(TEXT, front), frame(FIN | TEXT, back)],
            &["close 1002"],
        ),
        case("a binary within a text", &[frame(TEXT, front), frame(BINARY, back)], &["close 1002"]),
    ])
    .await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_and_pongs_are_not() {
    let full = "x".repeat(125);
    let ping = |payload: &str| frame(FIN | PING, payload.as_bytes());
    let ten: Vec<Vec<u8>> = (0..10).map(|n| ping(&n.to_string())).chain([bye()]).collect();
    let pongs: Vec<String> = (0..10).map(|n| format!("pong {n}")).collect();
    let pongs = pongs.iter().map(String::as_str).chain(["close 1000"]).collect::<Vec<_>>();
    let longest = format!("pong {full}");
    check(&[
        case("no payload", &[ping(""), bye()], &["pong ", "close 1000"]),
        case("the longest", &[ping(&full), bye()], &[&longest, "close 1000"]),
        case("ten", &ten, &pongs),
        case(
            "unasked pongs",
            &[frame(FIN | PONG, b""), frame(FIN | PONG, b"x"), bye()],
            &["close 1000"],
        ),
        case("a pong too long", &[frame(FIN | PONG, &[0; 126])], &["close 1002"]),
        case(
            "a ping in pieces",
            &[frame(PING, b"a"), frame(FIN | CONTINUE, b"b")],
            &["close 1002"],
        ),
        case("a pong in pieces", &[frame(PONG, b"a")], &["close 1002"]),
        case("a close in pieces", &[frame(CLOSE, &1000_u16.to_be_bytes())], &["close 1002"]),
    ])
    .await;
}

#[tokio::test]
async fn what_is_reserved_is_refused_as_a_protocol_error() {
    let refused = &["close 1002"];
    let opcodes = (3..=7).chain(11..=15);
    let mut cases: Vec<Case> = opcodes
        .map(|opcode| case(&format!("opcode {opcode}"), &[frame(FIN | opcode, b"")], refused))
        .collect();
    for bit in [0x40, 0x20, 0x10] {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            let name = format!("reserved bit {bit:#x} with opcode {opcode}");
            cases.push(case(&name, &[frame(FIN | bit | opcode, b"")], refused));
        }
        let text = [frame(TEXT, b"{"), frame(FIN | bit | CONTINUE, b"}")];
        cases.push(case(&format!("reserved bit {bit:#x} later on"), &text, refused));
    }
    for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
        cases.push(case(
            &format!("opcode {opcode}, not masked"),
            &[vec![FIN | opcode, 0]],
            refused,
        ));
    }
    check(&cases).await;
}

#[tokio::test]
async fn text_is_utf_8_and_what_is_not_is_refused_with_the_fragment_it_came_in() {
    let bad: [(&str, &[u8]); 12] = [
        ("a lone continuation byte", b"\x80"),
        ("a byte that never occurs", b"\xff"),
        ("an overlong slash", b"\xc0\xaf"),
        ("an overlong NUL in three bytes", b"\xe0\x80\x80"),
        ("an overlong NUL in four bytes", b"\xf0\x80\x80\x80"),
        ("half a surrogate pair", b"\xed\xa0\x80"),
        ("a whole surrogate pair", b"\xed\xa0\x80\xed\xb0\x80"),
        ("beyond U+10FFFF", b"\xf4\x90\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("a character cut by another", b"\xe2\x82\x41"),
        ("a character cut at the end", b"\xe2\x82"),
        ("text around it", b"ok \xc3\x28 ok"),
    ];
    let mut cases: Vec<Case> = bad
        .iter()
        .map(|(name, bytes)| case(name, &[frame(FIN | TEXT, bytes)], &["close 1007"]))
        .collect();
    // The end of these messages never comes: what came already is enough.
    cases.extend(bad.iter().filter(|(name, _)| !name.ends_with("the end")).map(|(name, bytes)| {
        case(&format!("{name}, not the last fragment"), &[frame(TEXT, bytes)], &["close 1007"])
    }));
    let euro = "\u{20ac}\u{10ffff}".as_bytes();
    let text = request("\u{20ac}\u{10ffff}");
    let at = text.windows(euro.len()).position(|part| part == euro).unwrap_or_default();
    for cut in at + 1..at + euro.len() {
        let (front, back) = text.split_at(cut);
        let frames =
            [frame(TEXT, front), frame(FIN | PING, b""), frame(FIN | CONTINUE, back), bye()];
        let heard = &["pong ", "answer \u{20ac}\u{10ffff}", "close 1000"];
        cases.push(case(&format!("a character cut at {cut}"), &frames, heard));
    }
    let cut = [frame(TEXT, b"\xe2\x82"), frame(FIN | CONTINUE, b"\x28")];
    cases.push(case("a character that goes on wrongly", &cut, &["close 1007"]));
    check(&cases).await;
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_if_that_may_be_sent() {
    let close =
        |code: u16, reason: &[u8]| frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason].concat());
    let legal =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4001, 4999];
    let mut cases: Vec<Case> = legal
        .into_iter()
        .map(|code| {
            case(&format!("code {code}"), &[close(code, b"why")], &[&format!("close {code}")])
        })
        .collect();
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(case(&format!("code {code}"), &[close(code, b"")], &["close 1002"]));
    }
    let (full, long) = ([b'y'; 123], [b'y'; 124]);
    cases.extend([
        case("nothing in it", &[frame(FIN | CLOSE, b"")], &["close"]),
        case("half a code", &[frame(FIN | CLOSE, b"\x03")], &["close 1002"]),
        case("the longest reason", &[close(1000, &full)], &["close 1000"]),
        case("a reason too long", &[close(1000, &long)], &["close 1002"]),
        case("a reason that is no text", &[close(1000, b"\xc3\x28")], &["close 1007"]),
        case("a request behind it", &[bye(), frame(FIN | TEXT, &request("late"))], &["close 1000"]),
        case("a ping behind it", &[bye(), frame(FIN | PING, b"late")], &["close 1000"]),
        case("another one behind it", &[bye(), close(1001, b"")], &["close 1000"]),
    ]);
    check(&cases).await;
}

#[tokio::test]
async fn lengths_are_read_in_all_three_forms() {
    let answer = &["answer a", "close 1000"];
    let mut cases: Vec<Case> = [125, 126, 127, 128, 4096, 65_535, 65_536, 65_537, 1024 * 1024]
        .into_iter()
        .map(|bytes| {
            let mut text = request("a");
            text.resize(bytes, b' ');
            case(&format!("{bytes} bytes"), &[frame(FIN | TEXT, &text), bye()], answer)
        })
        .collect();
    let announced = |length: [u8; 8]| [&[FIN | TEXT, 0xff][..], &length, &MASK].concat();
    cases.extend([
        // Whoever sends must take the shortest form; whoever reads loses nothing by reading on.
        case("a short one in 16 bits", &[long_form(&request("a"), 126), bye()], answer),
        case("a short one in 64 bits", &[long_form(&request("a"), 127), bye()], answer),
        case("4 GiB", &[announced((1_u64 << 32).to_be_bytes())], &["close 1009"]),
        case("the largest", &[announced(i64::MAX.to_be_bytes())], &["close 1009"]),
        case("the highest bit", &[announced(u64::MAX.to_be_bytes())], &["close 1009"]),
    ]);
    check(&cases).await;
}

#[tokio::test]
async fn frames_may_come_byte_by_byte_and_end_anywhere() {
    let running = Site::new().start().await;
    let bytes = [frame(FIN | TEXT, &request("a")), bye()].concat();
    let mut raw = Raw::unix(&running.socket).await;
    for byte in &bytes {
        raw.push(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(heard(&mut raw).await, ["answer a", "close 1000"]);
    for end in 0..bytes.len() - bye().len() {
        let mut raw = Raw::unix(&running.socket).await;
        raw.push(&bytes[..end]).await;
    }
    let mut raw = Raw::unix(&running.socket).await;
    raw.push(&bytes).await;
    assert_eq!(heard(&mut raw).await, ["answer a", "close 1000"], "after all the others");
    running.stop().await;
}

/// Sends each case on a connection of its own.
async fn check(cases: &[Case]) {
    let running: Running = Site::new().start().await;
    for (name, bytes, expected) in cases {
        let mut raw = Raw::unix(&running.socket).await;
        raw.push(bytes).await;
        assert_eq!(heard(&mut raw).await, *expected, "{name}");
    }
    running.stop().await;
}

fn case(name: &str, frames: &[Vec<u8>], heard: &[&str]) -> Case {
    let heard = heard.iter().map(|text| (*text).to_owned()).collect();
    (name.to_owned(), frames.concat(), heard)
}

/// All that is said until the connection ends.
async fn heard(raw: &mut Raw) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some((opcode, payload)) = raw.next().await {
        heard.push(match (opcode, payload.first_chunk()) {
            (TEXT, _) => {
                let answer: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
                format!("answer {}", answer["id"].as_str().unwrap_or("without an id"))
            }
            (PONG, _) => format!("pong {}", String::from_utf8_lossy(&payload)),
            (CLOSE, Some(code)) => format!("close {}", u16::from_be_bytes(*code)),
            (CLOSE, None) => "close".to_owned(),
            (other, _) => format!("opcode {other}"),
        });
    }
    heard
}

fn request(id: &str) -> Vec<u8> {
    format!(r#"{{"namespace":"rpc","name":"identify","id":"{id}","args":""}}"#).into_bytes()
}

/// The client's orderly close.
fn bye() -> Vec<u8> {
    frame(FIN | CLOSE, &1000_u16.to_be_bytes())
}

/// One masked frame with its length in the shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => frame.push(FIN | short),
        (_, Ok(medium)) => frame.extend([&[0xfe][..], &medium.to_be_bytes()].concat()),
        (_, Err(_)) => frame.extend([&[0xff][..], &(length as u64).to_be_bytes()].concat()),
    }
    frame.extend(masked(payload));
    frame
}

/// A text frame whose length stands in a longer form than it needs: that of `marker`.
fn long_form(payload: &[u8], marker: u8) -> Vec<u8> {
    let length = (payload.len() as u64).to_be_bytes();
    let length = if marker == 126 { &length[6..] } else { &length[..] };
    [&[FIN | TEXT, FIN | marker][..], length, &masked(payload)].concat()
}

/// The mask, and the payload under it.
fn masked(payload: &[u8]) -> Vec<u8> {
    let covered = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    MASK.iter().copied().chain(covered).collect()
}
