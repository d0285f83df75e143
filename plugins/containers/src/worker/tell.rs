//! Tells what has changed: events of containers, then of the services and stacks they are in, and
//! alerts.

use std::collections::{BTreeMap, HashSet};

use sdk::{Context, Draft, Fault, Level, Raise};
use uuid::Uuid;

use super::{Desk, Worker};
use crate::group::{self, Service, Whole};
use crate::identity;
use crate::model::{Change, Why};
use crate::story::{self, SERVICE_DOWN, UNREACHABLE, uri};

/// What an alert has become.
enum Ring {
    Raised(Raise),
    Over(String, String),
}

/// What there is to tell.
#[derive(Default)]
struct News {
    drafts: Vec<Result<Draft, Fault>>,
    rings: Vec<Ring>,
}

impl Worker {
    /// Tells these changes and what follows of them, and keeps the model. What is told is told
    /// before it is kept: whoever is killed in between tells it again.
    pub(super) fn tell(&self, ctx: &Context, changes: &[Change]) {
        if !changes.is_empty() {
            self.tell_all(ctx, changes);
        }
    }

    /// The same, and what has become of services and stacks without a change of a container.
    pub(super) fn tell_all(&self, ctx: &Context, changes: &[Change]) {
        let news = {
            let mut desk = self.desk();
            let mut news = News::default();
            for change in changes {
                if is_news(&desk, change) {
                    news.drafts.push(story::container(&self.place, change));
                }
                desk.ring(&mut news, change);
            }
            self.tell_groups(&mut desk, &mut news);
            news
        };
        publish(ctx, news);
        self.keep(ctx);
    }

    /// Services and stacks that came, are in another state, or went.
    fn tell_groups(&self, desk: &mut Desk, news: &mut News) {
        let mut services = self.place.services(&desk.model.all());
        // While one of them flaps, its service goes up and down with it: that is one alert.
        let flaps = |service: &Service| service.containers.iter().any(|id| desk.model.flaps(id));
        let restless: HashSet<Uuid> =
            services.values().filter(|it| flaps(it)).map(|it| it.uuid).collect();
        for (uuid, service) in &mut services {
            if let (true, Some(told)) = (restless.contains(uuid), desk.told.0.get(uuid)) {
                service.state = told.state;
            }
        }
        let stacks = group::stacks(&services);
        let place = &self.place;
        let drafts = &mut news.drafts;
        each_change(
            (&desk.told.0, &services),
            |it| it.state,
            |verb, it, state| {
                drafts.push(story::service(verb, it, state, place));
            },
        );
        each_change(
            (&desk.told.1, &stacks),
            |it| it.state,
            |verb, it, state| {
                drafts.push(story::stack(verb, it, state, place));
            },
        );
        for service in services.values().filter(|it| !restless.contains(&it.uuid)) {
            let message = format!("nothing of the service {} runs", service.name);
            let about = (SERVICE_DOWN, uri("service", service.uuid));
            desk.alert(news, about, service.is_missed, &message);
        }
        let gone: Vec<Uuid> =
            desk.told.0.keys().filter(|uuid| !services.contains_key(uuid)).copied().collect();
        for uuid in gone {
            desk.alert(news, (SERVICE_DOWN, uri("service", uuid)), false, "");
        }
        desk.told = (services, stacks);
    }

    /// The engine can be reached again, or not any more.
    pub(super) fn tell_node(&self, ctx: &Context, up: bool, found: Option<usize>) {
        let mut news = News::default();
        news.drafts.push(story::node(&self.place, up, found));
        let message = format!("the engine {} cannot be reached", self.place.engine);
        let subject = uri("node", self.place.node());
        self.desk().alert(&mut news, (UNREACHABLE, subject), !up, &message);
        publish(ctx, news);
    }
}

/// The ends and starts of one that flaps are told by its alert.
fn is_news(desk: &Desk, change: &Change) -> bool {
    let is_beat = matches!(
        change.why,
        Why::Started | Why::Stopped { .. } | Why::Stopping | Why::Healthy | Why::Unhealthy
    );
    let is_alert = matches!(change.why, Why::Flaps);
    !(is_alert || is_beat && desk.model.flaps(&change.container.id))
}

impl Desk {
    /// Whether it has been said that the engine cannot be reached.
    pub(super) fn is_raised_unreachable(&self) -> bool {
        self.raised.keys().any(|(kind, _)| kind == UNREACHABLE)
    }

    fn ring(&mut self, news: &mut News, change: &Change) {
        for (kind, begins) in story::alerts(change) {
            let subject = uri("container", identity::of_container(&change.container.id));
            let message = story::raise(kind, &change.container).map(|raise| raise.message);
            self.alert(news, (kind, subject), begins, &message.unwrap_or_default());
        }
    }

    /// Raises or clears an alert, unless that is so already.
    fn alert(
        &mut self,
        news: &mut News,
        (kind, subject): (&str, String),
        wrong: bool,
        message: &str,
    ) {
        let key = (kind.to_owned(), subject);
        match (wrong, self.raised.contains_key(&key)) {
            (true, false) => {
                if let Ok(raise) = story::raised(kind, key.1.clone(), message) {
                    self.raised.insert(key, raise.clone());
                    news.rings.push(Ring::Raised(raise));
                }
            }
            (false, true) => {
                self.raised.remove(&key);
                news.rings.push(Ring::Over(key.0, key.1));
            }
            _ => {}
        }
    }
}

/// Calls `tell` with what has changed from one set of groups to the next: the verb, the group and
/// its state.
fn each_change<G>(
    (before, now): (&BTreeMap<Uuid, G>, &BTreeMap<Uuid, G>),
    state: impl Fn(&G) -> Whole,
    mut tell: impl FnMut(&str, &G, &str),
) {
    for (uuid, group) in now {
        match before.get(uuid) {
            None => tell("create", group, state(group).as_str()),
            Some(was) if state(was) != state(group) => tell("update", group, state(group).as_str()),
            Some(_) => {}
        }
    }
    for (uuid, group) in before {
        if !now.contains_key(uuid) {
            tell("delete", group, Whole::Terminated.as_str());
        }
    }
}

/// Published in the order in which it is told; only the daemon's credit is waited for. What is
/// refused must not end the watch.
fn publish(ctx: &Context, news: News) {
    for draft in news.drafts {
        if let Err(fault) = draft.and_then(|draft| ctx.publish_unacknowledged(&draft)) {
            ctx.log(Level::Warn, &format!("an event was not published: {fault}"));
        }
    }
    for ring in news.rings {
        let told = match ring {
            Ring::Raised(raise) => ctx.raise_unacknowledged(&raise),
            Ring::Over(kind, subject) => {
                story::over(&kind, subject).and_then(|clear| ctx.clear_unacknowledged(&clear))
            }
        };
        if let Err(fault) = told {
            ctx.log(Level::Warn, &format!("an alert was not raised or cleared: {fault}"));
        }
    }
}
