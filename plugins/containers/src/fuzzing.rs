//! What `tests/fuzz` may reach: how an engine's events and answers are read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::flap::Rule;
use crate::model::Model;
use crate::signal::Signal;
use crate::{engine, identity};

/// Reads the lines as events of an engine, has a model follow them, and says how many containers it
/// knows, how many changes it has told, and how long the longest name is.
pub fn events(lines: &str) -> (usize, usize, usize) {
    let rule = Rule { count: 5, window: Duration::from_mins(5) };
    let (mut model, mut told) = (Model::new(BTreeMap::new(), rule), 0);
    for line in lines.lines() {
        let Ok(event) = serde_json::from_str::<bollard::models::EventMessage>(line) else {
            continue;
        };
        let Some(actor) = &event.actor else { continue };
        let attributes = actor.attributes.clone().unwrap_or_default();
        let kind = event.typ.as_ref().map(ToString::to_string).unwrap_or_default();
        let what = (kind.as_str(), event.action.as_deref().unwrap_or_default());
        let (actor, at) = (actor.id.as_deref().unwrap_or_default(), event.time_nano.unwrap_or(0));
        if let Some(signal) = Signal::read(what, actor, at, &attributes) {
            told += model.apply(&signal, 0).len();
        }
    }
    let names = model.all().iter().map(|it| it.name.len()).max();
    (model.containers().len(), told, names.unwrap_or(0))
}

/// Reads an inspection; the uuid and the state of the container in it.
pub fn inspection(text: &str) -> Option<(uuid::Uuid, &'static str)> {
    let seen = serde_json::from_str(text).ok()?;
    let it = engine::container(&seen);
    Some((identity::of_container(&it.id), it.state().as_str()))
}
