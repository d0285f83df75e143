//! Floor 5: the one way in for every face.
//!
//! It knows which methods there are, who may call them and who answers. It must not know how a
//! request looked on its wire or which socket it came from. `listen` brings requests here, in the
//! name of a [`Principal`].

mod builtin;
mod events;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::manifest::Kind;
use protocol::{Fault, FaultKind, Json, Request, Role};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::access::{Access, Principal};
use crate::bus::Bus;
use crate::certificate::Facts;
use crate::clock::Clock;
use crate::config::Limits;
use crate::host::{Caller, Host};
use crate::sight::Sight;

pub use builtin::{Builtin, own_methods};
pub use session::{Session, SubscriptionAnswer, Wanted};

/// The version of the protocol extensions that `rpc/hello` offers.
pub const PROTOCOL: u64 = 1;

/// What the daemon says of itself, and the bounds it keeps clients within.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The machine's name.
    pub hostname: String,
    /// The TLS certificate in use; it changes while the daemon runs.
    pub certificate: watch::Receiver<Arc<Facts>>,
    /// The database.
    pub instance: Uuid,
    /// Bounds, some of them announced by `rpc/hello`.
    pub limits: Limits,
}

/// Answers requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dispatch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    identity: Identity,
    /// The answer to `rpc/identify`, made once because every client asks it every 90 seconds.
    identify: Json,
    bus: Bus,
    host: Host,
    access: Access,
    clock: Clock,
}

impl Dispatch {
    /// Over these floors.
    pub fn new(identity: Identity, bus: Bus, host: Host, access: Access, clock: Clock) -> Self {
        let greeting = Json::from(json!({"hostname": identity.hostname, "type": "server"}));
        Self(Arc::new(Shared { identity, identify: greeting, bus, host, access, clock }))
    }

    /// What the daemon says of itself.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The answer to `rpc/identify`, which needs no login.
    pub fn identify(&self) -> Json {
        self.0.identify.clone()
    }

    /// Who may what.
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    /// What this principal may hear.
    pub fn sight(&self, principal: &Principal) -> Sight {
        principal.sight(self.0.bus.classes().clone())
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Answers a call in the name of `principal`.
    ///
    /// # Errors
    /// `unauthorized` when nobody is logged in, `forbidden` when the role does not reach,
    /// `not-found` for a method nobody has, and whatever the method answers.
    pub async fn call(
        &self,
        principal: Option<&Principal>,
        request: &Request,
    ) -> Result<Json, Fault> {
        let method = request.method().to_ascii_lowercase();
        if let Some(open) = builtin::answer_anybody(self, principal, &method, request) {
            return open;
        }
        let principal = principal.ok_or_else(not_logged_in)?;
        if builtin::exists(&method) {
            permit(principal, builtin::role(&method, request)?, &method)?;
            return builtin::answer(self, principal, &method, request).await;
        }
        self.call_plugin(principal, &method, request).await
    }

    async fn call_plugin(
        &self,
        principal: &Principal,
        method: &str,
        request: &Request,
    ) -> Result<Json, Fault> {
        let Some(found) = self.0.host.method(method, request.action()) else {
            return Err(self.no_method(method, request));
        };
        permit(principal, found.role, method)?;
        if found.kind == Kind::Mutate {
            tracing::info!(actor = principal.name, method, action = request.action(), "call");
        }
        let caller = Caller {
            request_id: Uuid::from_u128(self.0.clock.stamp().id.as_u128()).to_string(),
            actor: principal.name.clone(),
            role: principal.role,
        };
        let lower = request.namespace.to_ascii_lowercase();
        let name = request.name.to_ascii_lowercase();
        let request = Request { namespace: lower, name, args: request.args.clone() };
        self.0.host.call(&caller, &request).await
    }

    fn no_method(&self, method: &str, request: &Request) -> Fault {
        let methods = self.0.host.methods();
        let mut actions = methods
            .iter()
            .map(|known| &known.method)
            .filter(|known| known.method == method)
            .filter_map(|known| known.action.as_deref())
            .peekable();
        if actions.peek().is_some() {
            let known = actions.collect::<Vec<_>>().join(", ");
            let sentence = match request.action() {
                Some(action) => format!("{method} has no action {action:?}"),
                None => format!("{method} needs an argument \"action\""),
            };
            return Fault::bad_request(sentence).with_hint(format!("it has: {known}"));
        }
        let hint = if builtin::is_of_conversation(method) {
            "it is there on a websocket, with its name in lower case"
        } else {
            "rpc/query lists the methods you may use"
        };
        Fault::not_found(format!("there is no method {method}")).with_hint(hint)
    }

    /// What this principal may use: method to `read/write` or `read`.
    fn query(&self, principal: &Principal) -> BTreeMap<String, &'static str> {
        let plugins = self.0.host.methods();
        let ready = plugins.iter().filter(|known| known.ready).map(|known| &known.method);
        let mut usable: Vec<(&str, Kind, Role)> = builtin::methods().collect();
        usable.extend(ready.map(|known| (known.method.as_str(), known.kind, known.role)));
        let mut found: BTreeMap<String, bool> = BTreeMap::new();
        for (method, kind, _) in usable.into_iter().filter(|(.., role)| principal.role >= *role) {
            *found.entry(method.to_owned()).or_default() |= kind == Kind::Mutate;
        }
        let word = |writes| if writes { "read/write" } else { "read" };
        found.into_iter().map(|(method, writes)| (method, word(writes))).collect()
    }

    fn hello(&self, principal: Option<&Principal>, args: &Value) -> Result<Json, Fault> {
        let offered = args.get("protocols").and_then(Value::as_array);
        let speaks = offered.is_none_or(|list| list.iter().any(|n| n.as_u64() == Some(PROTOCOL)));
        if !speaks {
            return Err(Fault::bad_request("none of the client's protocols is spoken here")
                .with_details(json!({ "protocols": [PROTOCOL] })));
        }
        let Identity { hostname, certificate, instance, limits } = self.identity();
        let fingerprint = certificate.borrow().fingerprint.clone();
        let who = principal.map(|who| json!({"name": who.name, "role": who.role}));
        Ok(Json::from(json!({
            "protocol": PROTOCOL,
            "version": env!("CARGO_PKG_VERSION"),
            "features": ["cursor", "filter", "gap", "heartbeat", "overflow", "fire", "history"],
            "hostname": hostname,
            "fingerprint": fingerprint,
            "instance": instance,
            "time": self.0.clock.now(),
            "heartbeat_s": 30,
            "limits": {
                "message_bytes": limits.message_bytes,
                "calls_in_flight": limits.calls_in_flight,
                "subscriptions": limits.subscriptions,
                "queue_bytes": limits.queue_bytes,
            },
            "principal": who,
        })))
    }
}

fn permit(principal: &Principal, needed: Role, method: &str) -> Result<(), Fault> {
    if principal.role >= needed {
        return Ok(());
    }
    let (needed, has) = (needed.as_str(), principal.role.as_str());
    let sentence = format!("{method} needs the role {needed}, and you are {has}");
    Err(Fault::new(FaultKind::Forbidden, sentence))
}

pub(crate) fn not_logged_in() -> Fault {
    Fault::new(FaultKind::Unauthorized, "nobody is logged in on this connection")
        .with_hint("log in with rpc/auth or rpc/auth_token")
}
