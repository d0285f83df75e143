//! Calls of triggers that are none, beside another 404 of the same listener: what a refusal costs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Res;
use crate::args::Sizes;
use crate::server::{Kind, Lab};
use crate::stats::median;
use crate::table::{Goal, Row};

/// Connections, each with a thread of ours.
const CONNECTIONS: usize = 8;
/// Requests on their way on each.
const DEPTH: usize = 16;
/// How every answer begins.
const ANSWER: &[u8] = b"HTTP/1.1 404 ";

/// A path of the same face that is nothing.
const NOTHING: &str = "/api/app/v1/nothing/at/all/";
/// A URL that no trigger has.
const TRIGGER: &str = "/api/app/v1/service/8e19bc92-173a-4c3a-a321-45f69bf3ca1f/trigger/\
                       0e19bc92-173a-4c3a-a321-45f69bf3ca1f/call/";

/// The rows.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let (mut refused, mut nothing) = (Vec::new(), Vec::new());
    for number in 1..=sizes.runs {
        eprintln!("refused: run {number} of {}", sizes.runs);
        match run(lab, sizes.span) {
            Ok(Some((ours, other))) => {
                refused.push(ours);
                nothing.push(other);
            }
            Ok(None) => {}
            Err(error) => lab.failed(format!("refused: {error}")),
        }
    }
    let work = format!("calls of no trigger refused, {CONNECTIONS} × {DEPTH} in flight");
    vec![
        Row::new("refused", work, "calls/s", median(refused))
            .goal(Goal::AtLeast(10_000.0))
            .against("another 404", median(nothing), Goal::AtLeastTimes(0.5)),
    ]
}

/// Refusals a second of each kind, on one daemon, one kind after the other.
fn run(lab: &Lab, span: Duration) -> Res<Option<(f64, f64)>> {
    let dir = lab.scratch.fresh("refused")?;
    let Some(server) = lab.start_in(Kind::Ours, &dir)? else { return Ok(None) };
    let addr = server.target(false)?.addr;
    let rate = |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        load(addr, &request.repeat(DEPTH), span)
    };
    let (nothing, refused) = (rate("GET", NOTHING)?, rate("POST", TRIGGER)?);
    server.stop()?;
    Ok(Some((refused, nothing)))
}

/// Answers a second to these requests, sent together again and again on each connection.
fn load(addr: SocketAddr, requests: &str, span: Duration) -> Res<f64> {
    let begin = Instant::now();
    let count = thread::scope(|scope| -> Res<usize> {
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| ask(addr, requests, span))).collect();
        let mut count = 0;
        for thread in threads {
            count += thread.join().map_err(|_| "a client has failed")??;
        }
        Ok(count)
    })?;
    let count = u32::try_from(count).map_err(|_| "too many to count")?;
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

fn ask(addr: SocketAddr, requests: &str, span: Duration) -> Res<usize> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let (begin, mut count) = (Instant::now(), 0);
    let (mut kept, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    while begin.elapsed() < span {
        socket.write_all(requests.as_bytes())?;
        let mut answers = 0;
        while answers < DEPTH {
            let read = socket.read(&mut chunk)?;
            if read == 0 {
                return Err("the server closed a connection".into());
            }
            kept.extend_from_slice(&chunk[..read]);
            while let Some(place) = kept.windows(ANSWER.len()).position(|w| w == ANSWER) {
                kept.drain(..place + ANSWER.len());
                answers += 1;
            }
        }
        count += answers;
    }
    Ok(count)
}
