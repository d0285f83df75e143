//! What a job is and how it goes from one state to the next: pure.

use protocol::{Fault, Role, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::progress::Shown;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It waits for its turn. Nothing has been done.
    Queued,
    /// It was begun.
    Running,
    /// It did what it should.
    Done,
    /// It was tried and did not work.
    Failed,
    /// Somebody ended it before it was done.
    Aborted,
    /// It was cut off by the end of the daemon or of the plugin; what it has done is not known.
    Interrupted,
}

impl State {
    /// The word, for example `queued`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether nothing comes after it.
    pub(crate) const fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// What moves a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Its turn has come.
    Start,
    /// Somebody wants it to end.
    AskToEnd,
    /// It has ended like this.
    End(Ending),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    /// It did what it should.
    Done,
    /// It did not work.
    Failed(Fault),
    /// It was ended before it was done; why, when that says more.
    Aborted(Option<Fault>),
    /// It was cut off.
    Interrupted(Fault),
}

impl Ending {
    const fn state(&self) -> State {
        match self {
            Self::Done => State::Done,
            Self::Failed(_) => State::Failed,
            Self::Aborted(_) => State::Aborted,
            Self::Interrupted(_) => State::Interrupted,
        }
    }

    fn fault(self) -> Option<Fault> {
        match self {
            Self::Done => None,
            Self::Failed(fault) | Self::Interrupted(fault) => Some(fault),
            Self::Aborted(fault) => fault,
        }
    }
}

/// A job as it is shown and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Job {
    /// Its identity, for ever.
    pub(crate) id: Uuid,
    /// How far it is.
    pub(crate) state: State,
    /// What it does: a method, `rpc/dispatcher` when it runs commands.
    pub(crate) method: String,
    /// Of methods with actions: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<String>,
    /// What it is done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<String>,
    /// Of one that runs commands: the name its client gave it. Names may repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process_id: Option<String>,
    /// Who asked.
    pub(crate) actor: String,
    /// The least role that may ask for such a job.
    pub(crate) role: Role,
    /// The client's own name for this job: asking again with it makes no second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// In which line it waits; absent: in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<String>,
    /// What it must have for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) locks: Vec<String>,
    /// When it was asked for.
    pub(crate) created: Time,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Time>,
    /// Whether somebody has asked for its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) abort_asked: bool,
    /// Whether doing it again after an interruption goes on where it stopped, or does no harm.
    pub(crate) resumable: bool,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u32,
    /// The job that this one does again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_of: Option<Uuid>,
    /// How far it is, or was when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Shown>,
    /// Bytes it has said; how many of them are kept is for the log to tell.
    #[serde(default)]
    pub(crate) log_bytes: u64,
    /// Why it did not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Fault>,
}

/// A step that a job's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Impossible;

impl Job {
    /// Takes a step at `now`. An impossible one changes nothing.
    ///
    /// # Errors
    /// When the state does not allow it.
    pub(crate) fn step(&mut self, step: Step, now: Time) -> Result<(), Impossible> {
        match (self.state, step) {
            (State::Queued, Step::Start) => {
                self.state = State::Running;
                self.started = Some(now);
            }
            (State::Running, Step::AskToEnd) => self.abort_asked = true,
            // One that was not begun cannot have done anything.
            (State::Queued, Step::End(ending @ (Ending::Failed(_) | Ending::Aborted(_))))
            | (State::Running, Step::End(ending)) => self.end(ending, now),
            _ => return Err(Impossible),
        }
        Ok(())
    }

    fn end(&mut self, ending: Ending, now: Time) {
        self.state = ending.state();
        self.ended = Some(now);
        self.error = ending.fault();
    }

    /// What people call it.
    pub(crate) fn title(&self) -> String {
        match (&self.process_id, &self.action) {
            (Some(name), _) => format!("process {name}"),
            (None, Some(action)) => format!("{} {action}", self.method),
            (None, None) => self.method.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
