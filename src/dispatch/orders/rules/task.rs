//! The task of one rule: it hears, waits, begins and ends what the rule does.
//!
//! Where it is in the log and what it has found there are one transaction, so nothing is missed and
//! nothing found twice, whenever the daemon dies.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use protocol::{Cursor, Event, Fault, Filter, Overflow, Start, Time};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::kept::{Act, Cause, Rule, State};
use super::{carry, watch};
use crate::bus::{Bell, Subscribe};
use crate::dispatch::Dispatch;
use crate::dispatch::orders::order::Order;
use crate::dispatch::orders::{Entry, unreadable};
use crate::sight::{Interest, Sight};
use crate::store::{OrderChange, Query};
use crate::trigger::moments::Moments;
use crate::trigger::rule::{When, begin, run_id, wants};

/// What waits for its turn; more stay in the log until some have ended.
const WAITING_MAX: usize = 1_000;
/// What runs at once of one rule.
const RUNNING_MAX: usize = 16;
/// Events read from the log in one go, and bytes of them.
const READ_EVENTS: usize = 256;
const READ_BYTES: usize = 128 * 1024;
/// Events passed over before the place is kept for them.
const PASSED_MAX: u64 = 1_000;
/// The longest time without a look.
const LOOK: Duration = Duration::from_mins(1);
/// How long to wait when the log or the owner's rights cannot be read.
const PAUSE: Duration = Duration::from_secs(5);

type Carried = Pin<Box<dyn Future<Output = Act> + Send>>;

/// A rule at work.
pub(super) struct Task {
    dispatch: Dispatch,
    entry: Arc<Entry>,
    waiting: Vec<Act>,
    running: FuturesUnordered<Carried>,
    /// The keys of what runs.
    keys: Vec<String>,
    watch: Option<watch::Watch>,
    moments: Option<Moments>,
}

impl Task {
    /// With what an earlier life has left.
    pub(super) fn new(dispatch: Dispatch, entry: Arc<Entry>, when: &When, left: Vec<Act>) -> Self {
        let watch = match when {
            When::Path(path) => Some(watch::Watch::begin(path)),
            _ => None,
        };
        let moments = match when {
            When::Schedule(schedule) => Moments::read(schedule).ok(),
            _ => None,
        };
        let (running, keys) = (FuturesUnordered::new(), Vec::new());
        Self { dispatch, entry, waiting: left, running, keys, watch, moments }
    }

    /// Works until the rule is no more, or the daemon stops.
    pub(super) async fn run(mut self) {
        let stop = self.dispatch.0.orders.0.tasks.stop_signal();
        while !self.entry.has_ended() {
            tokio::select! {
                // What runs stays as it is on record, and is taken up at the next start.
                () = stop.wait() => return,
                () = self.step() => {}
            }
        }
    }

    async fn step(&mut self) {
        let order = self.entry.order.lock().await.clone();
        let Some(rule) = order.rule.clone() else { return };
        if !order.enabled {
            return self.rest(None, None).await;
        }
        self.take_retried(&order).await;
        let heard = match self.hear(&order, &rule).await {
            Ok(heard) => heard,
            Err(fault) => {
                tracing::warn!(rule = %order.id, %fault, "a rule cannot listen at the moment");
                return self.rest(None, Some(PAUSE)).await;
            }
        };
        self.begin(&order, &rule);
        if heard {
            return;
        }
        let bell = match (&rule.when, self.waiting.len() < WAITING_MAX) {
            (When::Event(filter), true) => Some((filter, &rule)),
            _ => None,
        };
        self.rest(bell, self.until_next(&rule)).await;
    }

    /// Looks once for something to do; whether there may be more at once.
    async fn hear(&mut self, order: &Order, rule: &Rule) -> Result<bool, Fault> {
        if self.waiting.len() >= WAITING_MAX {
            return Ok(false);
        }
        let now = self.dispatch.0.clock.now();
        match &rule.when {
            When::Event(filter) => self.hear_events(order, rule, filter).await,
            When::Schedule(_) => {
                let last = rule.last.unwrap_or(order.created);
                let missed = self.moments.as_ref().and_then(|it| it.missed(last, now));
                let Some(moment) = missed else { return Ok(false) };
                let id = run_id(order.id, &moment.micros().to_be_bytes());
                let times = (moment, rule.manner.due(moment));
                let act = Act::new((id, order.id), Cause::Moment(moment), times, String::new());
                self.found(vec![act], |rule| rule.last = Some(moment)).await?;
                Ok(false)
            }
            When::Path(path) => {
                let print = watch::print(path).await;
                if rule.print.as_deref() == Some(&print) {
                    return Ok(false);
                }
                // What is there when the rule is made is no change.
                let is_first = rule.print.is_none();
                let id = run_id(order.id, format!("{print} {}", now.micros()).as_bytes());
                let times = (now, rule.manner.due(now));
                let act = Act::new((id, order.id), Cause::Change, times, String::new());
                let acts = if is_first { Vec::new() } else { vec![act] };
                self.found(acts, |rule| rule.print = Some(print)).await?;
                Ok(false)
            }
        }
    }

    async fn hear_events(
        &mut self,
        order: &Order,
        rule: &Rule,
        filter: &Filter,
    ) -> Result<bool, Fault> {
        let bus = &self.dispatch.0.bus;
        let from = rule.cursor.clone().unwrap_or_else(|| bus.head());
        let (place, gap) = bus.beginning(Start::After(from.clone()));
        if let Some(gap) = gap {
            let message =
                format!("Rule {} has missed events that the log holds no more", order.title());
            super::tell(&self.dispatch, order, ("rule.gap", &message), json!({ "gap": gap })).await;
        }
        let events = bus.log().read(place.seq, READ_EVENTS, READ_BYTES).await;
        let events = events.map_err(|error| unreadable(&error))?;
        let Some(last) = events.last().and_then(|event| event.seq) else {
            if place != from {
                self.found(Vec::new(), |rule| rule.cursor = Some(place)).await?;
            }
            return Ok(false);
        };
        let sight = self.dispatch.sight_of(order).await?;
        let is_meant = |event: &&Arc<Event>| {
            wants(filter, event) && sight.shows(event) && !is_own(order, event)
        };
        let acts: Vec<Act> = events
            .iter()
            .filter(is_meant)
            .filter_map(|event| Act::of(order.id, &rule.manner, event))
            .collect();
        let instance = bus.instance();
        self.found(acts, |rule| rule.cursor = Some(Cursor::after(instance, last))).await?;
        Ok(true)
    }

    /// Keeps what was found together with the place behind it.
    async fn found(&mut self, acts: Vec<Act>, moves: impl FnOnce(&mut Rule)) -> Result<(), Fault> {
        let mut order = self.entry.order.lock().await;
        let mut next = order.clone();
        let Some(rule) = next.rule.as_mut() else { return Ok(()) };
        let (before, debounce) = (rule.cursor.clone(), rule.manner.debounce_s);
        moves(rule);
        let passed = match (&before, &rule.cursor) {
            (Some(before), Some(after)) => after.seq.saturating_sub(before.seq),
            _ => PASSED_MAX,
        };
        if acts.is_empty() && passed < PASSED_MAX && before.is_some() {
            // Nothing of it was wanted: to read it again costs less than to note that it was read.
            *order = next;
            return Ok(());
        }
        if let Some(last) = acts.last() {
            next.used = order.used.once_more(last.created);
        }
        let all = if debounce > 0 { self.settled(acts) } else { acts };
        let mut runs = Vec::with_capacity(all.len());
        for act in &all {
            runs.push(act.stored()?);
        }
        let change =
            OrderChange { order: Some(self.entry.stored(&next)?), runs, ..OrderChange::default() };
        let stored = self.dispatch.0.orders.0.store.order_change(change).await;
        stored.map_err(|error| unreadable(&error))?;
        *order = next;
        self.waiting.retain(|act| !all.iter().any(|it| it.id == act.id));
        self.waiting.extend(all.into_iter().filter(|act| act.state == State::Waiting));
        Ok(())
    }

    /// Of several with one key that come close after each other the last one counts.
    fn settled(&self, acts: Vec<Act>) -> Vec<Act> {
        let now = self.dispatch.0.clock.now();
        let untried = self.waiting.iter().filter(|act| act.tries == 0);
        let mut all: Vec<Act> = untried.cloned().chain(acts).collect();
        for place in 0..all.len() {
            let (key, due) = (all[place].key.clone(), all[place].due);
            let soon = |later: &Act| later.key == key && later.created <= due;
            if all[place + 1..].iter().any(soon) {
                all[place].state = State::Superseded;
                all[place].ended = Some(now);
            }
        }
        all
    }

    /// Begins what is due.
    fn begin(&mut self, order: &Order, rule: &Rule) {
        let now = self.dispatch.0.clock.now();
        let waiting = self.waiting.iter().enumerate();
        let waiting = waiting.map(|(place, act)| (place, act.key.as_str(), act.due));
        let running: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let places = begin(waiting, &running, (rule.manner.at_once, RUNNING_MAX, now));
        for place in places.into_iter().rev() {
            let act = self.waiting.remove(place);
            self.keys.push(act.key.clone());
            let carried = carry::carry(self.dispatch.clone(), order.clone(), act);
            self.running.push(Box::pin(carried));
        }
    }

    /// What somebody wants to be tried again.
    async fn take_retried(&mut self, order: &Order) {
        let wanted = std::mem::take(&mut *crate::dispatch::orders::locked(&self.entry.retried));
        for id in wanted {
            let kept = self.dispatch.0.orders.0.store.run(id).await.ok().flatten();
            let act = kept.as_ref().and_then(Act::read).filter(|act| act.rule == order.id);
            let is_known = self.waiting.iter().any(|it| it.id == id);
            self.waiting.extend(act.filter(|act| act.state == State::Waiting && !is_known));
        }
    }

    /// How long until something is due.
    fn until_next(&self, rule: &Rule) -> Option<Duration> {
        let now = self.dispatch.0.clock.now();
        let due = self.waiting.iter().map(|act| act.due).filter(|due| *due > now);
        let moment =
            self.moments.as_ref().and_then(|it| it.after(rule.last.unwrap_or(now).max(now)));
        let next: Option<Time> = due.chain(moment).min();
        next.map(|next| Duration::from_micros(next.micros().saturating_sub(now.micros())))
    }

    /// Waits until there may be something to do.
    async fn rest(&mut self, bell: Option<(&Filter, &Rule)>, pause: Option<Duration>) {
        let pause = pause.unwrap_or(LOOK).min(LOOK);
        let heard = listen(&self.dispatch, bell);
        let watch = self.watch.as_ref();
        let changed = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = heard => {}
            () = changed => {}
            () = self.entry.changed.notified() => {}
            Some(act) = self.running.next(), if !self.running.is_empty() => self.ended(act),
        }
    }

    fn ended(&mut self, act: Act) {
        if let Some(place) = self.keys.iter().position(|key| *key == act.key) {
            self.keys.swap_remove(place);
        }
        if act.state == State::Waiting {
            self.waiting.push(act);
        }
    }
}

/// Returns when there is something in the log behind the rule's place; never without a filter.
async fn listen(dispatch: &Dispatch, bell: Option<(&Filter, &Rule)>) {
    let Some((filter, rule)) = bell else { return std::future::pending().await };
    let ring = Bell::default();
    let bus = &dispatch.0.bus;
    let wanted = Subscribe {
        interest: Interest::from(filter.clone()),
        start: Start::After(rule.cursor.clone().unwrap_or_else(|| bus.head())),
        overflow: Overflow::Lossless,
        face: Bell::face(),
        outlet: ring.outlet(),
    };
    match bus.subscribe(wanted, |_| Vec::new()).await {
        Ok(subscription) => {
            timeout(LOOK, ring.rung()).await.ok();
            drop(subscription);
        }
        Err(fault) => {
            tracing::error!(%fault, "a rule could not wait for events");
            sleep(PAUSE).await;
        }
    }
}

/// Whether it was this rule that made the event: by a job of its own.
fn is_own(order: &Order, event: &Event) -> bool {
    let job = event.class.family() == "job";
    job && event.data.text().contains(&order.actor())
}

/// Whether what began with this event has lasted: no event of its family and subject has come since
/// that the filter does not want.
///
/// # Errors
/// `unavailable` when the log cannot be read.
pub(super) async fn has_lasted(
    dispatch: &Dispatch,
    filter: &Filter,
    (seq, class, subject): (u64, &str, &str),
) -> Result<bool, Fault> {
    let family = class.split('.').next().unwrap_or(class);
    let of_it = Filter {
        classes: vec![format!("{family}.*"), family.to_owned()],
        subject: Some(subject.to_owned()),
        ..Filter::default()
    };
    let interest = Interest { filter: of_it, sight: Sight::everything() };
    let mut query = Query { interest, after_seq: Some(seq), limit: 1_000, ..Query::default() };
    loop {
        let page = dispatch.0.bus.log().page(query.clone()).await;
        let page = page.map_err(|error| unreadable(&error))?;
        let is_other = |event: &Arc<Event>| event.subject == subject && !filter.matches(event);
        if page.events.iter().any(is_other) {
            return Ok(false);
        }
        if page.resume.is_none() {
            return Ok(true);
        }
        query.after_seq = page.resume;
    }
}
