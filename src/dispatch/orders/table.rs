//! The entries of orders in the table of the daemon's own methods.

use super::answer as triggers;
use super::rules::answer as rules;
use crate::dispatch::Builtin;
use crate::dispatch::builtin::{OPERATOR, mutate, query};
use crate::dispatch::shape::Nothing;

/// What a trigger is called in rights, and its subject.
const TRIGGER: &str = "/triggers/{id}";
const RULE: &str = "/rules/{id}";

pub(in crate::dispatch) const TABLE: [Builtin; 16] = [
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
    mutate::<rules::Create, rules::Done>(
        "rpc/rules",
        OPERATOR,
        "Makes a rule: a call that is made in your name when something happens",
    )
    .on("create")
    .like(&[r#"{"name":"note","when":{"event":{"classes":["user.deploy"]}},"method":"events/fire","args":{"class":"user.noted"}}"#]),
    query::<Nothing, rules::Listed>("rpc/rules", OPERATOR, "Lists the rules")
        .on("list")
        .like(&["{}"]),
    query::<rules::One, rules::Done>("rpc/rules", OPERATOR, "Says everything of one rule").on("get"),
    mutate::<rules::One, rules::Deleted>(
        "rpc/rules",
        OPERATOR,
        "Deletes a rule; what of it waits is not begun",
    )
    .on("delete")
    .about(RULE),
    mutate::<rules::One, rules::Done>(
        "rpc/rules",
        OPERATOR,
        "Has a rule of yours act again; what it has missed comes first",
    )
    .on("enable")
    .about(RULE),
    mutate::<rules::One, rules::Done>(
        "rpc/rules",
        OPERATOR,
        "Has a rule do nothing until it is enabled",
    )
    .on("disable")
    .about(RULE),
    mutate::<rules::Retry, rules::Retried>(
        "rpc/rules",
        OPERATOR,
        "Has something that a rule gave up done after all",
    )
    .on("retry"),
    query::<rules::Past, rules::Acts>(
        "rpc/rules",
        OPERATOR,
        "Says what rules have done and are to do; with `state` `dead` what was given up",
    )
    .on("history")
    .like(&["{}", r#"{"state":"dead"}"#]),
];
