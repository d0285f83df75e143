//! Orders: what is done later in somebody's name, when a URL is called or something happens.
//!
//! An order acts with the rights its owner has at that moment, narrowed to the one call it makes; so
//! it can never do more than its owner could, and is worth nothing when they lose their rights.
//! Every run is on record before it is begun, in one step with the event that tells of it and its
//! record in the audit trail.

pub(super) mod answer;
mod create;
mod knock;
pub(crate) mod order;
mod refusals;
pub(super) mod rules;
mod run;
pub(super) mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::{Draft, Fault, FaultKind, Json, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;
use zeroize::Zeroizing;

use self::order::{KeptRun, Order};
use self::refusals::Refusals;
use self::rules::kept::Act;
use super::jobs::record::draft;
use super::{Asked, Dispatch, Found, Needs, consul};
use crate::access::{Allowance, Credential, Principal, Rights, Scope};
use crate::bucket::Bucket;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Grant;
use crate::lifecycle::Tasks;
use crate::store::{OrderChange, Store, StoreError, StoredOrder, Vault};
use crate::trigger::signature::secret_bytes;
use crate::trigger::turns::Turns;

pub use self::knock::{Called, Knock, Known, TriggerRun};

/// The source of events about orders.
const SOURCE: &str = "sysadmd";
/// Orders there may be.
const ORDERS_MAX: usize = 1_024;
/// The daemon's own methods that an order may call; of plugins it may call all.
const OWN: [&str; 7] = [
    "events/fire",
    consul::METHOD,
    "rpc/dispatcher",
    "rpc/jobs",
    "rpc/plugins",
    "rpc/alerts",
    "rpc/sinks",
];

/// All orders. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Orders(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    bus: Bus,
    clock: Clock,
    tasks: Tasks,
    /// `None`: secrets can be neither kept nor read.
    vault: Option<Vault>,
    book: Mutex<Book>,
    refusals: Refusals,
    /// Runs that somebody may wait for.
    live: Mutex<HashMap<Uuid, watch::Sender<bool>>>,
}

#[derive(Debug, Default)]
struct Book {
    by_id: BTreeMap<Uuid, Arc<Entry>>,
    by_hash: HashMap<[u8; 32], Arc<Entry>>,
}

/// One order.
#[derive(Debug)]
struct Entry {
    id: Uuid,
    hash: Option<[u8; 32]>,
    sealed: Option<Vec<u8>>,
    /// With what calls must be signed.
    signing: Option<Zeroizing<Vec<u8>>>,
    /// From where they may come.
    sources: Scope,
    /// As it is on record; whoever changes it holds it until the change is on record, too.
    order: AsyncMutex<Order>,
    turns: Mutex<Turns>,
    bucket: Mutex<Bucket>,
    is_gone: AtomicBool,
    /// Rung when a rule was changed.
    changed: Notify,
    /// Of a rule: what is to be tried again.
    retried: Mutex<Vec<Uuid>>,
}

/// What is sealed of an order.
#[derive(Serialize, Deserialize)]
struct Secrets {
    /// The secret in its URL.
    url: Uuid,
    /// With what calls must be signed.
    #[serde(default)]
    signing: Option<String>,
}

impl Orders {
    pub(super) fn new(store: Arc<Store>, bus: Bus, clock: Clock, tasks: Tasks) -> Self {
        let vault = store.vault();
        let vault = vault.inspect_err(|error| {
            tracing::error!(%error, "URLs of triggers can be neither made nor shown");
        });
        Self(Arc::new(Shared {
            vault: vault.ok(),
            store,
            bus,
            clock,
            tasks,
            book: Mutex::default(),
            refusals: Refusals::default(),
            live: Mutex::default(),
        }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.0.book)
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.book().by_id.values().cloned().collect()
    }

    /// Those that have a URL.
    fn triggers(&self) -> Vec<Arc<Entry>> {
        self.book().by_hash.values().cloned().collect()
    }

    fn entry(&self, id: Uuid) -> Result<Arc<Entry>, Fault> {
        let entry = self.book().by_id.get(&id).cloned();
        entry.filter(|entry| entry.hash.is_some()).ok_or_else(|| {
            Fault::not_found(format!("there is no trigger {id}"))
                .with_hint("rpc/triggers with the action list shows them")
        })
    }

    fn insert(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let mut book = self.book();
        book.by_id.insert(entry.id, Arc::clone(&entry));
        if let Some(hash) = entry.hash {
            book.by_hash.insert(hash, Arc::clone(&entry));
        }
        entry
    }

    /// What an order was sealed with.
    fn open(&self, id: Uuid, sealed: Option<&[u8]>) -> Option<Secrets> {
        let opened = self.0.vault.as_ref()?.open(id, sealed?);
        let secrets = opened.and_then(|text| serde_json::from_slice(&text).ok());
        if secrets.is_none() {
            tracing::error!(%id, "the secrets of a trigger cannot be read with the key there is");
        }
        secrets
    }

    fn entry_of(&self, stored: StoredOrder) -> Option<Entry> {
        let StoredOrder { id, hash, sealed, body } = stored;
        let read = body.read::<Order>();
        let order = read
            .inspect_err(|error| tracing::error!(%id, %error, "a trigger is not understood"))
            .ok()?;
        let secrets = order.terms.signature.and_then(|_| self.open(id, sealed.as_deref()));
        let signing = secrets.and_then(|secrets| secrets.signing).map(Zeroizing::new);
        let signing = order.terms.signature.zip(signing);
        let signing = signing.and_then(|(scheme, text)| secret_bytes(scheme, &text));
        let sources = order.terms.allow_from.clone();
        let interval = Duration::from_mins(1) / order.terms.rate_per_min.max(1);
        let bucket = Bucket::every(interval, order.terms.burst, Instant::now());
        Some(Entry {
            id,
            hash,
            sealed,
            signing: signing.map(Zeroizing::new),
            sources: Scope {
                sources: (!sources.is_empty()).then_some(sources),
                ..Scope::default()
            },
            order: AsyncMutex::new(order),
            turns: Mutex::default(),
            bucket: Mutex::new(bucket),
            is_gone: AtomicBool::new(false),
            changed: Notify::new(),
            retried: Mutex::default(),
        })
    }

    /// Finds what an earlier life of the daemon has left, and goes on with it.
    pub(super) async fn resume(&self, dispatch: &Dispatch) -> Result<(), Fault> {
        let stored = self.0.store.order_list().await.map_err(|error| unreadable(&error))?;
        for entry in stored.into_iter().filter_map(|stored| self.entry_of(stored)) {
            self.insert(entry);
        }
        let open = self.0.store.run_open().await.map_err(|error| unreadable(&error))?;
        for kept in open.iter().filter_map(KeptRun::read) {
            self.take_up(dispatch, kept).await;
        }
        for entry in self.entries() {
            let left = open.iter().filter_map(Act::read).filter(|act| act.rule == entry.id);
            let when = entry.order.lock().await.rule.as_ref().map(|rule| rule.when.clone());
            if let Some(when) = when {
                self.begin_rule(dispatch, &entry, (&when, left.collect()));
            }
        }
        self.0.tasks.spawn(self.clone().tell_refusals());
        Ok(())
    }

    /// Makes a change that no event tells of.
    pub(super) async fn keep(&self, change: OrderChange) -> Result<(), Fault> {
        self.0.store.order_change(change).await.map_err(|error| unreadable(&error))
    }

    /// Records a change of an order with the event that tells of it.
    async fn record(&self, draft: Draft, change: OrderChange) -> Result<(), Fault> {
        self.0.bus.publish_order(SOURCE, draft, (None, change)).await.map(|_| ())
    }
}

impl Entry {
    fn has_ended(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    fn stored(&self, order: &Order) -> Result<StoredOrder, Fault> {
        order.stored(self.hash, self.sealed.clone())
    }
}

impl Dispatch {
    /// Takes up the triggers that an earlier life of the daemon has left.
    ///
    /// # Errors
    /// `unavailable` when they cannot be read.
    pub async fn resume_orders(&self) -> Result<(), Fault> {
        self.0.orders.resume(self).await
    }

    /// Who an order acts as: what its owner may at this moment, narrowed to its one call.
    async fn principal_of(&self, order: &Order) -> Result<Principal, Fault> {
        let rights = self.owner_rights(order).await?;
        let (method, action) = match order.operation.method.as_str() {
            "rpc/jobs" => ("rpc/dispatcher", Some("run")),
            method => (method, order.operation.action()),
        };
        let methods = match action {
            Some(action) => format!("{method}:{action}"),
            None => method.to_owned(),
        };
        let grant =
            Grant { methods: vec![methods], classes: vec!["*".to_owned()], resources: Vec::new() };
        let narrowed = rights.narrowed(Allowance { level: None, grants: vec![grant] });
        let mut principal = Principal::new(order.actor(), order.owner.role.clone(), narrowed);
        principal.credentials.push(Credential::Trigger(order.id));
        Ok(principal)
    }

    /// What the owner of an order may at this moment.
    async fn owner_rights(&self, order: &Order) -> Result<Rights, Fault> {
        let owner = &order.owner;
        let now = self.0.access.rights_now(&owner.name, &[], owner.token.as_ref()).await?;
        now.ok_or_else(|| {
            let sentence = format!("nothing is known any more of {}, whose it is", owner.name);
            Fault::new(FaultKind::Forbidden, sentence)
        })
    }

    /// Whether `asked` may have this call made later; what the tables say of it.
    ///
    /// # Errors
    /// What is wrong with it, and `forbidden`.
    async fn may_order(
        &self,
        asked: &Asked<'_>,
        request: &protocol::Request,
    ) -> Result<Found, Fault> {
        let method = request.method().to_ascii_lowercase();
        let inner = Asked { method: &method, version: 1, request, ..*asked };
        let found = self.find(&inner)?;
        if found.plugin.is_none() && !OWN.contains(&method.as_str()) {
            let sentence = format!("{method} cannot be had done later");
            return Err(Fault::bad_request(sentence)
                .with_hint(format!("of the daemon's own methods these can: {}", OWN.join(", "))));
        }
        if method == "rpc/jobs" && request.args["commands"].is_null() {
            let sentence = "of rpc/jobs only \"run\" with \"commands\" can be had done later";
            return Err(Fault::bad_request(sentence)
                .with_hint("name the call itself: it is made a job by itself"));
        }
        if let Err(fault) = self.permit(&inner, &found) {
            self.refuse(&inner, &found.secrets, &fault).await;
            return Err(fault);
        }
        if found.needs != Needs::Role(Role::Viewer) && method == "rpc/jobs" {
            let run =
                protocol::Request::new("rpc", "dispatcher", serde_json::json!({"action": "run"}));
            let commands = Asked { method: "rpc/dispatcher", request: &run, ..inner };
            let found = self.find(&commands)?;
            self.permit(&commands, &found)?;
        }
        Ok(found)
    }
}

fn hash(secret: Uuid) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// A draft that tells of an order.
fn telling(class: &str, order: &Order, message: &str, mut data: Value) -> Result<Draft, Fault> {
    data["trigger"] = order.id.to_string().into();
    data["name"] = order.name.as_str().into();
    data["operation"] = order.operation.title().into();
    let mut draft = draft(class, order.subject(), message, Value::Null)?;
    draft.data = Json::from(data);
    Ok(draft)
}

fn unreadable(error: &StoreError) -> Fault {
    tracing::error!(%error, "triggers could not be read");
    Fault::new(FaultKind::Unavailable, "the triggers could not be read").with_retry_after_ms(1_000)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
