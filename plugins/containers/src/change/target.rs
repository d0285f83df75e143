//! What a call names: one container, the containers of a service, or those of a stack.

use std::collections::BTreeSet;
use std::sync::Arc;

use sdk::{Fault, FaultKind};
use uuid::Uuid;

use crate::container::Container;
use crate::identity;
use crate::worker::Worker;

/// What is to be changed.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) engine: Arc<Worker>,
    /// What it is called.
    pub(crate) name: String,
    /// Its containers, as the model has them.
    pub(crate) members: Vec<Container>,
    /// The services they are in.
    pub(crate) services: BTreeSet<Uuid>,
}

/// What a call names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    Container(String),
    Service(String),
    Stack(String),
}

impl Named {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Container(_) => "container",
            Self::Service(_) => "service",
            Self::Stack(_) => "stack",
        }
    }

    fn text(&self) -> &str {
        let (Self::Container(text) | Self::Service(text) | Self::Stack(text)) = self;
        text
    }
}

/// The one thing that this names.
///
/// # Errors
/// `not-found`, or `conflict` when it names several.
pub(crate) fn find(engines: &[&Arc<Worker>], named: &Named) -> Result<Target, Fault> {
    let mut found: Vec<(bool, Target)> =
        engines.iter().flat_map(|engine| of_engine(engine, named)).collect();
    // A name is meant as a name, whatever ids begin like it.
    if found.iter().any(|(by_name, _)| *by_name) {
        found.retain(|(by_name, _)| *by_name);
    }
    let count = found.len();
    match found.pop() {
        Some((_, target)) if count == 1 => Ok(target),
        None => Err(nobody(named)),
        Some(_) => {
            let sentence = format!("{:?} is the name of {count} {}s", named.text(), named.kind());
            Err(Fault::new(FaultKind::Conflict, sentence).with_hint("give the uuid of one"))
        }
    }
}

/// Those of one engine, and whether each was named by its name.
fn of_engine(engine: &Arc<Worker>, named: &Named) -> Vec<(bool, Target)> {
    let desk = engine.desk();
    let all = desk.model.all();
    let target = |name: &str, members: Vec<Container>| {
        let services = members.iter().map(|it| engine.place.service_of(it).0).collect();
        Target { engine: Arc::clone(engine), name: name.to_owned(), members, services }
    };
    let of = |ids: &[String]| -> Vec<Container> {
        ids.iter().filter_map(|id| desk.model.containers().get(id)).cloned().collect()
    };
    match named {
        Named::Container(text) => {
            let own = all.iter().filter(|it| is_named(it, text));
            own.map(|it| (it.name == *text, target(&it.name, vec![(*it).clone()]))).collect()
        }
        Named::Service(text) => {
            let services = engine.place.services(&all);
            let is = |it: &&crate::group::Service| {
                let whole = it.stack.as_ref().map(|(_, stack)| format!("{}.{stack}", it.name));
                it.uuid.to_string() == *text || it.name == *text || whole.as_ref() == Some(text)
            };
            let own = services.values().filter(is);
            own.map(|it| (it.name == *text, target(&it.name, of(&it.containers)))).collect()
        }
        Named::Stack(text) => {
            let (services, stacks) = engine.place.groups(&all);
            let own = stacks.values().filter(|it| it.uuid.to_string() == *text || it.name == *text);
            own.map(|it| {
                let ids = it.services.iter().filter_map(|uuid| services.get(uuid));
                let ids: Vec<String> = ids.flat_map(|it| it.containers.clone()).collect();
                (it.name == *text, target(&it.name, of(&ids)))
            })
            .collect()
        }
    }
}

fn is_named(it: &Container, named: &str) -> bool {
    let is_prefix = named.len() >= 4 && it.id.starts_with(named);
    is_prefix || it.name == named || identity::of_container(&it.id).to_string() == named
}

fn nobody(named: &Named) -> Fault {
    let text: String = named.text().chars().take(100).collect();
    let hint = match named {
        Named::Container(_) => {
            "containers/list shows them: use a uuid, a name, or the beginning of an id"
        }
        Named::Service(_) => "containers/services shows them: use a uuid, a name, or name.stack",
        Named::Stack(_) => "containers/stacks shows them: use a uuid or a name",
    };
    Fault::not_found(format!("there is no {} {text:?}", named.kind())).with_hint(hint)
}
