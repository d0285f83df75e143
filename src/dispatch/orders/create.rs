//! Making a trigger.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::{Fault, FaultKind, Json, Request};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::answer::{Create, Made, Shown};
use super::knock::later;
use super::order::{Operation, Order, Owner, Terms, Word};
use super::{ORDERS_MAX, Secrets, hash, run, telling};
use crate::access::redact::holds_secrets;
use crate::access::{Principal, Scope, Wish, scope_of};
use crate::dispatch::jobs::work::token_of;
use crate::dispatch::shape::said;
use crate::dispatch::{Asked, Dispatch};
use crate::store::OrderChange;
use crate::trigger::gate::{Bounds, Used};
use crate::trigger::path;
use crate::trigger::signature::{STANDARD_PREFIX, Scheme, secret_bytes};

/// Characters of a name.
const NAME_MAX: usize = 128;
/// Characters of a service's uuid.
const SERVICE_MAX: usize = 64;
/// Bytes of the arguments that are kept.
const ARGS_MAX: usize = 16 * 1024;
/// Bounds of the numbers.
const RATE_MAX: u32 = 6_000;
const BURST_MAX: u32 = 1_000;
const INTERVAL_MAX: u64 = 7 * 24 * 3_600;
const SCALE_MAX: u32 = 1_000;
/// Random bytes of a secret that is made here.
const SECRET_BYTES: usize = 24;

/// Makes one.
pub(super) async fn create(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    wanted: Create,
) -> Result<Json, Fault> {
    check(&wanted)?;
    let orders = &dispatch.0.orders;
    if orders.entries().len() >= ORDERS_MAX {
        let sentence = format!("there are {ORDERS_MAX} triggers already");
        return Err(Fault::new(FaultKind::TooMany, sentence).with_hint("delete some"));
    }
    let owner = owner_of(dispatch, asked.principal).await?;
    let operation = operation_of(dispatch, asked, &wanted).await?;
    let (id, url) = (run::new_id()?, run::new_id()?);
    let secret = signing_secret(&wanted)?;
    let created = dispatch.0.clock.now();
    let order = order_of(id, wanted, (owner, operation), created);
    let sealed = orders.seal(id, &Secrets { url, signing: secret.clone() })?;
    let stored = order.stored(Some(hash(url)), Some(sealed))?;
    let message = format!("Trigger {} was made by {}", order.title(), order.owner.name);
    let draft = telling("trigger.changed", &order, &message, json!({ "what": "created" }))?;
    let change = OrderChange { order: Some(stored.clone()), ..OrderChange::default() };
    orders.record(draft, change).await?;
    let entry = orders.entry_of(stored).ok_or_else(Fault::internal)?;
    orders.insert(entry);
    let url = format!("{}call/", path(order.operation.service.as_deref(), url));
    said(&Made { trigger: Shown::of(&order), url, secret })
}

/// Checks what somebody calls an order.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    if name.chars().count() <= NAME_MAX && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Fault::bad_request(format!("\"name\" has at most {NAME_MAX} printable characters")))
}

fn check(wanted: &Create) -> Result<(), Fault> {
    let refuse = |sentence: String| Err(Fault::bad_request(sentence));
    check_name(&wanted.name)?;
    for (name, number, most) in [
        ("rate_per_min", wanted.rate_per_min, RATE_MAX),
        ("burst", wanted.burst, BURST_MAX),
        ("max_scale", wanted.max_scale, SCALE_MAX),
    ] {
        if !(1..=most).contains(&number) {
            return refuse(format!("{name:?} must be from 1 to {most}"));
        }
    }
    if wanted.min_interval_s > INTERVAL_MAX {
        return refuse(format!("\"min_interval_s\" must be from 0 to {INTERVAL_MAX}"));
    }
    if wanted.args.to_string().len() > ARGS_MAX {
        return refuse(format!("\"args\" have at most {ARGS_MAX} bytes"));
    }
    if !wanted.allow_from.is_empty() {
        let sources = Some(wanted.allow_from.clone());
        Scope { sources, ..Scope::default() }.check()?;
    }
    let is_service = |it: &String| {
        (1..=SERVICE_MAX).contains(&it.len())
            && it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if wanted.service.as_ref().is_some_and(|service| !is_service(service)) {
        return refuse("\"service\" is no uuid of a service".to_owned());
    }
    wanted.matching.check().map_err(Fault::bad_request)
}

/// In whose name it will act.
pub(super) async fn owner_of(dispatch: &Dispatch, principal: &Principal) -> Result<Owner, Fault> {
    let token = token_of(principal);
    if let Some((id, _)) = &token {
        let kept = dispatch.0.access.token(*id).await?;
        if scope_of(&kept).is_none_or(|scope| scope.sources.is_some()) {
            let sentence = "your token is accepted from some networks only, and a trigger of it \
                            would be called from others";
            return Err(Fault::new(FaultKind::Forbidden, sentence));
        }
    }
    let known = dispatch.0.access.rights_now(&principal.name, &[], token.as_ref()).await?;
    if known.is_none() {
        let sentence = format!(
            "{} can have nothing done later: nobody could tell whether they still may",
            principal.name
        );
        return Err(Fault::new(FaultKind::Forbidden, sentence));
    }
    Ok(Owner { name: principal.name.clone(), role: principal.role.clone(), token })
}

async fn operation_of(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    wanted: &Create,
) -> Result<Operation, Fault> {
    match (&wanted.method, wanted.operation, &wanted.service) {
        (Some(method), None, None) => call_of(dispatch, asked, (method, &wanted.args)).await,
        (None, Some(word), Some(service)) if wanted.args.is_null() => {
            word_of(asked.principal, word, service)
        }
        _ => Err(Fault::bad_request(
            "a trigger needs either \"method\" with \"args\", or \"operation\" with \"service\"",
        )),
    }
}

pub(super) async fn call_of(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    (method, args): (&str, &Value),
) -> Result<Operation, Fault> {
    let method = method.to_ascii_lowercase();
    let args = if args.is_null() { json!({}) } else { args.clone() };
    let (namespace, name) = method.split_once('/').ok_or_else(|| {
        Fault::bad_request(format!("{method:?} is no method: expected \"namespace/name\""))
    })?;
    let request = Request::new(namespace, name, args);
    let found = dispatch.may_order(asked, &request).await?;
    if holds_secrets(&request.args, &found.secrets) {
        let sentence = "the arguments of this call hold secrets, which may not lie on a disk";
        return Err(Fault::bad_request(sentence));
    }
    Ok(Operation { word: None, service: None, method, args: request.args })
}

/// An operation on a service. The plugin that does it may be away just now, so its right is asked for
/// by name.
fn word_of(principal: &Principal, word: Word, service: &str) -> Result<Operation, Fault> {
    let (method, action) = word.call();
    let resource = Some(format!("/services/{service}"));
    let wish = Wish {
        method,
        action: Some(action),
        least: protocol::Role::Operator,
        resource: resource.as_deref(),
    };
    if !principal.rights.may_call(&wish) {
        let sentence = format!("{} needs the right to call {method} {action}", word.as_str());
        return Err(Fault::new(FaultKind::Forbidden, sentence));
    }
    let args = json!({ "action": action, "service": service });
    let service = Some(service.to_owned());
    Ok(Operation { word: Some(word), service, method: method.to_owned(), args })
}

fn signing_secret(wanted: &Create) -> Result<Option<String>, Fault> {
    let Some(scheme) = wanted.signature else {
        return match wanted.secret {
            Some(_) => Err(Fault::bad_request("\"secret\" belongs to \"signature\"")),
            None => Ok(None),
        };
    };
    let secret = if let Some(secret) = &wanted.secret {
        secret.clone()
    } else {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(&mut *bytes).map_err(|_| Fault::internal())?;
        let prefix = if scheme == Scheme::Standard { STANDARD_PREFIX } else { "" };
        format!("{prefix}{}", STANDARD.encode(*bytes))
    };
    if secret.len() > 256 || secret_bytes(scheme, &secret).is_none() {
        let what = match scheme {
            Scheme::Standard => "base64 of 16 bytes or more, with or without whsec_ before it",
            _ => "16 to 256 characters",
        };
        return Err(Fault::bad_request(format!("\"secret\" must be {what}")));
    }
    Ok(Some(secret))
}

fn order_of(
    id: Uuid,
    wanted: Create,
    (owner, operation): (Owner, Operation),
    created: protocol::Time,
) -> Order {
    let scales = operation.word == Some(Word::ScaleUp);
    let expires = wanted.expires_s.map(|it| later(created, Duration::from_secs(it.get())));
    Order {
        id,
        name: wanted.name,
        created,
        enabled: true,
        owner,
        operation,
        bounds: Bounds {
            expires,
            max_calls: wanted.max_calls.map(std::num::NonZeroU64::get),
            min_interval_s: wanted.min_interval_s,
        },
        used: Used::default(),
        terms: Terms {
            signature: wanted.signature,
            allow_from: wanted.allow_from,
            rate_per_min: wanted.rate_per_min,
            burst: wanted.burst,
            matching: wanted.matching,
            coalesce: wanted.coalesce.unwrap_or(!scales),
            pass_body: wanted.pass_body,
            max_scale: wanted.max_scale,
        },
        rule: None,
    }
}

impl super::Orders {
    fn seal(&self, id: Uuid, secrets: &Secrets) -> Result<Vec<u8>, Fault> {
        let text = serde_json::to_vec(secrets).map(Zeroizing::new).ok();
        let sealed = text.and_then(|text| self.0.vault.as_ref()?.seal(id, &text));
        sealed.ok_or_else(|| {
            Fault::new(FaultKind::Unavailable, "the key that seals URLs is not there")
                .with_hint("the daemon's log says why")
        })
    }
}
