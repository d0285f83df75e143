//! `methods.md`: what can be called.

use std::fmt::Write as _;

use protocol::Manifest;
use protocol::manifest::{Example, Method};
use serde_json::Value;
use sysadmd::dispatch::{Builtin, Needs, own_methods};

use super::{built_in, code, head, row, schema, word};

const HEAD: &str = "\
# Methods

Everything that can be called, on a websocket as `namespace`, `name` and `args`, over REST as `/NAMESPACE/NAME`, on the command line as `sysadmctl call NAMESPACE NAME ARGS`.
A *query* only looks; a *mutate* changes something.
The role is the least one that may call it: a viewer may do the least, then comes the operator, then the admin.
What a method refuses is in [faults](faults.md).

## The daemon's own

How they look on the wire: [the SysAdm protocol](../protocols/sysadm.md).
`rpc/auth…` and `events/…subscribe` need a websocket; over REST one logs in with HTTP Basic or a bearer token.
In the shapes below, `?` marks a member that may be absent; a method with actions also takes `action`.

";

const PLUGINS: &str = "
## Plugins

A method of a plugin is there while its plugin is ready; `rpc/query` lists what you may use now.
";

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    page += &head(&["Method", "`action`", "Kind", "Role", ""]);
    for own in own_methods() {
        let role = match own.needs {
            Needs::Nothing => "anybody",
            Needs::Login => "any",
            Needs::Role(role) => role.as_str(),
        };
        let action = own.action.map(code).unwrap_or_default();
        page += &row(&[&code(own.method), &action, &word(&own.kind), role, own.summary]);
    }
    let mut before = None;
    for own in own_methods() {
        page += &own_detail(own, before);
        before = Some(own);
    }
    page += PLUGINS;
    for plugin in built_in() {
        page += &section(&plugin);
    }
    page
}

/// `before`: the entry above it, whose shapes are not said twice.
fn own_detail(own: &Builtin, before: Option<&Builtin>) -> String {
    let action = own.action.map(|action| format!(" `{action}`")).unwrap_or_default();
    let mut text = format!("\n### `{}`{action}\n\n{}.\n", own.method, own.summary);
    let before = before.filter(|before| before.method == own.method);
    let above = before.and_then(|before| before.action).map(code).unwrap_or_default();
    let shape = |what: &str, now: Value, then: Option<Value>| {
        if then.is_some_and(|then| then == now && !is_nothing(&now)) {
            format!("\n{what}: as of {above}.\n")
        } else if is_nothing(&now) {
            format!("\n{what}: none.\n")
        } else {
            format!("\n{what}:\n\n{}", schema::block(&now))
        }
    };
    text += &shape("Arguments", (own.args)(), before.map(|before| (before.args)()));
    text += &shape("Answer", (own.answer)(), before.map(|before| (before.answer)()));
    let examples = own.examples.iter().map(|args| {
        let mut args: Value = serde_json::from_str(args).expect("JSON");
        if let Some(action) = own.action {
            args["action"] = action.into();
        }
        format!("sysadmctl call {} '{args}'\n", own.method.replace('/', " "))
    });
    let examples: String = examples.collect();
    if !examples.is_empty() {
        write!(text, "\nFor example:\n\n```sh\n{examples}```\n").unwrap();
    }
    text
}

/// Whether a shape says that there is nothing.
fn is_nothing(schema: &Value) -> bool {
    schema == &serde_json::json!({"type": "object"})
}

fn section(plugin: &Manifest) -> String {
    let mut text = format!("\n## Plugin `{}`\n\n{}.\n\n", plugin.id, plugin.description);
    text += &head(&["Method", "`action`", "Kind", "Role", ""]);
    for method in &plugin.methods {
        let action = method.action.as_deref().map(code).unwrap_or_default();
        let name = code(&method.method);
        text += &row(&[&name, &action, &word(&method.kind), method.role.as_str(), &method.summary]);
    }
    for method in &plugin.methods {
        text += &detail(method, plugin.limits.call_ms);
    }
    text
}

fn detail(method: &Method, call_ms: u64) -> String {
    let action = method.action.as_deref().map(|action| format!(" `{action}`")).unwrap_or_default();
    let mut text = format!("\n### `{}`{action}\n\n{}.\n", method.method, method.summary);
    let limit = method.timeout_ms.unwrap_or(call_ms);
    writeln!(text, "It may take {}.\n\nArguments:\n", duration(limit)).unwrap();
    text += &schema::block(&method.params);
    writeln!(text, "\nAnswer:\n").unwrap();
    text += &schema::block(&method.result);
    if !method.examples.is_empty() {
        let examples: String = method.examples.iter().map(|it| example(method, it)).collect();
        write!(text, "\nFor example:\n\n```sh\n{examples}```\n").unwrap();
    }
    text
}

fn example(method: &Method, example: &Example) -> String {
    let call = method.method.replace('/', " ");
    let args = example.args.to_string();
    assert!(!args.contains('\''), "{args} cannot be shown in single quotes");
    let answer = example.result.as_ref().map(|it| format!("# answers {it}\n")).unwrap_or_default();
    format!("sysadmctl call {call} '{args}'\n{answer}")
}

/// In the largest unit that needs no fraction.
fn duration(ms: u64) -> String {
    let units = [(3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let found = units.iter().find(|(length, _)| ms.is_multiple_of(*length));
    found.map_or_else(|| format!("{ms} ms"), |(length, unit)| format!("{} {unit}", ms / length))
}
