//! How a process comes to its end: asked, told, killed, gone.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use protocol::link::{Shutdown, method};
use protocol::{Fault, FaultKind, Json};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{End, Instance, News, Order};
use crate::host::{launch, process};

/// From SIGTERM to SIGKILL: what systemd's own services rarely need.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// From SIGKILL to giving up: only a process stuck in the kernel takes longer.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// How long what a dead process left in its pipes is read, should somebody else hold them open.
const REMAINS_GRACE: Duration = Duration::from_millis(500);
/// How long events it published are waited for.
const RECORD_GRACE: Duration = Duration::from_secs(5);
/// Milliseconds after which to try a plugin again whose process has just ended.
const RETRY_MS: u64 = 500;

/// How far a process is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// It has to answer the handshake.
    Starting { until: Instant },
    /// It takes calls.
    Serving,
    /// It finishes the calls it has.
    Draining,
    /// It has been sent `shutdown`.
    Asked { until: Instant, number: u64 },
    /// Its group has been sent SIGTERM.
    Told { until: Instant },
    /// Its group has been sent SIGKILL.
    Killed { until: Instant },
    /// It has ended; its pipes may still hold something.
    Gone { until: Instant },
}

impl Phase {
    /// When this phase is over at the latest.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Serving | Self::Draining => None,
            Self::Starting { until }
            | Self::Asked { until, .. }
            | Self::Told { until }
            | Self::Killed { until }
            | Self::Gone { until } => Some(until),
        }
    }

    /// Whether calls are passed on.
    pub(super) fn is_serving(self) -> bool {
        matches!(self, Self::Serving | Self::Draining)
    }
}

impl Instance {
    /// Does what the supervisor ordered last.
    pub(super) fn obey(&mut self) {
        let order = self.orders.borrow_and_update().clone();
        match order {
            Order::Serve => {}
            Order::Drain if self.phase.is_serving() => {
                self.asks.close();
                self.phase = Phase::Draining;
            }
            Order::Drain => self.stop("it is not needed any more".to_owned()),
            Order::Stop(reason) => self.stop(reason),
        }
    }

    /// Ends a drained process.
    pub(super) fn finish_draining(&mut self) {
        let is_drained = self.asks_over && self.calls.is_empty();
        if matches!(self.phase, Phase::Draining) && is_drained {
            self.stop("a new process has taken its place".to_owned());
        }
    }

    /// Asks the plugin to end, with its grace.
    fn stop(&mut self, reason: String) {
        if !matches!(self.phase, Phase::Starting { .. } | Phase::Serving | Phase::Draining) {
            return;
        }
        self.settle_on(reason.clone());
        let grace_ms = self.setup.spec.manifest.limits.stop_ms;
        let params = Json::of(&Shutdown { reason, grace_ms }).unwrap_or_default();
        let number = self.request(method::SHUTDOWN, params);
        let until = Instant::now() + Duration::from_millis(grace_ms);
        self.phase = Phase::Asked { until, number };
    }

    /// Ends a plugin that broke the rules: no grace but SIGTERM's.
    pub(super) fn abort(&mut self, reason: String) {
        let is_ending =
            matches!(self.phase, Phase::Told { .. } | Phase::Killed { .. } | Phase::Gone { .. });
        if !is_ending {
            self.tell(News::Ending(reason.clone()));
            self.settle_on(reason);
            // What it would still answer is not to be trusted, and nobody has to wait for its end.
            self.calls.fail(&gone(&self.setup.spec.manifest.id));
            self.terminate(Instant::now());
        }
    }

    /// The plugin has answered `shutdown`: the end of its standard input is the last word.
    pub(super) fn answered_shutdown(&mut self, answered: u64) {
        if matches!(self.phase, Phase::Asked { number, .. } if number == answered) {
            self.close_stdin();
        }
    }

    /// The time of the phase is over.
    pub(super) fn escalate(&mut self, now: Instant) {
        match self.phase {
            Phase::Starting { .. } => {
                let most = self.setup.spec.manifest.limits.start_ms;
                self.abort(format!("it did not answer initialize within {most} ms"));
            }
            Phase::Asked { .. } => self.terminate(now),
            Phase::Told { .. } => {
                self.process.kill();
                self.phase = Phase::Killed { until: now + KILL_GRACE };
            }
            Phase::Killed { .. } => {
                let (plugin, pid) = (&self.setup.spec.manifest.id, self.process.pid());
                tracing::error!(plugin, pid, "the process survives SIGKILL; it is given up");
                self.phase = Phase::Gone { until: now };
            }
            Phase::Serving | Phase::Draining | Phase::Gone { .. } => {}
        }
    }

    /// The process has ended, by itself or not.
    pub(super) fn exited(&mut self, status: io::Result<ExitStatus>) {
        self.could_not_begin = self.ready_since.is_none()
            && status.as_ref().is_ok_and(|status| launch::has_failed(*status));
        self.settle_on(process::describe(status));
        self.close_stdin();
        self.phase = Phase::Gone { until: Instant::now() + REMAINS_GRACE };
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        let Phase::Gone { until } = self.phase else { return false };
        let is_silent = self.stdout.is_none() && self.stderr.is_none();
        is_silent && self.publisher.is_idle() || until <= Instant::now()
    }

    /// The last act: what was published is waited for, who still waits is told.
    pub(super) async fn finish(mut self) -> End {
        self.calls.fail(&gone(&self.setup.spec.manifest.id));
        let recording = async {
            while !self.publisher.is_idle() {
                if let Some(recorded) = self.publisher.next().await {
                    // Its answer has nobody to go to; counting it is what matters.
                    drop(self.publisher.settle(recorded));
                }
            }
        };
        if timeout(RECORD_GRACE, recording).await.is_err() {
            let plugin = &self.setup.spec.manifest.id;
            tracing::error!(plugin, "its last events are still not recorded");
        }
        let ran = self.ready_since.map(|since| since.elapsed()).unwrap_or_default();
        let confined = self.last_of_launcher.filter(|_| self.could_not_begin);
        let reason = confined.or(self.ending).unwrap_or_else(|| "it ended".to_owned());
        End { reason, ran }
    }

    fn terminate(&mut self, now: Instant) {
        self.close_stdin();
        self.process.terminate();
        self.phase = Phase::Told { until: now + TERM_GRACE };
    }

    /// From here on it takes no calls. The first reason is the one that counts.
    fn settle_on(&mut self, reason: String) {
        self.asks.close();
        self.calls.refuse_waiting(&not_begun(&self.setup.spec.manifest.id));
        self.ending.get_or_insert(reason);
    }
}

/// What callers are told whose call was not begun.
pub(crate) fn not_begun(plugin: &str) -> Fault {
    let sentence = format!("the plugin {plugin} takes no calls at the moment");
    Fault::new(FaultKind::Unavailable, sentence).with_retry_after_ms(RETRY_MS)
}

/// What callers are told whose plugin has ended under them.
pub(crate) fn gone(plugin: &str) -> Fault {
    let sentence = format!("the plugin {plugin} ended before it had answered");
    Fault::new(FaultKind::Unavailable, sentence)
        .with_hint("whether the work was done is not known; look before you ask again")
        .with_retry_after_ms(RETRY_MS)
        .with_details(json!({ INTERRUPTED: true }))
}

/// Marks, among a fault's details, that nobody knows what was done.
const INTERRUPTED: &str = "interrupted";

/// Whether a call was cut off by the end of its plugin.
pub(crate) fn is_interrupted(fault: &Fault) -> bool {
    fault.details[INTERRUPTED] == true
}
