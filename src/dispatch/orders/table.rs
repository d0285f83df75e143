//! The entries of orders in the table of the daemon's own methods.

use super::answer as triggers;
use crate::dispatch::Builtin;
use crate::dispatch::builtin::{OPERATOR, mutate, query};
use crate::dispatch::shape::Nothing;

/// What a trigger is called in rights, and its subject.
const TRIGGER: &str = "/triggers/{id}";

pub(in crate::dispatch) const TABLE: [Builtin; 8] = [
    mutate::<triggers::Create, triggers::Made>(
        "rpc/triggers",
        OPERATOR,
        "Makes a URL that does one thing in your name when it is called",
    )
    .on("create")
    .like(&[r#"{"name":"deploy","method":"events/fire","args":{"class":"user.deploy"},"expires_s":3600}"#]),
    query::<Nothing, triggers::Listed>(
        "rpc/triggers",
        OPERATOR,
        "Lists the triggers, not their URLs",
    )
    .on("list")
    .like(&["{}"]),
    query::<triggers::One, triggers::Done>("rpc/triggers", OPERATOR, "Says everything of one trigger")
        .on("get"),
    mutate::<triggers::Reveal, triggers::Revealed>(
        "rpc/triggers",
        OPERATOR,
        "Shows the URLs of triggers that are yours; that it did is on record",
    )
    .on("reveal"),
    mutate::<triggers::One, triggers::Deleted>(
        "rpc/triggers",
        OPERATOR,
        "Deletes a trigger; its URL is worth nothing at once",
    )
    .on("delete")
    .about(TRIGGER),
    mutate::<triggers::One, triggers::Done>(
        "rpc/triggers",
        OPERATOR,
        "Has a trigger of yours take calls again",
    )
    .on("enable")
    .about(TRIGGER),
    mutate::<triggers::One, triggers::Done>(
        "rpc/triggers",
        OPERATOR,
        "Has a trigger take no calls until it is enabled",
    )
    .on("disable")
    .about(TRIGGER),
    query::<triggers::Past, triggers::Runs>(
        "rpc/triggers",
        OPERATOR,
        "Says what was begun because triggers were called, and what came of it",
    )
    .on("history")
    .like(&["{}", r#"{"limit":10}"#]),
];
