//! A token that is revoked while many connections of it are told events: when the last of them has ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Res;
use crate::args::Sizes;
use crate::client::Target;
use crate::client::dialect::{Class, fire, subscribe, sysadm};
use crate::client::setup::Setup;
use crate::server::{Kind, Lab};
use crate::stats::median;
use crate::table::{Goal, Row};

/// Connections of the token, each with a thread of ours.
const CONNECTIONS: usize = 200;

/// What one run told, in seconds since the revocation was asked for.
#[derive(Debug)]
struct Told {
    /// The last connection ended.
    ended: f64,
    /// The last event came.
    heard: f64,
}

/// The rows.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let mut all = Vec::new();
    for number in 1..=sizes.runs {
        eprintln!("revoke: run {number} of {}", sizes.runs);
        match run(lab, sizes) {
            Ok(Some(told)) => all.push(told),
            Ok(None) => {}
            Err(error) => lab.failed(format!("revoke: {error}")),
        }
    }
    let row = |what: &str, figure: fn(&Told) -> f64| {
        let title = format!("a token revoked, {CONNECTIONS} connections: {what}");
        Row::new("revoke", title, "ms", median(all.iter().map(|told| figure(told) * 1e3)))
            .goal(Goal::AtMost(1000.0))
    };
    vec![row("the last ended", |told| told.ended), row("the last event", |told| told.heard)]
}

fn run(lab: &Lab, sizes: &Sizes) -> Res<Option<Told>> {
    let dir = lab.scratch.fresh("revoke")?;
    let Some(server) = lab.start_in(Kind::Ours, &dir)? else { return Ok(None) };
    let target = server.target(false)?;
    let mut admin = Setup::open(&target)?;
    let create = json!({"action": "create", "name": "bench", "role": "operator"});
    let created = tokens(&mut admin, &create)?;
    let token = created["token"].as_str().ok_or("no token came back")?.to_owned();
    let revoke = json!({"action": "revoke", "id": created["id"]});
    let holder = Target { token: Some(token), ..target.clone() };
    let mut holders = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = Setup::open(&holder)?;
        connection.ask(&subscribe(Class::Durable, "now"))?;
        holders.push(connection);
    }
    let over = AtomicBool::new(false);
    let told = thread::scope(|scope| -> Res<Told> {
        let firing = scope.spawn(|| fire_on(&target, &over));
        let listening: Vec<_> =
            holders.into_iter().map(|connection| scope.spawn(|| listen(connection))).collect();
        sleep(sizes.span / 2);
        let begin = Instant::now();
        let answer = tokens(&mut admin, &revoke);
        let (mut ended, mut heard) = (begin, None);
        for thread in listening {
            let (end, last) = thread.join().map_err(|_| "a client has failed")?;
            (ended, heard) = (ended.max(end), heard.max(last));
        }
        over.store(true, Ordering::Relaxed);
        firing.join().map_err(|_| "the client that fires has failed")??;
        answer?;
        let heard = heard.ok_or("nobody was told anything")?;
        let since = |at: Instant| at.saturating_duration_since(begin).as_secs_f64();
        Ok(Told { ended: since(ended), heard: since(heard) })
    })?;
    server.stop()?;
    Ok(Some(told))
}

/// The answer of `rpc/tokens`.
fn tokens(admin: &mut Setup, args: &Value) -> Res<Value> {
    let answer: Value = serde_json::from_slice(&admin.ask(&sysadm("rpc", "tokens", "4", args))?)?;
    if answer["name"] != "response" {
        return Err(format!("rpc/tokens answers {answer}").into());
    }
    Ok(answer["args"].clone())
}

/// Fires one event after the other.
fn fire_on(target: &Target, over: &AtomicBool) -> Res<()> {
    let mut connection = Setup::open(target)?;
    while !over.load(Ordering::Relaxed) {
        connection.ask(&fire(Class::Durable))?;
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Listens until the connection has ended: when that was, and when the last event came.
fn listen(mut connection: Setup) -> (Instant, Option<Instant>) {
    let mut last = None;
    while connection.next().is_ok() {
        last = Some(Instant::now());
    }
    (Instant::now(), last)
}
