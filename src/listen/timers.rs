//! Everything a connection does because time has passed: pure arithmetic over moments.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;

/// The least time between two looks at a login that is about to expire.
const EXPIRY_MIN: Duration = Duration::from_millis(100);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// Nobody has logged in, or nothing was said for too long: close.
    Close,
    /// Nothing at all was heard: cut.
    Cut,
    /// Ask whether it is still there.
    Ping,
}

/// The moments of one connection.
#[derive(Debug)]
pub(crate) struct Timers {
    begun: Instant,
    /// The last frame of any kind.
    heard: Instant,
    /// The last message.
    said: Instant,
    pinged: Instant,
    /// When the login expires.
    expiry: Option<Instant>,
    heartbeats: HashMap<String, Heartbeat>,
}

#[derive(Debug)]
struct Heartbeat {
    every: Duration,
    next: Instant,
}

impl Timers {
    /// Of a connection that began then and is a websocket now.
    pub(crate) fn new(begun: Instant, now: Instant) -> Self {
        let heartbeats = HashMap::new();
        Self { begun, heard: now, said: now, pinged: now, expiry: None, heartbeats }
    }

    /// A frame came.
    pub(crate) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A message came.
    pub(crate) fn say(&mut self, now: Instant) {
        self.heard = now;
        self.said = now;
    }

    /// The login is good for so long, or for ever.
    pub(crate) fn expire_in(&mut self, left: Option<Duration>, now: Instant) {
        // Never at once: the clock that decides may be a little behind the one that wakes us.
        self.expiry = left.map(|left| now + left.max(EXPIRY_MIN));
    }

    /// A subscription wants heartbeats.
    pub(crate) fn beat(&mut self, sub: &str, every: Duration, now: Instant) {
        self.heartbeats.insert(sub.to_owned(), Heartbeat { every, next: now + every });
    }

    /// A subscription ended.
    pub(crate) fn stop_beating(&mut self, sub: &str) {
        self.heartbeats.remove(sub);
    }

    /// Every subscription ended.
    pub(crate) fn stop_all(&mut self) {
        self.heartbeats.clear();
    }

    /// When to look again at the latest.
    pub(crate) fn next(&self, limits: &Limits, logged_in: bool, subscribed: bool) -> Instant {
        let question = self.heard.max(self.pinged) + limits.ping();
        let mut next = question.min(self.heard + silence(limits));
        if !logged_in {
            next = next.min(self.begun + limits.login());
        }
        if !subscribed {
            next = next.min(self.said + limits.idle());
        }
        let beats = self.heartbeats.values().map(|beat| beat.next);
        beats.chain(self.expiry).fold(next, Instant::min)
    }

    /// What is due now.
    pub(crate) fn due(
        &mut self,
        limits: &Limits,
        now: Instant,
        logged_in: bool,
        subscribed: bool,
    ) -> Due {
        let is_late = !logged_in && now >= self.begun + limits.login();
        if is_late || !subscribed && now >= self.said + limits.idle() {
            return Due::Close;
        }
        if now >= self.heard + silence(limits) {
            return Due::Cut;
        }
        if now >= self.heard.max(self.pinged) + limits.ping() {
            self.pinged = now;
            return Due::Ping;
        }
        Due::Nothing
    }

    /// The subscriptions whose heartbeat is due.
    pub(crate) fn heartbeats(&mut self, now: Instant) -> Vec<String> {
        let due = self.heartbeats.iter_mut().filter(|(_, beat)| now >= beat.next);
        due.map(|(sub, beat)| {
            beat.next = now + beat.every;
            sub.clone()
        })
        .collect()
    }
}

/// After so long a connection counts as half open: two questions without an answer.
fn silence(limits: &Limits) -> Duration {
    limits.ping() * 5 / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn whoever_does_not_log_in_is_closed_after_thirty_seconds() {
        let start = Instant::now();
        let mut timers = Timers::new(start, start);
        assert_eq!(timers.next(&Limits::default(), false, false), start + seconds(30));
        assert_eq!(timers.due(&Limits::default(), start + seconds(29), false, false), Due::Nothing);
        assert_eq!(timers.due(&Limits::default(), start + seconds(30), false, false), Due::Close);
    }

    #[test]
    fn a_silent_client_is_asked_and_then_cut() {
        let start = Instant::now();
        let mut timers = Timers::new(start, start);
        assert_eq!(timers.due(&Limits::default(), start + seconds(30), true, true), Due::Ping);
        assert_eq!(timers.due(&Limits::default(), start + seconds(31), true, true), Due::Nothing);
        assert_eq!(timers.due(&Limits::default(), start + seconds(60), true, true), Due::Ping);
        assert_eq!(timers.due(&Limits::default(), start + seconds(75), true, true), Due::Cut);
    }

    #[test]
    fn pongs_keep_a_subscriber_but_not_an_idle_connection() {
        let start = Instant::now();
        let mut timers = Timers::new(start, start);
        timers.hear(start + seconds(1_799));
        assert_eq!(
            timers.due(&Limits::default(), start + seconds(1_800), true, true),
            Due::Nothing
        );
        assert_eq!(timers.due(&Limits::default(), start + seconds(1_800), true, false), Due::Close);
    }

    #[test]
    fn a_login_that_expires_is_looked_at_then() {
        let start = Instant::now();
        let mut timers = Timers::new(start, start);
        timers.expire_in(Some(seconds(7)), start);
        assert_eq!(timers.next(&Limits::default(), true, true), start + seconds(7));
        timers.expire_in(Some(Duration::ZERO), start);
        assert!(timers.next(&Limits::default(), true, true) > start);
        timers.expire_in(None, start);
        assert_eq!(timers.next(&Limits::default(), true, true), start + seconds(30));
    }

    #[test]
    fn heartbeats_come_at_their_own_pace() {
        let start = Instant::now();
        let mut timers = Timers::new(start, start);
        timers.beat("a", seconds(5), start);
        assert_eq!(timers.next(&Limits::default(), true, true), start + seconds(5));
        assert!(timers.heartbeats(start + seconds(4)).is_empty());
        assert_eq!(timers.heartbeats(start + seconds(6)), ["a"]);
        assert!(timers.heartbeats(start + seconds(7)).is_empty());
        timers.stop_beating("a");
        assert!(timers.heartbeats(start + seconds(60)).is_empty());
    }
}
