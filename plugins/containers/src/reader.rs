//! Hears an engine, on a thread of its own that does nothing else: connects, reads events, looks
//! whether the engine still answers, and connects again.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use bollard::Docker;
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::engine::{self, events_from};
use crate::inbox::{Inbox, Link};
use crate::signal::Signal;

/// Between two attempts to connect. It costs one system call.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long the engine has to say what happened while nobody listened.
const REPLAY: Duration = Duration::from_millis(250);
/// How often the engine is asked whether it is there, and how long it may think about it.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(10);

/// The way to an engine.
#[derive(Debug)]
pub(crate) struct Way {
    runtime: Handle,
    docker: Arc<Mutex<Option<Docker>>>,
}

impl Way {
    /// Begins to hear the engine at this socket. The thread ends with the process.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn begin(socket: String, inbox: Arc<Inbox>) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let docker = Arc::new(Mutex::new(None));
        let way = Self { runtime: runtime.handle().clone(), docker: Arc::clone(&docker) };
        let live = move || runtime.block_on(live(&socket, &docker, &inbox));
        Builder::new().name("reader".to_owned()).spawn(live)?;
        Ok(way)
    }

    /// Asks the engine something, in the asker's own thread.
    ///
    /// # Errors
    /// A sentence: it cannot be reached, or what `ask` says.
    pub(crate) fn ask<T, E, F>(&self, ask: impl FnOnce(Docker) -> F) -> Result<T, E>
    where
        E: From<&'static str>,
        F: Future<Output = Result<T, E>>,
    {
        let docker = self.docker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let docker = docker.ok_or("the engine cannot be reached")?;
        self.runtime.block_on(ask(docker))
    }
}

async fn live(socket: &str, docker: &Mutex<Option<Docker>>, inbox: &Inbox) {
    let (mut wait, mut was_down) = (RETRY_MIN, false);
    // From when on the engine is asked what happened.
    let mut since = None;
    loop {
        let set = |link| *docker.lock().unwrap_or_else(PoisonError::into_inner) = link;
        match engine::connect(socket).await {
            Ok((link, facts)) => {
                set(Some(link.clone()));
                let ready = Link::Ready { facts, was_down };
                let reason = follow(&link, &mut since, inbox, ready).await;
                set(None);
                (wait, was_down) = (RETRY_MIN, false);
                inbox.link(Link::Lost(reason));
            }
            Err(reason) => {
                was_down = true;
                inbox.link(Link::Lost(reason));
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Hears events until the engine is lost; why it is.
async fn follow(docker: &Docker, since: &mut Option<i64>, inbox: &Inbox, ready: Link) -> String {
    let from = since.map_or_else(|| now() - 1_000_000_000, |last| last + 1);
    let mut events = pin!(docker.events(Some(events_from(from))));
    let mut silence = pin!(silence(docker));
    let mut replay = pin!(sleep(REPLAY));
    let mut ready = Some(ready);
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some(Ok(event)) => {
                    let at = event.time_nano.unwrap_or_default();
                    *since = Some(since.unwrap_or(from).max(at));
                    if let Some(signal) = read(&event, at) {
                        inbox.put(signal);
                    }
                }
                Some(Err(error)) => return engine::sentence(&error),
                None => return "the engine has ended its events".to_owned(),
            },
            () = &mut replay, if ready.is_some() => {
                if let Some(ready) = ready.take() {
                    inbox.link(ready);
                }
            }
            reason = &mut silence => return reason,
        }
    }
}

fn read(event: &bollard::models::EventMessage, at: i64) -> Option<Signal> {
    let actor = event.actor.as_ref()?;
    let attributes = actor.attributes.as_ref()?;
    let (kind, action) = (event.typ.as_ref()?.to_string(), event.action.as_deref()?);
    Signal::read((&kind, action), actor.id.as_deref().unwrap_or_default(), at, attributes)
}

/// Returns when the engine does not answer any more, although its events have not ended.
async fn silence(docker: &Docker) -> String {
    loop {
        sleep(PING_EVERY).await;
        match timeout(PING, docker.ping()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return engine::sentence(&error),
            Err(_) => return format!("no answer within {} seconds", PING.as_secs()),
        }
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default()
}
