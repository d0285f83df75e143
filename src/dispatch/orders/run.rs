//! A run, from its turn to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::manifest::Kind;
use protocol::{Fault, FaultKind, Priority, Request};
use serde_json::{Value, json};
use uuid::Uuid;

use super::order::{KeptRun, Order, State};
use super::{Entry, Orders, locked, telling};
use crate::access::{Origin, Peer, Principal};
use crate::dispatch::jobs::state::State as JobState;
use crate::dispatch::jobs::work::Task;
use crate::dispatch::jobs::{Wanted, make};
use crate::dispatch::{Asked, Dispatch};
use crate::store::OrderChange;
use crate::trigger::turns::Turn;

/// What the audit trail calls the way by which an order's call comes.
const FACE: &str = "trigger";
/// How long until an end that could not be recorded is tried again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// A new identity, in the shape that Docker Cloud's clients know.
pub(super) fn new_id() -> Result<Uuid, Fault> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gave no random bytes");
        Fault::internal()
    })?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// Takes a run to its end, and then the one that has waited for it.
pub(super) async fn drive(dispatch: Dispatch, entry: Arc<Entry>, first: KeptRun) {
    let orders = &dispatch.0.orders;
    let stop = orders.0.tasks.stop_signal();
    let mut next = Some(first);
    while let Some(mut kept) = next.take() {
        tokio::select! {
            // It stays as it is on record, and is taken up at the next start.
            () = stop.wait() => return,
            () = one(&dispatch, &entry, &mut kept) => {}
        }
        let mut waiting = locked(&entry.turns).end(kept.run.id);
        while let Some(id) = waiting.filter(|_| next.is_none()) {
            next = orders.kept(id).await;
            if next.is_none() {
                waiting = locked(&entry.turns).end(id);
            }
        }
    }
}

async fn one(dispatch: &Dispatch, entry: &Entry, kept: &mut KeptRun) {
    let orders = &dispatch.0.orders;
    let order = entry.order.lock().await.clone();
    let done = if entry.has_ended() || !order.enabled {
        kept.run.state = State::Cancelled;
        Ok(())
    } else {
        kept.run.state = State::Running;
        kept.run.started.get_or_insert(dispatch.0.clock.now());
        orders.note(kept).await;
        let done = perform(dispatch, &order, kept).await;
        kept.run.state = if done.is_ok() { State::Done } else { State::Failed };
        done
    };
    kept.run.error = done.err();
    kept.run.ended = Some(dispatch.0.clock.now());
    // What came with the call is of no use any more.
    kept.body = None;
    orders.record_end(&order, kept).await;
    if let Some(live) = locked(&orders.0.live).remove(&kept.run.id) {
        live.send_replace(true);
    }
}

/// How an order's call is made.
pub(super) struct Doing {
    /// With what.
    pub(super) args: Value,
    /// The job's: asked for again after a crash it is the same one.
    pub(super) key: String,
    /// In which line it waits.
    pub(super) queue: Option<String>,
    /// From where.
    pub(super) origin: Origin,
}

/// Why something did not work.
pub(super) struct Ended {
    /// In a sentence.
    pub(super) fault: Fault,
    /// Whether nobody knows how far it came.
    pub(super) cut_off: bool,
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self { fault, cut_off: false }
    }
}

/// Makes the call; what it has come to.
async fn perform(dispatch: &Dispatch, order: &Order, kept: &mut KeptRun) -> Result<(), Fault> {
    if kept.run.job.is_none() {
        let principal = dispatch.principal_of(order).await?;
        let peer = Peer::parse(&kept.run.peer);
        let peer = peer.unwrap_or_else(|| Peer::Local(nix::unistd::geteuid().as_raw()));
        let in_line = !order.terms.coalesce;
        if kept.body.is_some() && !takes_env(dispatch, order) {
            kept.body = None;
            kept.run.note = Some("the body was not handed on: nobody here takes it".to_owned());
        }
        let doing = Doing {
            args: order.operation.args_for(kept.run.number, kept.body.as_deref()),
            key: format!("run-{}", kept.run.id),
            queue: in_line.then(|| format!("trigger-{}", order.id)),
            origin: Origin { peer, face: FACE },
        };
        kept.run.job = begin(dispatch, order, &principal, doing).await?;
        dispatch.0.orders.note(kept).await;
    }
    let Some(job) = kept.run.job else { return Ok(()) };
    follow(dispatch, job).await.map_err(|ended| ended.fault)
}

/// Makes an order's call. Of a plugin's the job is answered; any other is done then, unless it has
/// made a job by itself.
pub(super) async fn begin(
    dispatch: &Dispatch,
    order: &Order,
    principal: &Principal,
    doing: Doing,
) -> Result<Option<Uuid>, Fault> {
    let Doing { args, key, queue, origin } = doing;
    let method = order.operation.method.as_str();
    let (namespace, name) = method.split_once('/').unwrap_or_default();
    let request = Request::new(namespace, name, args);
    let asked = Asked { origin, principal, method, version: 1, request: &request };
    let found = dispatch.find(&asked).map_err(|fault| undeclared(order, fault))?;
    if found.plugin.is_some() {
        let mut wanted = Wanted::new(Task::Call(request.clone()));
        wanted.key = Some(key);
        wanted.queue = queue.filter(|_| found.kind == Kind::Mutate);
        return make(dispatch, &asked, wanted).await.map(|(id, _)| Some(id));
    }
    let answer = dispatch.call(origin, Some(principal), &request).await?;
    let answer: Value = answer.read().unwrap_or_default();
    Ok(answer["job"]["id"].as_str().and_then(|id| id.parse().ok()))
}

/// Whether what does it takes variables for new containers.
fn takes_env(dispatch: &Dispatch, order: &Order) -> bool {
    let (method, action) = (order.operation.method.as_str(), order.operation.action());
    let methods = dispatch.0.host.methods();
    let mut known = methods.iter().map(|known| &known.method);
    let found = known.find(|it| it.method == method && it.action.as_deref() == action);
    found.is_some_and(|it| it.params["properties"]["env"].is_object())
}

/// What Docker Cloud has a word for, and nobody here does.
fn undeclared(order: &Order, fault: Fault) -> Fault {
    match order.operation.word {
        Some(word) => {
            let sentence = format!("nobody here does {}: {}", word.as_str(), fault.message);
            Fault::new(FaultKind::Unavailable, sentence)
        }
        None => fault,
    }
}

/// Waits for the end of a job.
pub(super) async fn follow(dispatch: &Dispatch, id: Uuid) -> Result<(), Ended> {
    let job = dispatch.0.jobs.end_of(id).await?;
    let Some(job) = job else {
        return Err(Fault::not_found(format!("the job {id} is not known any more")).into());
    };
    let (state, cut_off) = (job.state, job.state == JobState::Interrupted);
    if state == JobState::Done {
        return Ok(());
    }
    let fault = job.error.unwrap_or_else(|| {
        Fault::new(FaultKind::Failed, format!("the job {id} was {}", state.as_str()))
    });
    Err(Ended { fault, cut_off })
}

impl Orders {
    /// Keeps how a run is now; what cannot be kept is found out again after a crash.
    async fn note(&self, kept: &KeptRun) {
        let Ok(run) = kept.stored() else { return };
        let change = OrderChange { runs: vec![run], ..OrderChange::default() };
        if let Err(error) = self.0.store.order_change(change).await {
            tracing::warn!(run = %kept.run.id, %error, "how a run is could not be kept");
        }
    }

    /// Records an end. It has happened, so this goes on trying for as long as the daemon lives.
    async fn record_end(&self, order: &Order, kept: &KeptRun) {
        let run = &kept.run;
        let (title, state) = (order.title(), run.state.as_str());
        let (message, priority) = match &run.error {
            Some(fault) => (format!("Trigger {title} failed: {}", fault.message), 4),
            None => (format!("Trigger {title} is {state}"), 1),
        };
        let data = json!({
            "run": run.id, "state": state, "job": run.job,
            "error": run.error.as_ref().map(|fault| fault.message.as_str()),
        });
        let stop = self.0.tasks.stop_signal();
        while !stop.is_set() {
            let Ok(mut draft) = telling("trigger.ended", order, &message, data.clone()) else {
                return;
            };
            draft.priority = Some(Priority::clamped(priority));
            let Ok(stored) = kept.stored() else { return };
            let change = OrderChange { runs: vec![stored], ..OrderChange::default() };
            match self.record(draft, change).await {
                Ok(()) => return,
                Err(fault) => tracing::warn!(run = %run.id, %fault, "an end is not recorded yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// A run as it is on record.
    async fn kept(&self, id: Uuid) -> Option<KeptRun> {
        let stored = self.0.store.run(id).await;
        let stored = stored.inspect_err(|error| tracing::error!(%error, "a run cannot be read"));
        stored.ok().flatten().as_ref().and_then(KeptRun::read)
    }

    /// Goes on with a run that an earlier life of the daemon has left.
    pub(super) async fn take_up(&self, dispatch: &Dispatch, mut kept: KeptRun) {
        let entry = self.book().by_id.get(&kept.run.order).cloned();
        let Some(entry) = entry else {
            kept.run.state = State::Cancelled;
            kept.run.ended = Some(self.0.clock.now());
            return self.note(&kept).await;
        };
        self.may_be_waited_for(kept.run.id);
        let coalesce = entry.order.lock().await.terms.coalesce;
        if coalesce && locked(&entry.turns).enter(kept.run.id) != Turn::Now {
            return;
        }
        self.0.tasks.spawn(drive(dispatch.clone(), entry, kept));
    }

    /// A trigger is there no more: what waits of it never begins.
    pub(super) fn ends(&self, entry: &Entry) {
        entry.is_gone.store(true, Ordering::SeqCst);
        let mut book = self.book();
        book.by_id.remove(&entry.id);
        if let Some(hash) = entry.hash {
            book.by_hash.remove(&hash);
        }
    }
}
