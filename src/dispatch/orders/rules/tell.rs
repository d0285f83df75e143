//! What is told of a rule.

use protocol::{Draft, Fault, Json};
use serde_json::{Value, json};

use crate::dispatch::Dispatch;
use crate::dispatch::jobs::record::draft;
use crate::dispatch::orders::SOURCE;
use crate::dispatch::orders::order::Order;
use crate::store::OrderChange;

/// Records a change with the event that tells of it.
pub(super) async fn record(
    dispatch: &Dispatch,
    order: &Order,
    (class, message): (&str, &str),
    (data, change): (Value, OrderChange),
) -> Result<(), Fault> {
    let draft = telling(order, (class, message), data)?;
    dispatch.0.bus.publish_order(SOURCE, draft, (None, change)).await.map(|_| ())
}

/// Tells something that changes nothing.
pub(super) async fn tell(dispatch: &Dispatch, order: &Order, said: (&str, &str), data: Value) {
    let told = record(dispatch, order, said, (data, OrderChange::default())).await;
    if let Err(fault) = told {
        tracing::error!(rule = %order.id, %fault, "what is to be told of a rule is not recorded");
    }
}

fn telling(order: &Order, (class, message): (&str, &str), mut data: Value) -> Result<Draft, Fault> {
    data["rule"] = json!(order.id);
    data["name"] = order.name.as_str().into();
    data["operation"] = order.operation.title().into();
    let mut draft = draft(class, order.subject(), message, Value::Null)?;
    draft.data = Json::from(data);
    Ok(draft)
}
