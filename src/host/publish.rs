//! From a plugin's words to recorded events: what it declared, at its rate, in its order.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use jsonrpsee_types::Id;
use protocol::alert::{AlertDeclaration, Report};
use protocol::link::{Alerted, Credit, Frame, Progress, Published, method};
use protocol::manifest::{ClassDeclaration, Retain};
use protocol::{Draft, Event, Fault, Json, Manifest};
use serde::Serialize;
use tokio::time::Instant;
use tracing::Level;

use super::status::Counters;
use super::voice::Voice;
use crate::alarm::{Alarm, declaration};
use crate::bucket::Bucket;
use crate::bus::{Bus, own_class};
use crate::sight::{Call, PROGRESS_CLASS};

/// Events of one plugin that are being recorded at once. One batch of the log's writer takes so
/// many anyway; more would only move the queue from the pipe into memory.
const APPENDS_MAX: usize = 256;
/// The same in bytes: one plugin's large events must not fill the memory.
const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far a call is, and which.
#[derive(Serialize)]
struct HowFar<'a> {
    #[serde(flatten)]
    progress: &'a Progress,
    call: &'a Call,
}

/// Records what one plugin process publishes.
pub(crate) struct Publisher {
    ways: Ways,
    counters: Arc<Counters>,
    source: Arc<str>,
    classes: Vec<ClassDeclaration>,
    alerts: Vec<AlertDeclaration>,
    bucket: Bucket,
    voice: Voice,
    /// The newest event, when the log's queue had no room for it at once. Nothing overtakes it.
    entering: Option<Entering>,
    /// Events in the log's queue, in the order in which the plugin said and is answered them.
    appends: FuturesOrdered<Append>,
    bytes: usize,
    /// Credit to give back, and how much of it is worth a message.
    credit: u32,
    credit_worth: u32,
}

/// Where it goes.
pub(crate) struct Ways {
    pub(crate) bus: Bus,
    pub(crate) alarm: Alarm,
}

/// What is on record.
enum Told {
    Event(Arc<Event>),
    Alert(Alerted),
}

type Append = Pin<Box<dyn Future<Output = Recorded> + Send>>;

/// An event on its way into the log's queue.
type Entering = Pin<Box<dyn Future<Output = Entered> + Send>>;

/// An event in the log's queue, to be waited for.
struct Entered(Append);

/// An event that is on record, or not.
pub(crate) struct Recorded {
    outcome: Result<Told, Fault>,
    /// The request to answer, when the plugin waits.
    id: Option<Id<'static>>,
    bytes: usize,
    costs_credit: bool,
}

impl Publisher {
    pub(crate) fn new(manifest: &Manifest, ways: Ways, counters: Arc<Counters>) -> Self {
        let limits = &manifest.limits;
        Self {
            ways,
            counters,
            source: manifest.id.as_str().into(),
            classes: manifest.events.clone(),
            alerts: manifest.alerts.clone(),
            bucket: Bucket::new(limits.events_per_s, limits.events_burst, Instant::now()),
            voice: Voice::new(&manifest.id),
            entering: None,
            appends: FuturesOrdered::new(),
            bytes: 0,
            credit: 0,
            // Half of what it has: it can go on with the other half while the message travels.
            credit_worth: (limits.events_burst / 2).max(1),
        }
    }

    /// Whether another event may be taken in. When not, the plugin's pipe is not read: it waits
    /// until [`Publisher::next`] returns or the moment of [`Publisher::pause_until`] comes.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        self.has_memory() && self.bucket.ready_at(now).is_none()
    }

    /// The same without the rate: for what a process leaves behind in its pipe.
    pub(crate) fn has_memory(&self) -> bool {
        let is_small = self.appends.len() < APPENDS_MAX && self.bytes < APPEND_BYTES_MAX;
        is_small && self.entering.is_none()
    }

    /// When the rate lets the next event pass, if it is only that.
    pub(crate) fn pause_until(&self, now: Instant) -> Option<Instant> {
        if self.has_memory() { self.bucket.ready_at(now) } else { None }
    }

    /// Whether everything taken in is on record.
    pub(crate) fn is_idle(&self) -> bool {
        self.entering.is_none() && self.appends.is_empty()
    }

    /// Takes in an `event/publish`; what it returns is to be sent to the plugin.
    pub(crate) fn publish(&mut self, frame: Frame, now: Instant) -> Vec<Frame> {
        self.take_token(now);
        let draft = frame.params.unwrap_or_default().read::<Draft>();
        let drafted = draft
            .map_err(|error| Fault::bad_request(format!("event/publish: {error}")))
            .and_then(|draft| self.declared(draft));
        match drafted {
            Ok((draft, retain)) => {
                self.append(draft, retain, frame.id, true);
                Vec::new()
            }
            Err(fault) => self.refused(&fault, frame.id, true),
        }
    }

    /// Takes in a report about alerts, under the name of its method; what it returns is to be sent to
    /// the plugin.
    pub(crate) fn alert(&mut self, asked: &str, frame: Frame, now: Instant) -> Vec<Frame> {
        self.take_token(now);
        match self.reported(asked, &frame) {
            Ok((report, declared)) => {
                let bytes = frame.params.map_or(0, |params| params.text().len());
                self.ring(report, declared, frame.id, bytes);
                Vec::new()
            }
            Err(fault) => self.refused(&fault, frame.id, true),
        }
    }

    /// Takes in a `progress` of a call in flight.
    pub(crate) fn progress(&mut self, progress: &Progress, call: &Call, now: Instant) {
        self.take_token(now);
        let told = Json::of(&HowFar { progress, call });
        let (Some(own), Ok(data)) = (own_class(PROGRESS_CLASS), told) else {
            return;
        };
        let declared = &own.declared;
        let mut draft = Draft::new(declared.class.clone());
        draft.subject = format!("/calls/{}", progress.request_id);
        draft.priority = Some(declared.priority_default);
        draft.message.clone_from(&progress.message);
        draft.data = data;
        if draft.check().is_ok() {
            self.append(draft, declared.retain, None, false);
        }
    }

    /// Waits for the oldest event to be on record, or for room for the next one (`None`); never
    /// returns while there is nothing to wait for.
    pub(crate) async fn next(&mut self) -> Option<Recorded> {
        tokio::select! {
            Entered(append) = entered(&mut self.entering) => {
                self.entering = None;
                self.appends.push_back(append);
                None
            }
            Some(recorded) = self.appends.next() => Some(recorded),
        }
    }

    /// The same without waiting.
    pub(crate) fn next_already(&mut self) -> Option<Recorded> {
        self.appends.next().now_or_never().flatten()
    }

    /// Counts it; what it returns is to be sent to the plugin.
    pub(crate) fn settle(&mut self, recorded: Recorded) -> Vec<Frame> {
        self.bytes = self.bytes.saturating_sub(recorded.bytes);
        let said = match recorded.outcome {
            Err(fault) => return self.refused(&fault, recorded.id, recorded.costs_credit),
            Ok(Told::Alert(alerted)) => Json::of(&alerted),
            Ok(Told::Event(event)) => {
                if recorded.costs_credit {
                    self.counters.events_published.add_one();
                }
                Json::of(&Published { seq: event.seq, id: event.id, time: event.time })
            }
        };
        let answer = recorded.id.zip(said.ok()).map(|(id, result)| Frame::result(id, result));
        answer.into_iter().chain(self.give_back(recorded.costs_credit)).collect()
    }

    fn declared(&self, mut draft: Draft) -> Result<(Draft, Retain), Fault> {
        let declared = self.classes.iter().find(|declared| declared.class == draft.class);
        let Some(declared) = declared else {
            return Err(Fault::bad_request(format!(
                "the plugin's manifest does not declare the class {}",
                draft.class
            ))
            .with_hint("add it to `events` in manifest.json"));
        };
        draft.check().map_err(Fault::bad_request)?;
        let said = draft.priority.unwrap_or(declared.priority_default);
        draft.priority = Some(said.min(declared.priority_max));
        Ok((draft, declared.retain))
    }

    /// What is reported, with what the manifest says of each of its kinds.
    fn reported(
        &self,
        asked: &str,
        frame: &Frame,
    ) -> Result<(Report, Vec<AlertDeclaration>), Fault> {
        let report = read_report(asked, frame)?;
        let mut declared: Vec<AlertDeclaration> = Vec::new();
        for kind in report.kinds() {
            let known = declaration(&self.alerts, kind).ok_or_else(|| {
                let sentence = format!("the plugin's manifest does not declare the alert {kind}");
                Fault::bad_request(sentence).with_hint("add it to `alerts` in manifest.json")
            })?;
            if declaration(&declared, kind).is_none() {
                declared.push(known.clone());
            }
        }
        Ok((report, declared))
    }

    /// Only what a dead process has left behind comes here without waiting for a token.
    fn take_token(&mut self, now: Instant) {
        self.bucket.take(now).ok();
    }

    fn append(
        &mut self,
        draft: Draft,
        retain: Retain,
        id: Option<Id<'static>>,
        costs_credit: bool,
    ) {
        let bytes = draft.message.len() + draft.subject.len() + draft.data.text().len();
        self.bytes += bytes;
        let (bus, source) = (self.ways.bus.clone(), Arc::clone(&self.source));
        self.enter(Box::pin(async move {
            let told = move |outcome| Recorded { outcome, id, bytes, costs_credit };
            Entered(match bus.submit(&source, draft, retain).await {
                Ok(underway) => {
                    Box::pin(async move { told(underway.recorded().await.map(Told::Event)) })
                }
                Err(fault) => Box::pin(ready(told(Err(fault)))),
            })
        }));
    }

    fn ring(
        &mut self,
        report: Report,
        declared: Vec<AlertDeclaration>,
        id: Option<Id<'static>>,
        bytes: usize,
    ) {
        self.bytes += bytes;
        let (alarm, source) = (self.ways.alarm.clone(), Arc::clone(&self.source));
        self.enter(Box::pin(async move {
            let wants_answer = id.is_some();
            let told = move |outcome| Recorded { outcome, id, bytes, costs_credit: true };
            Entered(match alarm.submit(&source, (report, declared), wants_answer).await {
                Ok(submitted) => {
                    Box::pin(async move { told(submitted.done().await.map(Told::Alert)) })
                }
                Err(fault) => Box::pin(ready(told(Err(fault)))),
            })
        }));
    }

    fn enter(&mut self, mut entering: Entering) {
        match (&mut entering).now_or_never() {
            Some(Entered(append)) => self.appends.push_back(append),
            None => self.entering = Some(entering),
        }
    }

    fn refused(&mut self, fault: &Fault, id: Option<Id<'static>>, counted: bool) -> Vec<Frame> {
        if counted {
            self.counters.events_refused.add_one();
        }
        if id.is_none() {
            self.voice.say(Level::WARN, "refused event", &fault.to_string());
        }
        let answer = id.map(|id| Frame::fault(id, fault));
        answer.into_iter().chain(self.give_back(counted)).collect()
    }

    fn give_back(&mut self, costs_credit: bool) -> Option<Frame> {
        self.credit += u32::from(costs_credit);
        if self.credit < self.credit_worth {
            return None;
        }
        let credit = Credit { n: std::mem::take(&mut self.credit) };
        Json::of(&credit).ok().map(|params| Frame::notification(method::CREDIT, params))
    }
}

/// What a plugin says of alerts.
pub fn read_report(asked: &str, frame: &Frame) -> Result<Report, Fault> {
    let read = match asked {
        method::ALERT_RAISE => frame.read_params().map(Report::Raise),
        method::ALERT_CLEAR => frame.read_params().map(Report::Clear),
        _ => frame.read_params().map(Report::Sync),
    };
    let report = read.map_err(|error| Fault::bad_request(format!("{asked}: {error}")))?;
    report.check().map_err(Fault::bad_request)?;
    Ok(report)
}

async fn entered(entering: &mut Option<Entering>) -> Entered {
    match entering {
        Some(entering) => entering.await,
        None => std::future::pending().await,
    }
}
