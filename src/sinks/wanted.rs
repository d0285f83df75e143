//! What one sink wants to hear.

use protocol::{Class, Cursor, Event, Filter, Priority};
use serde::Deserialize;

use super::{FAILING, Ground, News, Route, subject};
use crate::alarm;
use crate::config::{Sink, SinkAlerts, SinkKind};

/// Events about alerts.
const ALERTS: &str = "alert";
/// The word of the event that an alert is over.
const CLEARED: &str = "cleared";

/// What one sink wants to hear.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The sink's name.
    name: String,
    settings: Sink,
    /// What is judged for each event but its priority, which is not the same for all classes.
    filter: Filter,
}

/// What is read of an event about an alert.
#[derive(Deserialize)]
struct Telling {
    notify: bool,
    verb: String,
    alert: About,
}

#[derive(Deserialize)]
struct About {
    source: String,
    kind: Class,
    subject: String,
    priority: Priority,
    message: String,
}

impl Wanted {
    pub(super) fn new(name: &str, settings: &Sink) -> Self {
        let filter = Filter { min_priority: Priority::MIN, ..settings.filter() };
        Self { name: name.to_owned(), settings: settings.clone(), filter }
    }

    /// What of the log may be something for it.
    pub(super) fn may_be(&self) -> Filter {
        if self.settings.kind != SinkKind::CloudEvents {
            return Filter::classes([format!("{ALERTS}.*")]);
        }
        let own = self.settings.min_priority_of.values().copied();
        let least = own.chain([self.settings.min_priority]).min().unwrap_or_default();
        Filter { min_priority: least, ..self.filter.clone() }
    }

    /// Whether it wants this. A sink is not told about itself: what it refuses would never end.
    pub(super) fn takes(&self, event: &Event) -> bool {
        if event.class.family() == "sink" && event.subject == subject(&self.name) {
            return false;
        }
        let about_alerts = event.class.family() == ALERTS && event.source == alarm::OWN;
        let all_events = self.settings.kind == SinkKind::CloudEvents;
        if !about_alerts {
            return all_events && self.fits(event);
        }
        let Ok(Telling { notify, verb, alert }) = event.data.read() else {
            tracing::warn!(
                class = event.class.as_str(),
                "an event about an alert is not understood"
            );
            return false;
        };
        if alert.kind.as_str() == FAILING && alert.subject == subject(&self.name) {
            return false;
        }
        if all_events {
            return (notify || self.settings.alerts == SinkAlerts::All) && self.fits(event);
        }
        let is_told = notify && (self.settings.recoveries || verb != CLEARED);
        is_told && self.fits(&as_event(event, alert))
    }

    /// Words it as the sink takes it.
    pub(super) fn worded(
        &self,
        news: &News<'_>,
        cursor: &Cursor,
        ground: &Ground,
    ) -> Option<Vec<u8>> {
        let route =
            Route { name: &self.name, settings: &self.settings, cursor, host: &ground.host };
        (ground.words.text)(news, &route)
    }

    fn fits(&self, event: &Event) -> bool {
        self.filter.matches(event) && event.priority >= self.settings.min_priority_of(&event.class)
    }
}

/// The alert where the event is, so that filters judge what it is about and not that it is an alert.
fn as_event(event: &Event, about: About) -> Event {
    let About { source, kind, subject, priority, message } = about;
    Event { source, class: kind, subject, priority, message, ..event.clone() }
}

#[cfg(test)]
mod tests {
    use protocol::{Json, Time};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn wanted(text: &str) -> Wanted {
        Wanted::new("out", &toml::from_str(text).unwrap())
    }

    fn event(class: &str, priority: u8, data: serde_json::Value) -> Event {
        Event {
            seq: Some(1),
            id: Uuid::nil(),
            time: Time::default(),
            source: "sysadmd".to_owned(),
            class: Class::parse(class).unwrap(),
            subject: "/alerts/1".to_owned(),
            priority: Priority::clamped(priority),
            message: "Over: it is full".to_owned(),
            data: Json::from(data),
        }
    }

    fn alert(verb: &str, notify: bool, kind: &str, priority: u8) -> Event {
        let about = json!({"source": "system", "kind": kind, "subject": "/sinks/out",
                           "priority": priority, "message": "it is full", "more": 1});
        let class = if verb == CLEARED { "alert.cleared" } else { "alert.changed" };
        event(class, 2, json!({"alert": about, "verb": verb, "notify": notify}))
    }

    #[test]
    fn alerts_are_judged_by_themselves_and_not_by_the_event_that_tells_of_them() {
        let phone = wanted(
            "kind = \"journal\"\nmin_priority = 6\nclasses = [\"system.*\"]\nsource = \"system\"\n\
             min_priority_of = { \"system.*\" = 7, \"system.disk-full\" = 3 }",
        );
        let takes = |kind, priority| phone.takes(&alert("worsened", true, kind, priority));
        assert!(takes("system.disk-full", 3) && !takes("system.disk-full", 2));
        assert!(takes("system.reboot", 7) && !takes("system.reboot", 6));
        assert!(!takes("plugin.quarantined", 10));
        assert!(
            phone.takes(&alert(CLEARED, true, "system.reboot", 7)),
            "its priority is its worst"
        );
        assert!(!phone.takes(&alert("raised", false, "system.reboot", 9)), "nobody is to be told");
        assert!(!phone.takes(&event("system.reboot", 9, json!({}))), "it is no alert");
        assert!(phone.may_be().matches(&alert("raised", true, "system.reboot", 7)));
        let quiet = wanted("kind = \"journal\"\nrecoveries = false");
        assert!(quiet.takes(&alert("raised", true, "a.b", 0)));
        assert!(!quiet.takes(&alert(CLEARED, true, "a.b", 9)));
    }

    #[test]
    fn events_for_others_leave_out_what_nobody_is_to_be_told() {
        let chat = wanted("url = \"https://h\"");
        assert!(chat.takes(&alert("raised", true, "a.b", 1)));
        assert!(!chat.takes(&alert("raised", false, "a.b", 9)));
        assert!(chat.takes(&event("snapshot.created", 0, json!({"notify": false}))));
        let archive = wanted("url = \"https://h\"\nalerts = \"all\"");
        assert!(archive.takes(&alert("silenced", false, "a.b", 9)));
        let own = "url = \"https://h\"\nmin_priority = 8\nmin_priority_of = { \"snapshot.*\" = 2 }";
        let some = wanted(own);
        assert!(some.takes(&event("snapshot.created", 2, json!({}))));
        assert!(!some.takes(&event("plugin.ready", 7, json!({}))));
        assert!(some.may_be().matches(&event("snapshot.created", 2, json!({}))));
    }

    #[test]
    fn nothing_about_itself_goes_to_a_sink() {
        for text in ["kind = \"journal\"", "url = \"https://h\"\nalerts = \"all\""] {
            let own = wanted(text);
            assert!(!own.takes(&alert("raised", true, FAILING, 9)), "{text}");
            let other = Wanted::new("other", &toml::from_str(text).unwrap());
            assert!(other.takes(&alert("raised", true, FAILING, 9)), "{text}");
        }
    }
}
