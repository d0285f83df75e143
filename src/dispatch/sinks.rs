//! `rpc/sinks`.

use protocol::{Fault, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Dispatch;
use super::shape::{read, said};
use crate::sinks::{SinkStatus, SinkTest};

/// Arguments of what is done to one sink.
#[derive(Deserialize, JsonSchema)]
pub(super) struct One {
    /// Its name in the configuration.
    name: String,
}

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// Every sink of the configuration.
    sinks: Vec<SinkStatus>,
}

/// Answer to `pause` and `resume`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Done {
    /// How it is now.
    sink: SinkStatus,
}

/// Answer to `test`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Tested {
    /// What it answered.
    test: SinkTest,
}

/// Answers one action.
pub(super) async fn answer(dispatch: &Dispatch, action: &str, args: &Value) -> Result<Json, Fault> {
    let sinks = &dispatch.0.sinks;
    if action == "list" {
        return said(&Listed { sinks: sinks.list() });
    }
    let One { name } = read(args)?;
    match action {
        "test" => said(&Tested { test: sinks.test(&name).await? }),
        "pause" => said(&Done { sink: sinks.pause(&name).await? }),
        _ => said(&Done { sink: sinks.resume(&name).await? }),
    }
}
