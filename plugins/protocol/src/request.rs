//! What is asked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A call: `namespace/name` with its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The first part of the method, for example `snapshot`.
    pub namespace: String,
    /// The second part of the method, for example `create`.
    pub name: String,
    /// The arguments; anything the method understands.
    #[serde(default)]
    pub args: Value,
}

impl Request {
    /// A request with these parts.
    pub fn new(namespace: &str, name: &str, args: Value) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned(), args }
    }

    /// `namespace/name`, as manifests and rights write it.
    pub fn method(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The `action` member of the arguments, by which classic methods tell their operations apart.
    pub fn action(&self) -> Option<&str> {
        self.args.get("action").and_then(Value::as_str)
    }
}

/// What somebody may do, from least to most. Each includes the ones before it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look, change nothing.
    Viewer,
    /// Run the daily work: take snapshots, fire events, restart plugins.
    Operator,
    /// Everything, tokens included.
    Admin,
}

impl Role {
    /// The word, for example `operator`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.as_str() == word)
    }
}
