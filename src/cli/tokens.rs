//! `sysadmctl tokens` and `roles`: who may come in without a password, and what for.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;
use super::when;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a token; it is shown this once
    Create(CreateOptions),
    /// Show the tokens there are (never the secrets)
    List,
    /// Show one token
    Describe {
        /// Its id, as `list` shows it [default: whatever you are logged in by]
        id: Option<String>,
    },
    /// Put a new secret in the place of a token's old one, which ends at once
    Rotate {
        /// Its id, as `list` shows it [default: the token you are logged in by]
        id: Option<String>,
    },
    /// End a token at once, with every connection that uses it
    Revoke {
        /// Its id, as `list` shows it
        id: String,
    },
}

/// What the token is to be.
#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// What it is for, such as backup-script
    #[arg(long)]
    name: String,
    /// What it may do: viewer, operator, admin, or a role of the configuration; see `roles`
    #[arg(long)]
    role: String,
    /// How long it is good for: 12h, 30d, 52w [default: until it is revoked]
    #[arg(long, value_name = "LENGTH", value_parser = when::length)]
    expires: Option<Duration>,
    #[command(flatten)]
    scope: ScopeOptions,
}

/// What it is confined to beside its role; each list may be repeated, or separated with commas.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Less than its role")]
struct ScopeOptions {
    /// Only these methods: namespace/name, namespace/name:action, 'namespace/*'
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    methods: Vec<String>,
    /// Only events of these classes: a class, or 'family.*'
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    classes: Vec<String>,
    /// Only calls and events about these: /datasets/tank, or '/datasets/tank/*'
    #[arg(long, value_name = "PATTERN")]
    resources: Vec<String>,
    /// Only from these networks: 192.0.2.0/24, an address, or local for the unix socket
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    sources: Vec<String>,
    /// At most so many calls a second, on average
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

impl ScopeOptions {
    /// As the wire wants it; `None` when it takes nothing.
    fn to_json(&self) -> Option<Value> {
        let mut scope = json!({});
        let lists = [
            ("methods", &self.methods),
            ("classes", &self.classes),
            ("resources", &self.resources),
            ("sources", &self.sources),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            scope[name] = json!(list);
        }
        if let Some(rate) = self.rate {
            scope["rate_per_s"] = json!(rate);
        }
        (scope != json!({})).then_some(scope)
    }
}

/// Runs the command.
pub(crate) async fn run(
    command: TokensCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let mut call = async |args| client.call::<Value>("rpc", "tokens", args).await;
    match command {
        TokensCommand::Create(options) => created(style, &call(create_args(&options)).await?),
        TokensCommand::List => {
            let tokens = call(json!({"action": "list"})).await?;
            output::table(style, &tokens, "tokens", &COLUMNS)
        }
        TokensCommand::Describe { id } => {
            let token = call(about(id, "describe")).await?;
            if style.json {
                return output::value(style, &token);
            }
            output::table(style, &json!({ "tokens": [token] }), "tokens", &COLUMNS)
        }
        TokensCommand::Rotate { id } => created(style, &call(about(id, "rotate")).await?),
        TokensCommand::Revoke { id } => {
            let revoked = call(about(Some(id), "revoke")).await?;
            if style.json { output::value(style, &revoked) } else { output::line("revoked") }
        }
    }
}

/// `sysadmctl roles`.
pub(crate) async fn roles(target: &Target, style: Style) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let roles: Value = client.call("rpc", "roles", json!({})).await?;
    output::table(style, &roles, "roles", &ROLES)
}

fn create_args(options: &CreateOptions) -> Value {
    let mut args = json!({"action": "create", "name": options.name, "role": options.role});
    if let Some(expires) = options.expires {
        args["expires_s"] = json!(expires.as_secs());
    }
    if let Some(scope) = options.scope.to_json() {
        args["scope"] = scope;
    }
    args
}

fn about(id: Option<String>, action: &str) -> Value {
    let mut args = json!({ "action": action });
    if let Some(id) = id {
        args["id"] = json!(id);
    }
    args
}

/// The token alone goes to standard output, so that `> file` catches just it.
fn created(style: Style, token: &Value) -> Result<(), Failure> {
    if style.json {
        return output::value(style, token);
    }
    let until = match &token["expires"] {
        Value::Null => "until it is revoked".to_owned(),
        expires => format!("until {}", output::moment(&output::text(expires))),
    };
    output::remark(&format!(
        "token {} with role {}, good {until}. Keep it now: it is not shown again.",
        output::text(&token["id"]),
        output::text(&token["role"]),
    ));
    output::line(&output::text(&token["token"]))
}

const COLUMNS: [Column; 6] = [
    ("ID", |token| output::text(&token["id"])),
    ("NAME", |token| output::text(&token["name"])),
    ("ROLE", |token| output::text(&token["role"])),
    ("CREATED", |token| output::moment(&output::text(&token["created"]))),
    ("EXPIRES", |token| match &token["expires"] {
        Value::Null => "never".to_owned(),
        expires => output::moment(&output::text(expires)),
    }),
    ("ONLY", |token| limits(&token["scope"])),
];

const ROLES: [Column; 3] = [
    ("NAME", |role| output::text(&role["name"])),
    ("LEVEL", |role| output::text(&role["level"])),
    ("GRANTS", |role| match role["grants"].as_array() {
        Some(grants) if !grants.is_empty() => {
            grants.iter().map(limits).collect::<Vec<_>>().join(" + ")
        }
        _ => "-".to_owned(),
    }),
];

/// A scope or a grant on one line; `-` when it says nothing.
fn limits(limits: &Value) -> String {
    let lists = ["methods", "classes", "resources", "sources"].into_iter().filter_map(|name| {
        let list = limits[name].as_array().filter(|list| !list.is_empty())?;
        let list: Vec<String> = list.iter().map(output::text).collect();
        Some(format!("{name}={}", list.join(",")))
    });
    let rate = limits["rate_per_s"].as_u64().map(|rate| format!("{rate}/s"));
    let parts: Vec<String> = lists.chain(rate).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    const PLAIN: Style = Style { json: false, colour: false };

    #[test]
    fn limits_are_shown_on_one_line() {
        let scope = json!({"methods": ["snapshot/*", "rpc/query"], "sources": ["local"],
            "classes": [], "rate_per_s": 5});
        assert_eq!(limits(&scope), "methods=snapshot/*,rpc/query sources=local 5/s");
        assert_eq!(limits(&Value::Null), "-");
        let role = json!({"name": "r", "level": "viewer",
            "grants": [{"methods": ["a/b"]}, {"resources": ["/x"]}]});
        assert_eq!(
            ROLES.map(|(_, show)| show(&role)),
            ["r", "viewer", "methods=a/b + resources=/x"]
        );
    }

    #[tokio::test]
    async fn a_scope_is_sent_only_when_it_takes_something() {
        let fake = Fake::new();
        let options = |scope| CreateOptions {
            name: "n".to_owned(),
            role: "backup".to_owned(),
            expires: Some(Duration::from_mins(1)),
            scope,
        };
        let made = json!({"id": "i", "role": "backup", "expires": null, "token": "t"});
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("rpc/tokens").await;
            let plain = json!({"action": "create", "name": "n", "role": "backup", "expires_s": 60});
            assert_eq!(request["args"], plain);
            visitor.answer(&request, made.clone()).await;
            let mut visitor = fake.accept().await;
            let request = visitor.request("rpc/tokens").await;
            let scope = json!({"methods": ["a/*"], "sources": ["local"], "rate_per_s": 2});
            assert_eq!(request["args"]["scope"], scope);
            visitor.answer(&request, made.clone()).await;
            for action in ["describe", "rotate"] {
                let mut visitor = fake.accept().await;
                let request = visitor.request("rpc/tokens").await;
                assert_eq!(request["args"], json!({ "action": action }));
                visitor.answer(&request, made.clone()).await;
            }
        };
        let scope = ScopeOptions {
            methods: vec!["a/*".to_owned()],
            sources: vec!["local".to_owned()],
            rate: Some(2),
            ..ScopeOptions::default()
        };
        let target = fake.target();
        let ask = async {
            let create = |scope| TokensCommand::Create(options(scope));
            run(create(ScopeOptions::default()), &target, PLAIN).await.unwrap();
            run(create(scope), &target, PLAIN).await.unwrap();
            run(TokensCommand::Describe { id: None }, &target, PLAIN).await.unwrap();
            run(TokensCommand::Rotate { id: None }, &target, PLAIN).await.unwrap();
        };
        tokio::join!(script, ask);
    }
}
