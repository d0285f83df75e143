//! A call of a trigger's URL: from the look-up to what is begun because of it.
//!
//! Whoever is not entitled is answered as if there were nothing: an unknown URL, one that was
//! revoked, a wrong network and a wrong signature look alike. Why it was, the audit trail knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::{Fault, FaultKind, Time};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::order::{KeptRun, Order, Run, State, Word};
use super::{Entry, hash, locked, run, telling, unreadable};
use crate::access::redact::redact;
use crate::access::{Deed, Origin};
use crate::dispatch::Dispatch;
use crate::store::{OrderChange, StoredSeen};
use crate::trigger::gate::Verdict;
use crate::trigger::signature::{Headers, Objection, Signed, verify};
use crate::trigger::turns::Turn;
use crate::trigger::{number, payload};

/// What the audit trail calls a call of a URL.
const METHOD: &str = "trigger/call";
/// Whoever has the URL, in the audit trail, when it leads nowhere.
const NOBODY: &str = "anonymous";
/// Bytes of a body that are handed on.
const BODY_PASSED: usize = 16 * 1024;
/// Signed calls that are remembered; beyond them none is taken until some are old.
const SEEN_MAX: u64 = 200_000;

/// A call, before its body is read.
#[derive(Debug)]
pub struct Knock<'a> {
    /// From where.
    pub origin: Origin,
    /// The secret in the URL.
    pub secret: &'a str,
    /// The service in the URL, if one is there.
    pub service: Option<&'a str>,
    /// What stands at the end of the URL.
    pub number: Option<&'a str>,
    /// What may be signed.
    pub headers: Headers,
    /// How the body is written.
    pub content_type: Option<&'a str>,
    /// By which program.
    pub user_agent: Option<&'a str>,
    /// Whether only is said what would be done.
    pub dry_run: bool,
}

/// A trigger that there is.
#[derive(Debug, Clone)]
pub struct Known {
    entry: Arc<Entry>,
    secret: Uuid,
    number: Option<u32>,
}

/// How a trigger is called, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// Its name.
    pub name: String,
    /// What it does, in Docker Cloud's word or as `namespace/name`.
    pub operation: String,
    /// The service it is done to.
    pub service: Option<String>,
    /// The secret in its URL.
    pub secret: Uuid,
    /// `begun`, `waiting`, `coalesced`, `duplicate`, `no-match` or `dry-run`.
    pub result: &'static str,
    /// What was begun, or was before.
    pub run: Option<TriggerRun>,
    /// Of a dry run: the call that would be made.
    pub plan: Option<Value>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerRun {
    /// Its identity.
    pub id: Uuid,
    /// `pending`, `running`, `done`, `failed` or `cancelled`.
    pub state: &'static str,
    /// When it was asked for.
    pub created: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// Why it did not work.
    pub error: Option<String>,
    /// Whether nothing comes after this state.
    pub has_ended: bool,
}

impl TriggerRun {
    fn of(run: &Run) -> Self {
        let error = run.error.as_ref().map(|fault| fault.message.clone());
        Self {
            id: run.id,
            state: run.state.as_str(),
            created: run.created,
            ended: run.ended,
            error,
            has_ended: run.state.is_end(),
        }
    }
}

impl Dispatch {
    /// Finds the trigger that a URL belongs to, and looks at all that can be judged without the body.
    ///
    /// # Errors
    /// `not-found` for whoever is not entitled, `bad-request` for a wrong number.
    pub async fn trigger_known(&self, knock: &Knock<'_>) -> Result<Known, Fault> {
        let secret = Uuid::try_parse(knock.secret).ok().filter(|_| knock.secret.len() == 36);
        let entry = secret.and_then(|it| self.0.orders.book().by_hash.get(&hash(it)).cloned());
        let (Some(entry), Some(secret)) = (entry, secret) else {
            return Err(self.trigger_refused(knock, None, "unknown", nothing()).await);
        };
        let order = entry.order.lock().await;
        let is_of = |service: &str| order.operation.service.as_deref() == Some(service);
        let is_over = order.bounds.judge(&order.used, self.0.clock.now()) == Verdict::Over;
        let why = if knock.service.is_some_and(|service| !is_of(service)) {
            Some("unknown")
        } else if entry.has_ended() || !order.enabled {
            Some("disabled")
        } else if is_over {
            Some("over")
        } else if !entry.sources.accepts(knock.origin.peer) {
            Some("network")
        } else {
            None
        };
        let judged = judged_number(&order, knock.number);
        drop(order);
        if let Some(why) = why {
            return Err(self.trigger_refused(knock, Some(entry.id), why, nothing()).await);
        }
        match judged {
            Ok(number) => Ok(Known { entry, secret, number }),
            // Whoever cannot sign is not told that there is something.
            Err(_) if entry.has_signature().await => {
                Err(self.trigger_refused(knock, Some(entry.id), "number", nothing()).await)
            }
            Err(why) => {
                let fault = Fault::bad_request(why);
                Err(self.trigger_refused(knock, Some(entry.id), "number", fault).await)
            }
        }
    }

    /// Puts a refused call on record, as far as its source has not been refused too often lately.
    async fn trigger_refused(
        &self,
        knock: &Knock<'_>,
        trigger: Option<Uuid>,
        why: &'static str,
        fault: Fault,
    ) -> Fault {
        let args = json!({ "trigger": trigger, "why": why });
        let actor = trigger.map_or_else(|| NOBODY.to_owned(), |id| format!("trigger:{id}"));
        let deed = Deed {
            actor: &actor,
            origin: knock.origin,
            method: METHOD,
            action: None,
            args: &args,
            secrets: &[],
        };
        self.0.access.journal().refused(&deed, fault.kind).await;
        let peer = knock.origin.peer.to_string();
        if self.0.orders.0.refusals.count(trigger, why, &peer) {
            let reasons = BTreeMap::from([(why, 1)]);
            self.0.orders.tell_refused(trigger, 1, &reasons, &[peer]).await;
        }
        fault
    }

    /// A call whose body could not be read.
    pub async fn trigger_unread(&self, knock: &Knock<'_>, known: &Known, fault: Fault) -> Fault {
        let hidden = known.entry.has_signature().await;
        let shown = if hidden { nothing() } else { fault };
        self.trigger_refused(knock, Some(known.entry.id), "body", shown).await
    }

    /// Calls a trigger.
    ///
    /// # Errors
    /// `not-found` without the right signature, `too-many` beyond its rate or within its interval,
    /// `unavailable` when it cannot be recorded.
    pub async fn trigger_called(
        &self,
        knock: &Knock<'_>,
        known: &Known,
        body: &[u8],
    ) -> Result<Called, Fault> {
        let entry = &known.entry;
        let signed = match self.check_signature(knock, entry, body).await {
            Ok(signed) => signed,
            Err(why) => {
                return Err(self.trigger_refused(knock, Some(entry.id), why, nothing()).await);
            }
        };
        let room = locked(&entry.bucket).take(Instant::now());
        if let Err(later) = room {
            let fault = later_than(later - Instant::now(), "this trigger is called too often");
            return Err(self.trigger_refused(knock, Some(entry.id), "rate", fault).await);
        }
        // From here on one after the other, so that of two equal ones the second is the repetition.
        let mut order = entry.order.lock().await;
        if let Some(key) = signed.and_then(|signed| signed.key) {
            let now = self.0.clock.now();
            let seen = self.0.orders.0.store.run_seen(key, now).await;
            let (before, all) = seen.map_err(|error| unreadable(&error))?;
            if let Some(before) = before {
                return self
                    .trigger_answered(knock, known, &order, ("duplicate", Some(before)))
                    .await;
            }
            if all >= SEEN_MAX {
                let fault =
                    later_than(Duration::from_mins(10), "too many signed calls are remembered");
                return Err(self.trigger_refused(knock, Some(entry.id), "full", fault).await);
            }
        }
        if !order.terms.matching.is_empty() {
            let said = payload::read(knock.content_type, body);
            if !said.is_some_and(|said| order.terms.matching.covers(&said)) {
                return self.trigger_answered(knock, known, &order, ("no-match", None)).await;
            }
        }
        if knock.dry_run {
            return self.trigger_answered(knock, known, &order, ("dry-run", None)).await;
        }
        match order.bounds.judge(&order.used, self.0.clock.now()) {
            Verdict::Open => {}
            Verdict::Over => {
                return Err(self.trigger_refused(knock, Some(entry.id), "over", nothing()).await);
            }
            Verdict::Later(wait) => {
                let fault = later_than(wait, "this trigger was called a short while ago");
                return Err(self.trigger_refused(knock, Some(entry.id), "interval", fault).await);
            }
        }
        self.trigger_begins(knock, known, &mut order, (signed, body)).await
    }

    async fn check_signature(
        &self,
        knock: &Knock<'_>,
        entry: &Entry,
        body: &[u8],
    ) -> Result<Option<Signed>, &'static str> {
        let Some(scheme) = entry.order.lock().await.terms.signature else { return Ok(None) };
        // Without its secret nothing can be right.
        let secret = entry.signing.as_ref().ok_or("signature")?;
        let now = self.0.clock.now();
        let signed = verify(scheme, secret, &knock.headers, body, now);
        signed.map(Some).map_err(Objection::as_str)
    }

    /// Something that begins nothing, on record.
    async fn trigger_answered(
        &self,
        knock: &Knock<'_>,
        known: &Known,
        order: &Order,
        (result, run): (&'static str, Option<Uuid>),
    ) -> Result<Called, Fault> {
        let message = format!("Trigger {} was called: {result}", order.title());
        self.trigger_recorded(knock, order, (result, run, &message), OrderChange::default())
            .await?;
        let run = match run {
            Some(id) => self.trigger_run_of(known, id).await?,
            None => None,
        };
        let plan = (result == "dry-run").then(|| {
            let args = order.operation.args_for(known.number, None);
            json!([{ "method": order.operation.method, "args": redact(&args, &[]) }])
        });
        Ok(Called { plan, ..called(known, order, result, run) })
    }

    async fn trigger_begins(
        &self,
        knock: &Knock<'_>,
        known: &Known,
        order: &mut Order,
        (signed, body): (Option<Signed>, &[u8]),
    ) -> Result<Called, Fault> {
        let entry = &known.entry;
        let coalesce = order.terms.coalesce;
        let turn = if coalesce { locked(&entry.turns).look() } else { Turn::Now };
        if let Turn::Same(waiting) = turn {
            return self.trigger_answered(knock, known, order, ("coalesced", Some(waiting))).await;
        }
        let result = if turn == Turn::Now { "begun" } else { "waiting" };
        let now = self.0.clock.now();
        let run = new_run(knock, known, order, (now, body))?;
        let mut next = order.clone();
        next.used = order.used.once_more(now);
        let seen = signed.and_then(|signed| {
            let until = later(now, signed.remembered);
            Some(StoredSeen { key: signed.key?, until, run: run.run.id })
        });
        let change = OrderChange {
            order: Some(entry.stored(&next)?),
            runs: vec![run.stored()?],
            seen,
            gone: None,
        };
        let message = format!("Trigger {} was called", order.title());
        self.trigger_recorded(knock, order, (result, Some(run.run.id), &message), change).await?;
        *order = next;
        self.0.orders.may_be_waited_for(run.run.id);
        let shown = TriggerRun::of(&run.run);
        // What it would have waited for may have ended while this was put on record.
        if !coalesce || locked(&entry.turns).enter(run.run.id) == Turn::Now {
            let (dispatch, entry) = (self.clone(), Arc::clone(entry));
            self.0.orders.0.tasks.spawn(run::drive(dispatch, entry, run));
        }
        Ok(called(known, order, result, Some(shown)))
    }

    /// The event, the audit trail and the change in one step.
    async fn trigger_recorded(
        &self,
        knock: &Knock<'_>,
        order: &Order,
        (result, run, message): (&'static str, Option<Uuid>, &str),
        change: OrderChange,
    ) -> Result<(), Fault> {
        let delivery = knock.headers.delivery();
        let data = json!({
            "result": result, "run": run, "peer": knock.origin.peer.to_string(), "delivery": delivery,
        });
        let draft = telling("trigger.called", order, message, data)?;
        let args = json!({
            "trigger": order.id, "name": order.name, "result": result, "run": run,
            "delivery": delivery, "user_agent": knock.user_agent,
        });
        let (actor, origin) = (order.actor(), knock.origin);
        let deed =
            Deed { actor: &actor, origin, method: METHOD, action: None, args: &args, secrets: &[] };
        let recorded = (Some(deed.entry("done")), change);
        self.0.bus.publish_order(super::SOURCE, draft, recorded).await.map(|_| ())
    }

    /// A run of a trigger, for whoever has its URL; waits so long for its end.
    ///
    /// # Errors
    /// `not-found` when it is no run of this trigger.
    pub async fn trigger_run(
        &self,
        known: &Known,
        id: Uuid,
        wait: Duration,
    ) -> Result<Called, Fault> {
        self.0.orders.wait(id, wait).await;
        let run = self.trigger_run_of(known, id).await?.ok_or_else(nothing)?;
        let order = known.entry.order.lock().await;
        Ok(called(known, &order, run.state, Some(run.clone())))
    }

    async fn trigger_run_of(&self, known: &Known, id: Uuid) -> Result<Option<TriggerRun>, Fault> {
        let kept = self.0.orders.0.store.run(id).await.map_err(|error| unreadable(&error))?;
        let run = kept.filter(|kept| kept.owner == known.entry.id);
        Ok(run.as_ref().and_then(KeptRun::read).map(|kept| TriggerRun::of(&kept.run)))
    }
}

impl super::Orders {
    pub(super) fn may_be_waited_for(&self, run: Uuid) {
        locked(&self.0.live).insert(run, tokio::sync::watch::Sender::new(false));
    }

    /// Waits for the end of a run, so long at most.
    async fn wait(&self, run: Uuid, wait: Duration) {
        let mut ended = match locked(&self.0.live).get(&run) {
            Some(live) if !wait.is_zero() => live.subscribe(),
            _ => return,
        };
        // An error means that it has ended; so does a word.
        timeout(wait, ended.wait_for(|has_ended| *has_ended)).await.ok();
    }
}

impl Entry {
    async fn has_signature(&self) -> bool {
        self.order.lock().await.terms.signature.is_some()
    }
}

fn new_run(
    knock: &Knock<'_>,
    known: &Known,
    order: &Order,
    (now, body): (Time, &[u8]),
) -> Result<KeptRun, Fault> {
    let passes = order.terms.pass_body && order.operation.word == Some(Word::Redeploy);
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= BODY_PASSED);
    let fits = text.filter(|text| !text.contains('\0'));
    let dropped = passes && fits.is_none();
    let run = Run {
        id: run::new_id()?,
        order: order.id,
        operation: order.operation.title(),
        service: order.operation.service.clone(),
        state: State::Pending,
        created: now,
        started: None,
        ended: None,
        number: known.number,
        job: None,
        error: None,
        peer: knock.origin.peer.to_string(),
        user_agent: knock.user_agent.map(|text| text.chars().take(128).collect()),
        delivery: knock.headers.delivery(),
        note: dropped.then(|| {
            format!("the body was not handed on: it is no text of at most {BODY_PASSED} bytes")
        }),
    };
    Ok(KeptRun { run, body: fits.filter(|text| passes && !text.is_empty()).map(str::to_owned) })
}

fn called(known: &Known, order: &Order, result: &'static str, run: Option<TriggerRun>) -> Called {
    Called {
        name: order.name.clone(),
        operation: order.operation.title(),
        service: order.operation.service.clone(),
        secret: known.secret,
        result,
        run,
        plan: None,
    }
}

fn judged_number(order: &Order, text: Option<&str>) -> Result<Option<u32>, String> {
    let Some(text) = text else { return Ok(None) };
    match order.operation.word {
        Some(Word::ScaleUp) => number(text, order.terms.max_scale).map(Some),
        _ => Err("only SCALEUP takes a number at the end of its URL".to_owned()),
    }
}

fn nothing() -> Fault {
    Fault::not_found("there is no such trigger")
}

fn later_than(wait: Duration, sentence: &str) -> Fault {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    Fault::new(FaultKind::TooMany, sentence).with_retry_after_ms(wait)
}

pub(super) fn later(time: Time, span: Duration) -> Time {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Time::from_micros(time.micros().saturating_add(micros))
}
