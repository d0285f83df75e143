//! What an engine says happened, as far as the model needs it. Pure.

use std::collections::HashMap;

/// One thing that happened to one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) id: String,
    /// Nanoseconds since 1970 by the engine's clock.
    pub(crate) at: i64,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Create,
    Start,
    Die(Option<i64>),
    /// A signal that usually ends a process was sent.
    Kill,
    Oom,
    Pause,
    Unpause,
    Rename,
    Destroy,
    Health(bool),
    /// Something about it is other than it was: look.
    Look,
}

/// The longest text that is kept of an engine's: names and images are far shorter.
const TEXT_BYTES_MAX: usize = 512;

/// What is asked of an engine: kinds of things.
pub(crate) const TYPES: [&str; 2] = ["container", "network"];
/// What is asked of an engine: what can happen. Without the processes that run inside, of which a
/// check alone makes three events.
pub(crate) const EVENTS: [&str; 17] = [
    "create",
    "start",
    "die",
    "died",
    "destroy",
    "remove",
    "kill",
    "oom",
    "pause",
    "unpause",
    "rename",
    "restart",
    "update",
    "health_status",
    "connect",
    "disconnect",
    "init",
];

impl Signal {
    /// Reads an event; `None` for one that says nothing about a container.
    pub(crate) fn read(
        (kind, action): (&str, &str),
        actor: &str,
        at: i64,
        attributes: &HashMap<String, String>,
    ) -> Option<Self> {
        let attribute = |name: &str| attributes.get(name).map(String::as_str).unwrap_or_default();
        let (id, what) = match kind {
            "container" => (actor, what(action, &attribute)?),
            "network" => (attribute("container"), What::Look),
            _ => return None,
        };
        let is_id =
            !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        is_id.then(|| Self {
            id: id.to_owned(),
            at,
            name: within(attribute("name").trim_start_matches('/')),
            image: within(attribute("image")),
            what,
        })
    }
}

fn what<'a>(action: &str, attribute: &impl Fn(&str) -> &'a str) -> Option<What> {
    let number = |text: &str| text.parse::<i64>().ok();
    Some(match action {
        "create" => What::Create,
        "start" => What::Start,
        "die" | "died" => {
            // podman has its own name for it.
            What::Die(number(attribute("exitCode")).or(number(attribute("containerExitCode"))))
        }
        "kill" if ends(attribute("signal")) => What::Kill,
        "oom" => What::Oom,
        "pause" => What::Pause,
        "unpause" => What::Unpause,
        "rename" => What::Rename,
        "destroy" | "remove" => What::Destroy,
        "health_status: healthy" => What::Health(true),
        "health_status: unhealthy" => What::Health(false),
        "update" => What::Look,
        _ => return None,
    })
}

/// Whether a signal is one by which processes are ended; others make them read their files again.
pub(crate) fn ends(signal: &str) -> bool {
    let signal = signal.trim_start_matches("SIG");
    !matches!(
        signal,
        "1" | "10" | "12" | "17" | "18" | "23" | "HUP" | "USR1" | "USR2" | "CHLD" | "CONT" | "URG"
    )
}

fn within(text: &str) -> String {
    let most = text.len().min(TEXT_BYTES_MAX);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, action: &str, actor: &str, pairs: &[(&str, &str)]) -> Option<Signal> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Signal::read((kind, action), actor, 7, &pairs.collect())
    }

    #[test]
    fn both_engines_words_are_read() {
        let what = |action: &str, pairs: &[(&str, &str)]| {
            read("container", action, "abc", pairs).map(|signal| signal.what)
        };
        assert_eq!(what("die", &[("exitCode", "137")]), Some(What::Die(Some(137))));
        assert_eq!(what("died", &[("containerExitCode", "5")]), Some(What::Die(Some(5))));
        assert_eq!(what("die", &[("exitCode", "many")]), Some(What::Die(None)));
        assert_eq!(what("kill", &[("signal", "15")]), Some(What::Kill));
        assert_eq!(what("kill", &[("signal", "SIGHUP")]), None);
        assert_eq!(what("kill", &[("signal", "1")]), None);
        assert_eq!(what("remove", &[]), Some(What::Destroy));
        assert_eq!(what("health_status: unhealthy", &[]), Some(What::Health(false)));
        assert_eq!(what("exec_create: sh", &[]), None);
        assert_eq!(what("somersault", &[]), None);
    }

    #[test]
    fn an_event_of_a_network_leads_to_its_container() {
        let signal = read("network", "disconnect", "net", &[("container", "abc")]).unwrap();
        assert_eq!((signal.id.as_str(), signal.what), ("abc", What::Look));
        assert_eq!(read("network", "connect", "net", &[]), None);
        assert_eq!(read("image", "tag", "abc", &[]), None);
        assert_eq!(read("container", "start", "../abc", &[]), None, "that is no id");
    }

    #[test]
    fn names_have_no_slash_and_an_end() {
        let long = "é".repeat(400);
        let signal =
            read("container", "start", "abc", &[("name", "/web"), ("image", &long)]).unwrap();
        assert_eq!((signal.name.as_str(), signal.image.len()), ("web", 512));
    }
}
