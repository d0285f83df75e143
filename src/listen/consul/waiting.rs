//! Lists, at once or when there is something new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use protocol::{Cursor, Event, Fault, FaultKind, Gap, Overflow, Start};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::answers::Form;
use super::lists::{Snapshot, wanted};
use super::{Asker, answers, node, origin};
use crate::access::Principal;
use crate::bus::{Face, Offer, Outlet, Wording};
use crate::dispatch::consul::{Filters, Node};
use crate::dispatch::{Session, Wanted};
use crate::listen::admission::Place;
use crate::listen::http::Connection;
use crate::listen::rest::Answer;
use crate::sight::Sight;
use crate::wire::consul::{EMPTY_INDEX, Reply};

/// What a waiter's subscription is called.
const KEY: &str = "consul";

/// A waiter hears that something has come, not what: it looks at the list for that.
static RING: Wording = Wording { name: "consul", event: ring, gap: pass_over };

fn ring(_: &Event, _: &Cursor, _: &str, frames: &mut Vec<u8>) {
    frames.push(0);
}

fn pass_over(_: &Gap, _: &Cursor, _: &str, _: &mut Vec<u8>) {}

/// Where a waiter's events go.
#[derive(Debug, Default)]
struct Bell {
    rung: Notify,
    is_gone: AtomicBool,
}

impl Outlet for Bell {
    fn offer(&self, _: &Bytes) -> Offer {
        if self.is_gone.load(Ordering::Acquire) {
            return Offer::Gone;
        }
        self.rung.notify_one();
        Offer::Taken
    }

    fn poll_room(&self, _: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(!self.is_gone.load(Ordering::Acquire))
    }

    fn close_slow(&self) {
        self.is_gone.store(true, Ordering::Release);
        self.rung.notify_one();
    }
}

/// One question for a list.
struct Question<'a> {
    connection: &'a Connection,
    node: Node,
    name: Option<&'a str>,
    sight: Sight,
    /// Whether the filters of the question let this node through.
    is_covered: bool,
    /// Whether to say that something is hidden.
    tells: bool,
    form: Form,
}

/// Answers with the newest events; with `wait` while their index is that one, for that long.
pub(super) async fn list(
    connection: &Connection,
    asker: Asker,
    name: Option<String>,
    wait: Option<(u64, Duration)>,
) -> Result<Answer, Reply> {
    let Asker { principal, by_token, query, form } = asker;
    let filters = Filters::new(query.get("node"), query.get("service"), query.get("tag"));
    let filters = filters.map_err(|why| Reply::new(400, why))?;
    let Some(principal) = principal else {
        return Ok(nothing(connection, form, wait).await);
    };
    let refused = |fault: Fault| Reply::of(&fault);
    connection.dispatch.access().spend(&principal).map_err(refused)?;
    let node = node(connection);
    let question = Question {
        connection,
        is_covered: filters.cover(&node),
        node,
        name: name.as_deref(),
        sight: connection.dispatch.sight(&principal),
        tells: by_token,
        form,
    };
    let first = question.look().await.map_err(refused)?;
    match wait {
        Some((index, patience)) if first.index == index => {
            let last = question.wait(principal, index, patience).await.map_err(refused)?;
            question.say(&last).await.map_err(refused)
        }
        _ => question.say(&first).await.map_err(refused),
    }
}

/// What a stranger sees, and at most as long as strangers may stay.
async fn nothing(connection: &Connection, form: Form, wait: Option<(u64, Duration)>) -> Answer {
    let mut answer = answers::list(&Snapshot::default(), form, false);
    if let Some((EMPTY_INDEX, patience)) = wait {
        let begun = connection.place().as_ref().map_or_else(Instant::now, Place::begun);
        let most = connection.dispatch.identity().limits.login().mul_f64(0.75);
        sleep_until((Instant::now() + patience).min(begun + most)).await;
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

impl Question<'_> {
    async fn look(&self) -> Result<Arc<Snapshot>, Fault> {
        if !self.is_covered {
            return Ok(Arc::default());
        }
        self.look_with(self.sight.clone()).await
    }

    async fn look_with(&self, sight: Sight) -> Result<Arc<Snapshot>, Fault> {
        let Connection { dispatch, lists, .. } = self.connection;
        lists.get(dispatch, &self.node, self.name, sight).await
    }

    /// The list as soon as its index is another one, or when the time has passed.
    async fn wait(
        &self,
        principal: Principal,
        index: u64,
        patience: Duration,
    ) -> Result<Arc<Snapshot>, Fault> {
        let deadline = Instant::now() + patience;
        let dispatch = &self.connection.dispatch;
        let mut revocations = dispatch.access().revocations();
        let mut session = Session::new(dispatch.clone(), origin(self.connection), Some(principal));
        let bell = Arc::new(Bell::default());
        // Whatever is recorded from here on either rings or is found by the look that follows.
        let ringing = Arc::clone(&bell);
        let outlet: Arc<dyn Outlet> = ringing;
        let wanted = Wanted {
            filter: wanted(self.name),
            start: Start::Now,
            overflow: Overflow::Lossless,
            face: Face::new(&RING, ""),
            outlet,
        };
        session.subscribe(KEY.to_owned(), wanted, Box::new(|_| Vec::new())).await?;
        loop {
            let now = Instant::now();
            let expiry = session.time_left().map_or(deadline, |left| now + left);
            if !session.still_counts() {
                return Err(Fault::new(FaultKind::Unauthorized, "the token was revoked"));
            }
            let found = self.look().await?;
            if found.index != index || now >= deadline {
                return Ok(found);
            }
            tokio::select! {
                () = bell.rung.notified() => {}
                _ = revocations.changed() => {}
                () = sleep_until(deadline.min(expiry)) => {}
            }
        }
    }

    async fn say(&self, found: &Snapshot) -> Result<Answer, Fault> {
        let hidden = self.tells && self.is_covered && {
            let all = self.look_with(Sight::everything()).await?;
            !all.is_shown_to(&self.sight)
        };
        Ok(answers::list(found, self.form, hidden))
    }
}
