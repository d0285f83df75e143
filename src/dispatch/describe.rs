//! `rpc/discover`: what there is, for whoever asks.

use protocol::manifest::{ClassDeclaration, Example, Method};
use protocol::{FaultKind, Json, Manifest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::usable::is_usable;
use super::{Builtin, Dispatch, Needs, PROTOCOL, own_methods};
use crate::access::Principal;
use crate::bus::{OwnClass, own_classes};
use crate::description::{
    ClassDescription, Description, FaultDescription, Form, MethodDescription, with_action,
};

/// Arguments of `rpc/discover`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Discover {
    /// In which form.
    #[serde(rename = "as", default)]
    form: Wanted,
}

/// A form, as it is asked for.
#[derive(Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    /// Calls over JSON-RPC.
    #[default]
    OpenRpc,
    /// Events on every face.
    AsyncApi,
    /// Calls over HTTP.
    OpenApi,
}

impl Discover {
    pub(super) fn form(&self) -> Form {
        match self.form {
            Wanted::OpenRpc => Form::OpenRpc,
            Wanted::AsyncApi => Form::AsyncApi,
            Wanted::OpenApi => Form::OpenApi,
        }
    }
}

/// Everything that the daemon itself and these plugins have.
pub fn describe_all(plugins: &[Manifest]) -> Description {
    let mut all = gathered(own_methods(), own_classes());
    for Manifest { id, methods, events, .. } in plugins {
        all.methods.extend(methods.iter().map(|method| of_plugin(id, method)));
        all.classes.extend(events.iter().map(|class| class_of(Some(id), false, class)));
    }
    in_order(all)
}

impl Dispatch {
    /// What this principal may use and hear now.
    pub fn describe(&self, principal: &Principal) -> Description {
        let sight = self.sight(principal);
        let own_classes = own_classes();
        let hears = own_classes.iter().filter(|own| sight.may_show(own.declared.class.as_str()));
        let mut found = gathered(own_methods().filter(|own| is_usable(own, principal)), hears);
        for declared in self.usable_of_plugins(principal) {
            found.methods.push(of_plugin(&declared.plugin, &declared.method));
        }
        for declared in self.0.host.classes() {
            if sight.may_show(declared.class.class.as_str()) {
                found.classes.push(class_of(Some(&declared.plugin), false, &declared.class));
            }
        }
        in_order(found)
    }

    /// The answer to `rpc/discover`.
    pub(super) fn discover(&self, principal: &Principal, asked: &Discover) -> Json {
        Json::from(self.describe(principal).document(asked.form()))
    }
}

fn gathered<'a>(
    own: impl IntoIterator<Item = &'a Builtin>,
    classes: impl IntoIterator<Item = &'a OwnClass>,
) -> Description {
    let class = |own: &OwnClass| {
        let source = Some(own.source.as_str()).filter(|source| !source.is_empty());
        class_of(source, own.family, &own.declared)
    };
    let fault = |kind: &FaultKind| FaultDescription::of(*kind);
    Description {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        methods: own.into_iter().map(of_daemon).collect(),
        classes: classes.into_iter().map(class).collect(),
        faults: FaultKind::ALL.iter().map(fault).collect(),
    }
}

/// The same whatever order plugins were found in.
fn in_order(mut description: Description) -> Description {
    // Stable: actions stay in the order of the table or of the manifest.
    description.methods.sort_by(|a, b| (&a.method, a.since).cmp(&(&b.method, b.since)));
    description.classes.sort_by(|a, b| a.class.cmp(&b.class));
    // Two plugins may declare the same class; one description of it does.
    description.classes.dedup_by(|later, earlier| later.class == earlier.class);
    description
}

fn of_daemon(own: &Builtin) -> MethodDescription {
    let examples = own.examples.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let examples = examples.map(|mut args| {
        if let (Some(action), Some(members)) = (own.action, args.as_object_mut()) {
            members.insert("action".to_owned(), action.into());
        }
        Example { args, result: None }
    });
    MethodDescription {
        method: own.method.to_owned(),
        action: own.action.map(str::to_owned),
        since: own.since,
        plugin: None,
        summary: own.summary.to_owned(),
        kind: own.kind,
        needs: match own.needs {
            Needs::Nothing => "anybody".to_owned(),
            Needs::Login => "any".to_owned(),
            Needs::Role(role) => role.as_str().to_owned(),
        },
        resource: own.resource.map(str::to_owned),
        of_connection: super::builtin::is_of_connection(own.method),
        params: with_action((own.args)(), own.action),
        result: (own.answer)(),
        examples: examples.collect(),
        deprecated: own.deprecated.and_then(super::builtin::Ending::read),
    }
}

fn of_plugin(plugin: &str, method: &Method) -> MethodDescription {
    MethodDescription {
        method: method.method.clone(),
        action: method.action.clone(),
        since: method.since,
        plugin: Some(plugin.to_owned()),
        summary: method.summary.clone(),
        kind: method.kind,
        needs: method.role.as_str().to_owned(),
        resource: method.resource.clone(),
        of_connection: false,
        params: with_action(method.params.clone(), method.action.as_deref()),
        result: method.result.clone(),
        examples: method.examples.clone(),
        deprecated: method.deprecated.clone(),
    }
}

fn class_of(source: Option<&str>, family: bool, declared: &ClassDeclaration) -> ClassDescription {
    ClassDescription {
        class: declared.class.to_string(),
        family,
        source: source.map(str::to_owned),
        summary: declared.summary.clone(),
        role: declared.role.as_str().to_owned(),
        priority_default: declared.priority_default,
        priority_max: declared.priority_max,
        retain: declared.retain,
        schema: declared.schema.clone(),
        deprecated: declared.deprecated.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_described_without_a_plugin() {
        let all = describe_all(&[]);
        assert_eq!(all.methods.len(), own_methods().count());
        assert_eq!(all.classes.len(), own_classes().len());
        assert_eq!(all.faults.len(), FaultKind::ALL.len());
        let list = all.methods.iter().find(|it| it.action.as_deref() == Some("list")).unwrap();
        assert_eq!(list.params["properties"]["action"]["const"], "list");
        for entry in &all.methods {
            assert!(entry.params.is_object() && entry.result.is_object(), "{}", entry.method);
        }
    }
}
