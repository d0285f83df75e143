//! What is kept of an order and of its runs: pure.

use protocol::{Fault, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::rules::kept::Rule;
use crate::store::{StoredOrder, StoredRun};
use crate::trigger::gate::{Bounds, Used};
use crate::trigger::payload::Match;
use crate::trigger::signature::Scheme;

/// Something that is done later in somebody's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Its identity; no secret.
    pub(crate) id: Uuid,
    /// What its owner calls it; may be empty.
    pub(crate) name: String,
    pub(crate) created: Time,
    pub(crate) enabled: bool,
    pub(crate) owner: Owner,
    pub(crate) operation: Operation,
    #[serde(flatten)]
    pub(crate) bounds: Bounds,
    #[serde(flatten)]
    pub(crate) used: Used,
    /// Of a trigger; of a rule nothing of it counts.
    #[serde(default)]
    pub(crate) terms: Terms,
    /// What makes it a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Rule>,
}

/// In whose name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// As the audit trail calls them.
    pub(crate) name: String,
    /// The name of the role they had.
    pub(crate) role: String,
    /// The token it rests on, if one, and the hash of its text in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<(Uuid, String)>,
}

/// An operation that Docker Cloud has a word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Word {
    /// Makes a service's containers anew.
    Redeploy,
    /// Gives a service more containers.
    ScaleUp,
}

impl Word {
    /// In capitals, as Docker Cloud writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Redeploy => "REDEPLOY",
            Self::ScaleUp => "SCALEUP",
        }
    }

    /// The call of the plugin `containers` that does it, and its action.
    pub(crate) const fn call(self) -> (&'static str, &'static str) {
        match self {
            Self::Redeploy => ("sysadm/containers", "redeploy"),
            Self::ScaleUp => ("sysadm/containers", "scale"),
        }
    }
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// Docker Cloud's word for it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) word: Option<Word>,
    /// The service it is done to, if it has a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// `namespace/name` in lower case.
    pub(crate) method: String,
    /// With what.
    #[serde(default)]
    pub(crate) args: Value,
}

impl Operation {
    /// What it is called for people.
    pub(crate) fn title(&self) -> String {
        match (self.word, self.action()) {
            (Some(word), _) => word.as_str().to_owned(),
            (None, Some(action)) => format!("{}:{action}", self.method),
            (None, None) => self.method.clone(),
        }
    }

    /// Of methods with actions: which.
    pub(crate) fn action(&self) -> Option<&str> {
        self.args["action"].as_str()
    }

    /// The arguments of one run.
    pub(crate) fn args_for(&self, number: Option<u32>, body: Option<&str>) -> Value {
        let mut args = self.args.clone();
        match self.word {
            Some(Word::ScaleUp) => args["by"] = number.unwrap_or(1).into(),
            Some(Word::Redeploy) => {
                if let Some(body) = body {
                    args["env"] = json!({ "DOCKERCLOUD_TRIGGER_BODY": body });
                }
            }
            None => {}
        }
        args
    }
}

/// On which terms whoever has the URL is served.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// How a call must be signed; `None`: the URL alone is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<Scheme>,
    /// The only networks it may come from; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_from: Vec<String>,
    /// Calls a minute, on average.
    pub(crate) rate_per_min: u32,
    /// Calls at once.
    pub(crate) burst: u32,
    /// Which payload is meant.
    #[serde(default, skip_serializing_if = "Match::is_empty")]
    pub(crate) matching: Match,
    /// Whether those that come while one waits are that one.
    pub(crate) coalesce: bool,
    /// Whether the body is handed on.
    pub(crate) pass_body: bool,
    /// The largest number at the end of its URL.
    pub(crate) max_scale: u32,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It waits for its turn.
    Pending,
    /// It was begun.
    Running,
    /// It did what it should.
    Done,
    /// It did not work.
    Failed,
    /// Its order was deleted or disabled before it began.
    Cancelled,
}

impl State {
    /// The word, for example `pending`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing comes after it.
    pub(crate) const fn is_end(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// One time that an order is carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Run {
    /// Its identity.
    pub(crate) id: Uuid,
    /// The trigger.
    #[serde(rename = "trigger")]
    pub(crate) order: Uuid,
    /// What it does.
    #[serde(default)]
    pub(crate) operation: String,
    /// The service it is done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// How far it is.
    pub(crate) state: State,
    /// When it was asked for.
    pub(crate) created: Time,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Time>,
    /// The number at the end of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u32>,
    /// The job that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<Uuid>,
    /// Why it did not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Fault>,
    /// Where the call came from.
    pub(crate) peer: String,
    /// By which program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
    /// What the sender calls its delivery; not always signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delivery: Option<String>,
    /// What is noted beside it, for example that a body was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// A run with what is kept of it and never shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptRun {
    #[serde(flatten)]
    pub(crate) run: Run,
    /// What came with the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
}

impl KeptRun {
    /// As it lies in the database.
    pub(crate) fn stored(&self) -> Result<StoredRun, Fault> {
        let Run { id, order, created, ended, .. } = self.run;
        Ok(StoredRun { id, owner: order, created, ended, body: json_of(self)? })
    }

    /// As it was kept; `None` when it is something else.
    pub(crate) fn read(stored: &StoredRun) -> Option<Self> {
        stored.body.read().ok()
    }
}

impl Order {
    /// As it lies in the database.
    pub(crate) fn stored(
        &self,
        hash: Option<[u8; 32]>,
        sealed: Option<Vec<u8>>,
    ) -> Result<StoredOrder, Fault> {
        Ok(StoredOrder { id: self.id, hash, sealed, body: json_of(self)? })
    }

    /// What the audit trail calls it.
    pub(crate) fn actor(&self) -> String {
        let kind = if self.rule.is_some() { "rule" } else { "trigger" };
        format!("{kind}:{}", self.id)
    }

    /// What events about it are about.
    pub(crate) fn subject(&self) -> String {
        let kind = if self.rule.is_some() { "rules" } else { "triggers" };
        format!("/{kind}/{}", self.id)
    }

    /// What people are told it is.
    pub(crate) fn title(&self) -> String {
        let short = self.id.simple().to_string();
        let short = &short[..8];
        if self.name.is_empty() { short.to_owned() } else { format!("{} ({short})", self.name) }
    }
}

pub(crate) fn json_of<T: Serialize>(kept: &T) -> Result<protocol::Json, Fault> {
    protocol::Json::of(kept).map_err(|error| {
        tracing::error!(%error, "an order has no JSON form");
        Fault::internal()
    })
}
