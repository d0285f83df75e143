//! Floor 5: the one way in for every face.
//!
//! It knows which methods there are, who may call them and who answers. It must not know how a
//! request looked on its wire or which socket it came from. `listen` brings requests here, in the
//! name of a [`Principal`].

mod alerts;
mod builtin;
pub mod classic;
mod client;
pub mod consul;
mod deprecations;
mod describe;
pub(crate) mod dispatcher;
pub(crate) mod events;
pub(crate) mod greeting;
pub(crate) mod jobs;
pub(crate) mod logs;
mod metrics;
pub(crate) mod orders;
mod plugins;
mod reading;
mod session;
mod sessions;
mod settings;
mod shape;
mod sinks;
mod stretch;
pub mod talk;
mod tokens;
pub(crate) mod trail;
mod usable;

use std::sync::Arc;

use protocol::deprecated::ending_members;
use protocol::manifest::Kind;
use protocol::{Deprecated, Fault, FaultKind, Json, Request, Role};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use self::deprecations::{Deprecations, Use};
use crate::access::{Access, Deed, Origin, Principal, Wish, login_is_over, resource_of};
use crate::alerts::Alerts;
use crate::bus::Bus;
use crate::certificate::Facts;
use crate::clock::Clock;
use crate::config::{self, Limits};
use crate::host::{Caller, Host, MethodInfo};
use crate::lifecycle::Tasks;
use crate::sight::{Call, Sight};
use crate::sinks::Sinks;
use crate::store::Store;

pub use builtin::{Builtin, Ending, Needs, own_methods};
pub use client::{Client, split};
pub use describe::describe_all;
use jobs::Jobs;
use orders::Orders;
pub use orders::{Called, Knock, Known, TriggerRun};
pub use session::{Session, SubscriptionAnswer, Wanted};
pub use shape::Shape;
pub use stretch::Stretch;

/// The versions of the protocol that are spoken beside the classic one, which has no number: the
/// newest last. `rpc/hello` agrees on one for a connection, and a path of JSON-RPC names its own.
pub const PROTOCOLS: &[u64] = &[1];
/// The newest of them.
pub const PROTOCOL: u64 = PROTOCOLS[PROTOCOLS.len() - 1];

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
    /// How many jobs there may be.
    pub jobs: config::Jobs,
    /// What the Consul face says and takes.
    pub consul: config::Consul,
}

/// In whose name something is asked, from where, and by what.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// From where, and on which face.
    pub origin: Origin,
    /// Who is logged in.
    pub principal: Option<&'a Principal>,
    /// What the client has said of itself.
    pub client: &'a Client,
}

/// A request with everything that is known of it.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    origin: Origin,
    principal: &'a Principal,
    /// In lower case, without a version.
    method: &'a str,
    /// The version of the namespace it is asked in.
    version: u32,
    request: &'a Request,
}

impl<'a> Asked<'a> {
    /// For the audit trail.
    fn deed(&self, secrets: &'a [String]) -> Deed<'a> {
        Deed {
            actor: &self.principal.name,
            origin: self.origin,
            method: self.method,
            action: self.request.action(),
            args: &self.request.args,
            secrets,
        }
    }
}

/// What the tables say of a method.
#[derive(Debug)]
struct Found {
    /// `None`: the daemon itself answers it.
    plugin: Option<String>,
    kind: Kind,
    needs: Needs,
    resource: Option<Arc<str>>,
    secrets: Arc<[String]>,
    /// From which version of its namespace on this entry holds.
    since: u32,
    /// That it is on its way out.
    deprecated: Option<Arc<Deprecated>>,
    /// The schema of the arguments, if some of them are on their way out.
    ending: Option<Arc<Value>>,
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
    sinks: Sinks,
    alerts: Alerts,
    access: Access,
    clock: Clock,
    jobs: Jobs,
    orders: Orders,
    deprecations: Deprecations,
}

/// What calls are answered with.
#[derive(Debug)]
pub struct Floors {
    /// Where events and jobs are kept.
    pub store: Arc<Store>,
    /// Where events are published.
    pub bus: Bus,
    /// The plugins.
    pub host: Host,
    /// Receivers elsewhere.
    pub sinks: Sinks,
    /// What is wrong.
    pub alerts: Alerts,
    /// Who may what.
    pub access: Access,
    /// The time.
    pub clock: Clock,
    /// Where tasks live.
    pub tasks: Tasks,
}

impl Dispatch {
    /// Over these floors.
    pub fn new(identity: Identity, floors: Floors) -> Self {
        let Floors { store, bus, host, sinks, alerts, access, clock, tasks } = floors;
        let greeting = Json::from(json!({"hostname": identity.hostname, "type": "server"}));
        let orders = Orders::new(Arc::clone(&store), bus.clone(), clock.clone(), tasks.clone());
        let jobs = Jobs::new((store, bus.clone()), clock.clone(), tasks, identity.jobs);
        let deprecations = Deprecations::new(clock.now());
        Self(Arc::new(Shared {
            identity,
            identify: greeting,
            bus,
            host,
            sinks,
            alerts,
            access,
            clock,
            jobs,
            orders,
            deprecations,
        }))
    }

    /// Takes up the jobs that an earlier life of the daemon has left.
    ///
    /// # Errors
    /// `unavailable` when they cannot be read.
    pub async fn resume_jobs(&self) -> Result<(), Fault> {
        self.0.jobs.resume(self).await
    }

    /// Begins no more jobs: what ends from now on was cut off.
    pub fn stop_jobs(&self) {
        self.0.jobs.stop();
    }

    /// Whether what is recorded is recorded and delivered: the writer and the fan-out have each done
    /// a turn.
    pub async fn answers(&self) -> bool {
        self.0.jobs.store_answers().await && self.0.bus.answers().await.is_ok()
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
        principal.rights.sight(self.0.bus.classes().clone())
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Answers a call in the name of `principal`, or of nobody. A change is on record before it
    /// is made, and so is every refusal (see [`crate::access::Journal`]).
    ///
    /// # Errors
    /// `unauthorized` when nobody is logged in, `forbidden` when their rights do not reach,
    /// `not-found` for a method nobody has, `too-many` beyond a token's rate, `unavailable` when a
    /// change cannot be recorded, and whatever the method answers.
    pub async fn call(
        &self,
        origin: Origin,
        principal: Option<&Principal>,
        request: &Request,
    ) -> Result<Json, Fault> {
        self.call_by(By { origin, principal, client: &Client::default() }, request).await
    }

    /// The same for a client that has said something of itself: methods are answered in the
    /// versions it speaks, or in the one that the request's namespace names.
    ///
    /// # Errors
    /// As [`Dispatch::call`].
    pub async fn call_by(&self, by: By<'_>, request: &Request) -> Result<Json, Fault> {
        let By { origin, principal, client } = by;
        let (method, version) = client.wish(request);
        let request = &*client::in_its_case(&method, request);
        if let Some(open) = builtin::answer_anybody(self, principal, &method, request) {
            return open;
        }
        let Some(principal) = principal else {
            let (fault, nobody) = (not_logged_in(), Principal::nobody());
            let asked = Asked { origin, principal: &nobody, method: &method, version, request };
            // What is secret among the arguments is so whoever sends it.
            let secrets = self.find(&asked).map(|found| found.secrets).unwrap_or_default();
            self.refuse(&asked, &secrets, &fault).await;
            return Err(fault);
        };
        let asked = Asked { origin, principal, method: &method, version, request };
        let found = self.find(&asked)?;
        if let Err(fault) = self.permit(&asked, &found) {
            self.refuse(&asked, &found.secrets, &fault).await;
            return Err(fault);
        }
        let used = uses(&asked, &found);
        if !used.is_empty() {
            self.note(By { principal: Some(principal), ..by }, used).await;
        }
        match found.kind {
            Kind::Query => self.answer(&asked, &found).await,
            // Recorded together with the event it makes.
            Kind::Mutate if method == "events/fire" || method == consul::METHOD => {
                self.answer(&asked, &found).await
            }
            Kind::Mutate => {
                let begun = self.0.access.journal().begin(&asked.deed(&found.secrets)).await?;
                let answer = self.answer(&asked, &found).await;
                let outcome = answer.as_ref().map(|_| ()).map_err(|fault| fault.kind);
                self.0.access.journal().end(begun, outcome).await;
                answer
            }
        }
    }

    /// Whether there is a method of this name, given as `namespace/name`, for some action.
    pub fn has_method(&self, method: &str) -> bool {
        let (method, _) = split(&method.to_ascii_lowercase());
        let own = builtin::table().any(|entry| entry.method == method);
        own || self.0.host.methods().iter().any(|known| known.method.method == method)
    }

    fn find(&self, asked: &Asked<'_>) -> Result<Found, Fault> {
        let Asked { method, version, request, .. } = *asked;
        self.check_version(method, version)?;
        if let Some(entry) = builtin::find(method, request, version)? {
            return Ok(Found {
                plugin: None,
                kind: entry.kind,
                needs: entry.needs,
                resource: entry.resource.map(Arc::from),
                secrets: self.secrets_within(method, request),
                since: entry.since,
                deprecated: entry.deprecated.and_then(Ending::read).map(Arc::new),
                ending: None,
            });
        }
        let known = self.0.host.method(method, request.action(), version);
        let known = known.ok_or_else(|| self.no_method(method, request))?;
        let MethodInfo { plugin, kind, role, resource, secrets, since, deprecated, ending, .. } =
            known;
        let (plugin, needs) = (Some(plugin), Needs::Role(role));
        Ok(Found { plugin, kind, needs, resource, secrets, since, deprecated, ending })
    }

    /// What is secret among the arguments of a call that is asked for as a job, whichever of its
    /// actions is meant.
    fn secrets_within(&self, method: &str, request: &Request) -> Arc<[String]> {
        let inner = (method == "rpc/jobs").then(|| request.args["method"].as_str()).flatten();
        let Some(inner) = inner else { return Arc::default() };
        let known = self.0.host.methods().into_iter().map(|known| known.method);
        let of_it = known.filter(|known| known.method.eq_ignore_ascii_case(inner));
        of_it.flat_map(|known| known.secrets).collect()
    }

    /// That what this client asks for is on its way out, for the answers of protocols that can say
    /// so.
    pub fn ending(&self, client: &Client, request: &Request) -> Option<Arc<Deprecated>> {
        let (method, version) = client.wish(request);
        match builtin::find(&method, request, version) {
            Ok(Some(own)) => own.deprecated.and_then(Ending::read).map(Arc::new),
            Ok(None) => self.0.host.method(&method, request.action(), version)?.deprecated,
            Err(_) => None,
        }
    }

    /// Whether the namespace has this version; of one that nobody has, something else is told.
    fn check_version(&self, method: &str, version: u32) -> Result<(), Fault> {
        let namespace = method.split('/').next().unwrap_or_default();
        let host = &self.0.host;
        let newest = builtin::newest_version(namespace).or_else(|| host.newest_version(namespace));
        match newest {
            Some(newest) if version > newest => {
                let sentence = format!("{namespace} has no version {version}");
                Err(Fault::not_found(sentence).with_hint(format!("its newest is {newest}")))
            }
            _ => Ok(()),
        }
    }

    fn permit(&self, asked: &Asked<'_>, found: &Found) -> Result<(), Fault> {
        // Much can happen while a request is on its way.
        if self.0.access.is_taken_away(asked.principal) {
            return Err(login_is_over());
        }
        if let Needs::Role(least) = found.needs {
            let resource = resource_of(found.resource.as_deref(), &asked.request.args);
            let wish = Wish {
                method: asked.method,
                action: asked.request.action(),
                least,
                resource: resource.as_deref(),
            };
            if !asked.principal.rights.may_call(&wish) {
                return Err(forbidden(&wish, asked.principal));
            }
        }
        self.0.access.spend(asked.principal)
    }

    async fn answer(&self, asked: &Asked<'_>, found: &Found) -> Result<Json, Fault> {
        if found.plugin.is_none() {
            return builtin::answer(self, asked).await;
        }
        let least = match found.needs {
            Needs::Role(least) => least,
            Needs::Nothing | Needs::Login => Role::Viewer,
        };
        let call = Call {
            method: asked.method.to_owned(),
            action: asked.request.action().map(str::to_owned),
            resource: resource_of(found.resource.as_deref(), &asked.request.args),
            role: least,
        };
        let caller = Caller {
            request_id: Uuid::from_u128(self.0.clock.stamp().id.as_u128()).to_string(),
            actor: asked.principal.name.clone(),
            role: asked.principal.rights.role_for(least),
            version: asked.version,
            call: Arc::new(call),
        };
        let (namespace, name) = asked.method.split_once('/').unwrap_or((asked.method, ""));
        let request = Request::new(namespace, name, asked.request.args.clone());
        self.0.host.call(&caller, &request).await
    }

    async fn refuse(&self, asked: &Asked<'_>, secrets: &[String], fault: &Fault) {
        self.0.access.journal().refused(&asked.deed(secrets), fault.kind).await;
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
}

/// What a call uses that is on its way out.
fn uses(asked: &Asked<'_>, found: &Found) -> Vec<Use> {
    let called = match (found.since, asked.method.split_once('/')) {
        (1, _) | (_, None) => asked.method.to_owned(),
        (since, Some((namespace, name))) => format!("{namespace}@{since}/{name}"),
    };
    let what = match asked.request.action().filter(|_| found.deprecated.is_some()) {
        Some(action) => format!("{called} {action}"),
        None => called.clone(),
    };
    let method = found.deprecated.as_ref().map(|deprecated| Use {
        kind: deprecations::Kind::Method,
        what,
        deprecated: Some(Deprecated::clone(deprecated)),
    });
    let members =
        found.ending.iter().flat_map(|schema| ending_members(schema, &asked.request.args));
    let members = members.map(|member| Use {
        kind: deprecations::Kind::Member,
        what: format!("{called} args.{member}"),
        deprecated: None,
    });
    method.into_iter().chain(members).collect()
}

fn forbidden(wish: &Wish<'_>, principal: &Principal) -> Fault {
    let (needed, has) = (wish.least.as_str(), &principal.role);
    let sentence = match wish.resource {
        Some(resource) => {
            format!("{} on {resource} needs the role {needed}, and you are {has}", wish.method)
        }
        None => format!("{} needs the role {needed}, and you are {has}", wish.method),
    };
    Fault::new(FaultKind::Forbidden, sentence)
}

pub(crate) fn not_logged_in() -> Fault {
    Fault::new(FaultKind::Unauthorized, "nobody is logged in on this connection")
        .with_hint("log in with rpc/auth or rpc/auth_token")
}
