//! A run: one task carried out once. Plain data.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a step of a run is at. Every phase can be done again, and is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Snapshots here and there are compared.
    Plan,
    /// What the step needs is held on both sides.
    Protect,
    /// The stream is received where nobody takes it for a snapshot.
    Stage,
    /// What was received is written to the disk.
    Sync,
    /// It is compared with what was to be sent.
    Check,
    /// It becomes a snapshot at its place.
    Commit,
    /// The target is asked whether it has it.
    Ack,
    /// It becomes the base of the next step, and is held as such.
    Advance,
    /// What only this step needed is let go.
    Release,
}

/// How a run is or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// At work.
    Running,
    /// The target has what it should have.
    Done,
    /// It was tried and failed.
    Failed,
    /// Source and target do not fit, and somebody has to decide.
    Conflict,
    /// Somebody wanted it to end.
    Cancelled,
    /// The plugin ended in the middle of it.
    Interrupted,
}

/// What a total is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// It is exact.
    Exact,
    /// The storage has said about how much it will be.
    Estimate,
    /// Nothing is known in advance.
    #[default]
    Unknown,
}

/// Why a run has not done what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A word for machines.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its identity.
    pub id: Uuid,
    /// The task.
    pub task: Uuid,
    /// The task's title when it began.
    pub title: String,
    /// Why it began: `manual`, `schedule`, `after-snapshot` or `recovery`.
    pub trigger: String,
    /// Who asked.
    pub actor: String,
    /// How it is.
    pub state: State,
    /// When it began.
    pub began: DateTime<Utc>,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<DateTime<Utc>>,
    /// What it is at.
    #[serde(default)]
    pub phase: Option<Phase>,
    /// The dataset it is at, by its id.
    #[serde(default)]
    pub dataset: String,
    /// The dataset's name.
    #[serde(default)]
    pub dataset_name: String,
    /// The name of the snapshot it is at.
    #[serde(default)]
    pub snapshot: String,
    /// Snapshots that were sent.
    #[serde(default)]
    pub steps_done: u64,
    /// Snapshots to be sent, as far as that is known.
    #[serde(default)]
    pub steps_total: u64,
    /// Bytes that were moved, of all steps.
    #[serde(default)]
    pub bytes_done: u64,
    /// Bytes of the present step that were moved.
    #[serde(default)]
    pub step_done: u64,
    /// Bytes of the present step.
    #[serde(default)]
    pub step_total: Option<u64>,
    /// What that total is worth.
    #[serde(default)]
    pub basis: Basis,
    /// Bytes a second, over the last seconds.
    #[serde(default)]
    pub rate: u64,
    /// Seconds that the present step will still take.
    #[serde(default)]
    pub left_s: Option<u64>,
    /// What was strange.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Failure>,
}

impl Run {
    /// A run that begins: of a task, by its title, for a reason and somebody.
    pub fn new(task: Uuid, title: &str, (trigger, actor): (&str, &str), at: DateTime<Utc>) -> Self {
        Self {
            id: Uuid::new_v4(),
            task,
            title: title.to_owned(),
            trigger: trigger.to_owned(),
            actor: actor.to_owned(),
            state: State::Running,
            began: at,
            ended: None,
            phase: None,
            dataset: String::new(),
            dataset_name: String::new(),
            snapshot: String::new(),
            steps_done: 0,
            steps_total: 0,
            bytes_done: 0,
            step_done: 0,
            step_total: None,
            basis: Basis::Unknown,
            rate: 0,
            left_s: None,
            warnings: Vec::new(),
            error: None,
        }
    }
}
