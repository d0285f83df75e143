//! Floor 1: how those who notice that something is wrong say so.
//!
//! It knows a queue and what the daemon itself can raise. It must not know what becomes of it:
//! `alerts` reads the other end. `host` says here what plugins say, and every part of the daemon
//! what it notices of itself; so none of them needs to know `alerts`.

use std::sync::LazyLock;

use protocol::alert::{AlertDeclaration, Clear, Raise, Report};
use protocol::link::Alerted;
use protocol::{Class, Fault, FaultKind};
use tokio::sync::{mpsc, oneshot};

/// Reports that wait: more than all plugins together have under way when nothing is stuck.
const REPORTS_MAX: usize = 1_024;
/// The source of what the daemon says of itself.
pub const OWN: &str = "sysadmd";

static DECLARED: LazyLock<Vec<AlertDeclaration>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("alarm/own.json")).unwrap_or_else(|error| {
        tracing::error!(%error, "the daemon's own alerts are declared wrong");
        Vec::new()
    })
});

/// What the daemon itself can raise.
pub fn own_alerts() -> &'static [AlertDeclaration] {
    &DECLARED
}

/// A report on its way.
#[derive(Debug)]
pub struct Ring {
    /// The plugin, or [`OWN`].
    pub source: String,
    /// What is said.
    pub report: Report,
    /// What is declared of each kind that is named.
    pub declared: Vec<AlertDeclaration>,
    /// Who waits for it to be durable; without anybody it is tried again until it is.
    pub reply: Option<oneshot::Sender<Result<Alerted, Fault>>>,
}

/// Says what is wrong. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Alarm(mpsc::Sender<Ring>);

impl Alarm {
    /// The handle, and the other end.
    pub fn new() -> (Self, mpsc::Receiver<Ring>) {
        let (sender, rings) = mpsc::channel(REPORTS_MAX);
        (Self(sender), rings)
    }

    /// Hands a report of a plugin over, waiting for room in the queue; nothing that is handed over
    /// later comes before it. Who wants to know when it is durable waits for what this returns.
    ///
    /// # Errors
    /// `unavailable` when the daemon stops.
    pub async fn submit(
        &self,
        source: &str,
        (report, declared): (Report, Vec<AlertDeclaration>),
        wants_answer: bool,
    ) -> Result<Submitted, Fault> {
        let (reply, answer) = oneshot::channel();
        let reply = wants_answer.then_some(reply);
        let ring = Ring { source: source.to_owned(), report, declared, reply };
        self.0.send(ring).await.map_err(|_| stopping())?;
        Ok(Submitted(wants_answer.then_some(answer)))
    }

    /// Something is wrong with the daemon itself. Never waits.
    pub fn raise(&self, kind: &str, subject: &str, message: String) {
        self.measure(kind, subject, message, None);
    }

    /// How something of the daemon itself is; whether that is wrong, the thresholds of its kind say.
    /// Never waits.
    pub fn measure(&self, kind: &str, subject: &str, message: String, value: Option<i64>) {
        let Some(declared) = own(kind) else { return };
        let raise = Raise {
            kind: declared.kind.clone(),
            subject: subject.to_owned(),
            priority: None,
            message,
            advice: String::new(),
            value,
            data: protocol::Json::default(),
        };
        self.say(Report::Raise(raise), declared);
    }

    /// It is over. Never waits.
    pub fn clear(&self, kind: &str, subject: &str) {
        let Some(declared) = own(kind) else { return };
        let clear = Clear { kind: declared.kind.clone(), subject: subject.to_owned() };
        self.say(Report::Clear(clear), declared);
    }

    fn say(&self, report: Report, declared: &AlertDeclaration) {
        let ring =
            Ring { source: OWN.to_owned(), report, declared: vec![declared.clone()], reply: None };
        if let Err(error) = self.0.try_send(ring) {
            tracing::error!(kind = declared.kind.as_str(), %error, "an alert was lost");
        }
    }
}

/// A report in the queue.
#[derive(Debug)]
pub struct Submitted(Option<oneshot::Receiver<Result<Alerted, Fault>>>);

impl Submitted {
    /// Waits until it is durable, if somebody wanted to know.
    ///
    /// # Errors
    /// `bad-request`, `too-many` when too much is wrong already, `unavailable` when it cannot be
    /// recorded or the daemon stops.
    pub async fn done(self) -> Result<Alerted, Fault> {
        match self.0 {
            Some(answer) => answer.await.map_err(|_| stopping())?,
            None => Ok(Alerted::default()),
        }
    }
}

fn own(kind: &str) -> Option<&'static AlertDeclaration> {
    let found = DECLARED.iter().find(|declared| declared.kind.as_str() == kind);
    if found.is_none() {
        tracing::error!(kind, "the daemon does not declare this alert");
    }
    found
}

/// The declaration of a kind among those that are declared.
pub fn declaration<'a>(
    declared: &'a [AlertDeclaration],
    kind: &Class,
) -> Option<&'a AlertDeclaration> {
    declared.iter().find(|it| it.kind == *kind)
}

fn stopping() -> Fault {
    Fault::new(FaultKind::Unavailable, "the daemon is stopping").with_retry_after_ms(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_of_our_own_is_declared_right_and_says_what_to_do() {
        assert_eq!(own_alerts().len(), 5);
        for declared in own_alerts() {
            assert_eq!(declared.check(), Ok(()));
            assert!(!declared.summary.is_empty() && !declared.advice.is_empty());
        }
    }

    #[tokio::test]
    async fn a_report_without_anybody_at_the_other_end_is_no_panic() {
        let (alarm, rings) = Alarm::new();
        drop(rings);
        alarm.raise("daemon.overloaded", "", "too many".to_owned());
        let clear =
            Report::Clear(Clear { kind: own_alerts()[0].kind.clone(), subject: String::new() });
        let fault = alarm.submit("x", (clear, Vec::new()), true).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
    }
}
