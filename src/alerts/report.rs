//! What sources say, taken in.

use std::collections::{BTreeMap, BTreeSet};

use protocol::alert::{AlertDeclaration, Clear, Raise, Report, Sync};
use protocol::link::Alerted;
use protocol::{Fault, FaultKind, Time};
use tokio::sync::MutexGuard;

use super::Shared;
use super::book::{Book, Entry, Kept, Key};
use super::rule::{Measured, Rule};
use super::state::{Alert, Input, Seen, State};
use crate::alarm::{Ring, declaration};

/// Reports that could not be recorded and nobody waits for: the newest of each alert is tried again.
/// Beyond the bound they are lost, and the log says so.
const MISSED_MAX: usize = 1_024;

/// Reports to be tried again, the newest of each alert.
pub(super) type Missed = BTreeMap<(String, Option<Key>), (Report, Vec<AlertDeclaration>)>;

impl Shared {
    /// Takes in a report and answers who waits.
    pub(super) async fn hear(&self, ring: Ring) {
        let Ring { source, report, declared, reply } = ring;
        let mut missed = self.missed.lock().await;
        // What is said now is newer than what could not be recorded.
        missed.remove(&(source.clone(), key_of(&source, &report)));
        let outcome = self.report(&source, &report, &declared).await;
        match (reply, outcome) {
            // Who asked may have gone; it is recorded all the same.
            (Some(reply), outcome) => drop(reply.send(outcome)),
            (None, Err(fault)) if fault.kind == FaultKind::Unavailable => {
                if missed.len() >= MISSED_MAX {
                    tracing::error!(source, "an alert was lost: too many wait to be recorded");
                    return;
                }
                missed.insert((source.clone(), key_of(&source, &report)), (report, declared));
            }
            (None, Err(fault)) => tracing::warn!(source, %fault, "an alert was refused"),
            (None, Ok(_)) => {}
        }
    }

    /// Tries again what could not be recorded; whether nothing is left.
    pub(super) async fn hear_missed(&self) -> bool {
        let mut missed = self.missed.lock().await;
        for (key, (report, declared)) in std::mem::take(&mut *missed) {
            let outcome = self.report(&key.0, &report, &declared).await;
            if outcome.is_err_and(|fault| fault.kind == FaultKind::Unavailable) {
                missed.insert(key, (report, declared));
            }
        }
        missed.is_empty()
    }

    async fn report(
        &self,
        source: &str,
        report: &Report,
        declared: &[AlertDeclaration],
    ) -> Result<Alerted, Fault> {
        report.check().map_err(Fault::bad_request)?;
        let now = self.ground.clock.now();
        let mut book = self.book.lock().await;
        match report {
            Report::Raise(raise) => {
                let declared = declaration(declared, &raise.kind).ok_or_else(undeclared)?;
                self.raise(&mut book, source, (raise, declared), now).await
            }
            Report::Clear(clear) => self.clear(&mut book, &key(source, clear), now).await,
            Report::Sync(Sync { alerts }) => {
                let mut named = BTreeSet::new();
                for raise in alerts {
                    let declared = declaration(declared, &raise.kind).ok_or_else(undeclared)?;
                    self.raise(&mut book, source, (raise, declared), now).await?;
                    named.insert(key_of_raise(source, raise));
                }
                for key in book.others(source, &named) {
                    self.clear(&mut book, &key, now).await?;
                }
                Ok(Alerted::default())
            }
        }
    }

    async fn raise(
        &self,
        book: &mut MutexGuard<'_, Book>,
        source: &str,
        (raise, declared): (&Raise, &AlertDeclaration),
        now: Time,
    ) -> Result<Alerted, Fault> {
        let key = key_of_raise(source, raise);
        let rule = Rule::of(declared, &self.ground.rules);
        let known = book.find(&key).cloned();
        let state = known.as_ref().map_or(State::Closed, |entry| entry.kept.alert.state);
        let is_wrong = match rule.measured(raise.value) {
            _ if !rule.enabled => false,
            Measured::Bad => true,
            Measured::Between => matches!(state, State::Open | State::Pending),
            Measured::Good => false,
        };
        if !is_wrong {
            return match rule.measured(raise.value) {
                Measured::Between if rule.enabled => {
                    Ok(told(known.map(|it| it.kept.alert).as_ref()))
                }
                _ => self.clear(book, &key, now).await,
            };
        }
        if state == State::Closed {
            book.check_room(source)?;
        }
        let id = book.next_id();
        let mut entry = known.unwrap_or_else(|| {
            let alert = Alert::new(id, source, raise.kind.clone(), &raise.subject, now);
            Entry::new(Kept { alert, declared: declared.clone() }, rule.clone(), now)
        });
        let seen = Seen {
            priority: rule.priority(raise, declared),
            message: if raise.message.is_empty() { &declared.summary } else { &raise.message }
                .clone(),
            advice: if raise.advice.is_empty() { &declared.advice } else { &raise.advice }.clone(),
            value: raise.value,
            data: raise.data.clone(),
        };
        (entry.rule, entry.kept.declared) = (rule, declared.clone());
        let alert = self.step(book, entry, Input::Raise(seen), now).await?;
        Ok(told(Some(&alert)))
    }

    async fn clear(
        &self,
        book: &mut MutexGuard<'_, Book>,
        key: &Key,
        now: Time,
    ) -> Result<Alerted, Fault> {
        let Some(entry) = book.find(key).cloned() else { return Ok(Alerted::default()) };
        let alert = self.step(book, entry, Input::Clear, now).await?;
        Ok(told(Some(&alert)))
    }
}

fn told(alert: Option<&Alert>) -> Alerted {
    alert.map_or_else(Alerted::default, |alert| Alerted {
        id: Some(alert.id),
        state: alert.state.as_str().to_owned(),
    })
}

/// What a report is about; `None`: everything of its source.
fn key_of(source: &str, report: &Report) -> Option<Key> {
    match report {
        Report::Raise(raise) => Some(key_of_raise(source, raise)),
        Report::Clear(clear) => Some(key(source, clear)),
        Report::Sync(_) => None,
    }
}

fn key(source: &str, Clear { kind, subject }: &Clear) -> Key {
    Key { source: source.to_owned(), kind: kind.clone(), subject: subject.clone() }
}

fn key_of_raise(source: &str, Raise { kind, subject, .. }: &Raise) -> Key {
    Key { source: source.to_owned(), kind: kind.clone(), subject: subject.clone() }
}

/// Whoever hands reports over has looked at what is declared.
fn undeclared() -> Fault {
    Fault::bad_request("the kind of the alert is not declared")
}
