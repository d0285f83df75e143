//! A call from the caller's side: a place, a deadline, an answer.

use std::sync::Arc;
use std::time::Duration;

use protocol::link::{Call, CallContext};
use protocol::{Fault, FaultKind, Json, Request};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::calls::Ask;
use super::instance::{Link, gone, not_begun};
use super::status::Face;
use super::supervisor::down;
use super::table::{Entry, Route};
use super::{Caller, Watch};

/// What a frame adds to the parameters of a call, in bytes, and more.
const FRAME_BYTES: usize = 128;
/// Milliseconds after which a place may have become free.
const BUSY_RETRY_MS: u64 = 250;

/// Asks a plugin and waits for its answer until the deadline: the route's, or whoever watches sets it. Whoever drops this future
/// gives up: the plugin is told.
pub(crate) async fn ask(
    entry: &Entry,
    route: &Route,
    caller: &Caller,
    request: &Request,
    mut watch: Option<Watch>,
) -> Result<Json, Fault> {
    let time = watch.as_ref().map_or(route.timeout, |watch| watch.timeout);
    let deadline = Instant::now() + time;
    let mut face = entry.face.clone();
    let mut params = parameters(&face, (route.since, time), caller, request)?;
    let mut link = link_of(&mut face)?;
    loop {
        // Held until the answer is there.
        let Some(_place) = link.place() else { return Err(busy(&face)) };
        let (reply, answer) = oneshot::channel();
        let (request_id, call) = (caller.request_id.clone(), Arc::clone(&caller.call));
        match link.send(Ask { request_id, call, params, reply, watch }) {
            Ok(()) => {
                // Dropped behind the end of the reply, so that the bell finds it gone.
                let mut leaving = Leaving { link: &link, is_answered: false };
                let answer = timeout_at(deadline, answer).await;
                let answer = answer.map_err(|_| too_late(&route.plugin, time))?;
                leaving.is_answered = true;
                return answer.unwrap_or_else(|_| Err(gone(&route.plugin)));
            }
            Err(TrySendError::Full(_)) => return Err(busy(&face)),
            Err(TrySendError::Closed(ask)) => {
                // It was replaced between the look and the knock, or it is ending.
                (params, watch) = (ask.params, ask.watch);
                let newer = link_of(&mut face)?;
                if newer.is_same(&link) {
                    return Err(not_begun(&route.plugin));
                }
                link = newer;
            }
        }
    }
}

/// Tells the process when its caller goes before the answer is there.
struct Leaving<'a> {
    link: &'a Link,
    is_answered: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.link.ring();
        }
    }
}

fn link_of(face: &mut watch::Receiver<Face>) -> Result<Link, Fault> {
    let face = face.borrow_and_update();
    face.link.clone().ok_or_else(|| down(&face))
}

fn parameters(
    face: &watch::Receiver<Face>,
    (version, time): (u32, Duration),
    caller: &Caller,
    request: &Request,
) -> Result<Json, Fault> {
    let ctx = CallContext {
        request_id: caller.request_id.clone(),
        actor: caller.actor.clone(),
        role: caller.role,
        deadline_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        version,
    };
    let Request { namespace, name, args } = request.clone();
    let params = Json::of(&Call { namespace, name, args, ctx }).map_err(|error| {
        tracing::error!(%error, "a call has no JSON form");
        Fault::internal()
    })?;
    let (plugin, most) = {
        let manifest = &face.borrow().spec.manifest;
        (manifest.id.clone(), manifest.limits.line_bytes)
    };
    let bytes = params.text().len() + FRAME_BYTES;
    if bytes > most {
        let sentence =
            format!("the call has {bytes} bytes; the plugin {plugin} takes {most} at most");
        return Err(Fault::new(FaultKind::TooLarge, sentence));
    }
    Ok(params)
}

fn busy(face: &watch::Receiver<Face>) -> Fault {
    let face = face.borrow();
    let (id, calls) = (&face.spec.manifest.id, face.spec.manifest.limits.calls);
    let sentence =
        format!("the plugin {id} works on {calls} calls already, and as many wait for their turn");
    Fault::new(FaultKind::TooMany, sentence).with_retry_after_ms(BUSY_RETRY_MS)
}

fn too_late(plugin: &str, time: Duration) -> Fault {
    let sentence = format!(
        "the plugin {plugin} has not answered within {} ms; it has been told to stop",
        time.as_millis()
    );
    Fault::new(FaultKind::Timeout, sentence)
        .with_hint("whether the work was done is not known; look before you ask again")
}
