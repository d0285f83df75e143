//! `kill -9` while fires are answered: how many a second they were, and what has become of them.
//!
//! Clients of Consul fire as fast as they are answered, others wait in blocking lists; the daemon is killed in the
//! middle of it and started again on the same folder, several times. Then every answer is looked for.

mod client;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Instant;

use self::client::{Follower, Line};
use crate::Res;
use crate::args::Sizes;
use crate::client::Target;
use crate::server::{Kind, Lab, Server};
use crate::stats::{count, float, median};
use crate::table::{Goal, Row};

/// Clients that fire.
const FIRING: usize = 64;
/// Clients that wait, each for the events of one who fires.
const FOLLOWING: usize = 4;
/// Times that the daemon is killed in one run.
const DEATHS: u32 = 3;
/// Fires of one name, unless somebody waits for it: fewer than a list has, so that each can be looked for.
const OF_ONE_NAME: usize = 200;
/// Of a name that is fired on and on, so many are looked for: one more may be there that was not answered.
const LISTED: usize = 255;

/// What one run told.
#[derive(Debug, Default)]
struct Told {
    /// Fires answered a second, of each life until its end.
    rates: Vec<f64>,
    answered: usize,
    /// Answered, but in no list after the next start.
    gone: usize,
    /// Times that a waiter was told a smaller index or an event that it had, or one was listed twice.
    repeated: usize,
}

/// The rows.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let mut all = Vec::new();
    for number in 1..=sizes.runs {
        eprintln!("kill -9: run {number} of {}", sizes.runs);
        match run(lab, sizes) {
            Ok(Some(told)) => all.push(told),
            Ok(None) => {}
            Err(error) => lab.failed(format!("kill -9: {error}")),
        }
    }
    let sum = |figure: fn(&Told) -> usize| {
        let sum: usize = all.iter().map(figure).sum();
        (!all.is_empty()).then(|| float(count(sum)))
    };
    let rates = all.iter().flat_map(|told| told.rates.iter().copied());
    let title = "kill -9";
    vec![
        Row::new(
            "kill",
            format!("{title}: fires until then, {FIRING} clients"),
            "fires/s",
            median(rates),
        )
        .goal(Goal::AtLeast(1000.0)),
        Row::new("kill", format!("{title}: fires answered"), "fires", sum(|told| told.answered)),
        Row::new(
            "kill",
            format!("{title}: of them not listed after it"),
            "fires",
            sum(|told| told.gone),
        )
        .goal(Goal::AtMost(0.0)),
        Row::new(
            "kill",
            format!("{title}: index back, or an event twice, {FOLLOWING} waiters"),
            "times",
            sum(|told| told.repeated),
        )
        .goal(Goal::AtMost(0.0)),
    ]
}

fn run(lab: &Lab, sizes: &Sizes) -> Res<Option<Told>> {
    let dir = lab.scratch.fresh("kill")?;
    let mut followers: Vec<_> = (0..FOLLOWING).map(|line| Follower::of(&followed(line))).collect();
    let mut told = Told::default();
    let mut answered: HashMap<String, Vec<String>> = HashMap::new();
    for round in 0..DEATHS {
        let Some(server) = lab.start_in(Kind::Ours, &dir)? else { return Ok(None) };
        let (rate, fired) = live(server, round, &mut followers, sizes)?;
        told.rates.push(rate);
        for (name, id) in fired {
            answered.entry(name).or_default().push(id);
        }
    }
    let Some(server) = lab.start_in(Kind::Ours, &dir)? else { return Ok(None) };
    let target = server.target(false)?;
    let mut line = Line::open(&target)?;
    for (name, ids) in &answered {
        let listed = line.list(name, 0)?.ok_or("the daemon ended by itself")?.ids;
        let there: HashSet<&String> = listed.iter().collect();
        let last = ids.iter().rev().take(LISTED);
        told.gone += last.filter(|id| !there.contains(id)).count();
        told.repeated += listed.len() - there.len();
        told.answered += ids.len();
    }
    for follower in &mut followers {
        follower.catch_up(&target)?;
        let fired =
            answered.get(&follower.name).ok_or("a name that is followed was never fired")?;
        told.gone += follower.unseen(fired);
        told.repeated += follower.repeated;
    }
    server.stop()?;
    Ok(Some(told))
}

/// A life of the daemon, to its violent end. Fires a second before that, and all that were answered: names and ids.
fn live(
    server: Server,
    round: u32,
    followers: &mut [Follower],
    sizes: &Sizes,
) -> Res<(f64, Vec<(String, String)>)> {
    let target = server.target(false)?;
    let (answers, target) = (AtomicU64::new(0), &target);
    thread::scope(|scope| {
        let answers = &answers;
        let firing: Vec<_> = (0..FIRING)
            .map(|line| scope.spawn(move || fire(target, round, line, answers)))
            .collect();
        let following: Vec<_> = followers
            .iter_mut()
            .map(|follower| scope.spawn(move || follower.follow(target)))
            .collect();
        sleep(sizes.span / 4);
        let (begin, before) = (Instant::now(), answers.load(Ordering::Relaxed));
        sleep(sizes.span);
        let fired = answers.load(Ordering::Relaxed) - before;
        let rate = float(fired) / begin.elapsed().as_secs_f64();
        // SIGKILL, and waited for.
        drop(server);
        let mut all = Vec::new();
        for thread in firing {
            all.extend(thread.join().map_err(|_| "a client that fires has failed")??);
        }
        for thread in following {
            thread.join().map_err(|_| "a client that waits has failed")??;
        }
        Ok((rate, all))
    })
}

/// Fires one event after the other until the daemon has ended; those that were answered.
fn fire(
    target: &Target,
    round: u32,
    number: usize,
    answers: &AtomicU64,
) -> Res<Vec<(String, String)>> {
    let mut line = Line::open(target)?;
    let mut answered = Vec::new();
    loop {
        let name = match number {
            0..FOLLOWING => followed(number),
            _ => format!("kill-{round}-{number}-{}", answered.len() / OF_ONE_NAME),
        };
        let Some(id) = line.fire(&name)? else { return Ok(answered) };
        answered.push((name, id));
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

fn followed(line: usize) -> String {
    format!("followed-{line}")
}
