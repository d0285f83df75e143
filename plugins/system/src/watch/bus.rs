//! systemd, over the system's message bus.
//!
//! One thread runs the connection and says when something has changed; it connects again when the
//! bus has gone and come back. Whoever wants something of systemd asks in its own thread.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use futures_util::StreamExt;
use sdk::{Fault, FaultKind};
use serde::Serialize;
use tokio::runtime::Handle;
use zbus::message::Type;
use zbus::wire::DynamicDeserialize;
use zbus::{
    Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, connection,
};

use super::{News, Source};
use crate::unit::{Loaded, Unit, services};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const TIMEDATE: &str = "org.freedesktop.timedate1";

/// How long a plain answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a service may take to start or stop; the manifest gives the call a little more.
const JOB: Duration = Duration::from_secs(100);
/// Between two attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// systemd's units, as `ListUnits` answers.
type UnitRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// The way to systemd.
#[derive(Debug)]
pub(crate) struct Bus {
    runtime: Handle,
    link: Arc<Mutex<Result<Connection, String>>>,
}

/// What can be done with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Stop,
    Restart,
    Enable,
    Disable,
}

impl Bus {
    /// Connects, now and whenever the connection is lost.
    pub(crate) fn start(address: &str, news: Arc<News>) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let link = Arc::new(Mutex::new(Err("it is being connected to".to_owned())));
        let bus = Self { runtime: runtime.handle().clone(), link: Arc::clone(&link) };
        let address = address.to_owned();
        let live = move || runtime.block_on(live(&address, &link, &news));
        Builder::new().name("bus".to_owned()).spawn(live)?;
        Ok(bus)
    }

    /// Every service.
    ///
    /// # Errors
    /// `unavailable` while nobody answers.
    pub(crate) fn units(
        &self,
        describe: impl FnMut(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, Unit>, Fault> {
        let link = self.link()?;
        let (loaded, files) =
            self.runtime.block_on(units(&link)).map_err(|error| silent(&sentence(&error)))?;
        Ok(services(loaded, files, describe))
    }

    /// Does something with a service and waits until it is done.
    ///
    /// # Errors
    /// A sentence about why it was not done; the fault when nobody answers.
    pub(crate) fn act(&self, verb: Verb, unit: &str) -> Result<Result<(), String>, Fault> {
        let link = self.link()?;
        let act = async {
            match verb {
                Verb::Start => job(&link, "StartUnit", unit, "replace").await,
                Verb::Stop => job(&link, "StopUnit", unit, "replace").await,
                Verb::Restart => job(&link, "RestartUnit", unit, "replace").await,
                Verb::Enable => enable(&link, unit).await,
                Verb::Disable => disable(&link, unit).await,
            }
        };
        let limited = async { tokio::time::timeout(JOB, act).await };
        match self.runtime.block_on(limited) {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(error)) => Ok(Err(sentence(&error))),
            Err(_) => Ok(Err(format!("it takes longer than {} seconds", JOB.as_secs()))),
        }
    }

    /// Starts a target that ends this start of the machine.
    ///
    /// # Errors
    /// `unavailable` or `failed`.
    pub(crate) fn end_machine(&self, target: &str) -> Result<(), Fault> {
        let link = self.link()?;
        let body = (target, "replace-irreversibly");
        let started = self.runtime.block_on(call::<_, OwnedObjectPath>(&link, "StartUnit", &body));
        started.map(|_| ()).map_err(|error| {
            Fault::new(FaultKind::Failed, format!("systemd: {}", sentence(&error)))
        })
    }

    /// Whether the clock is synchronized, as systemd's time service reads it from the kernel; `None`
    /// when it does not answer.
    pub(crate) fn synchronized(&self) -> Option<bool> {
        let link = self.link().ok()?;
        let ask = async {
            let body = (TIMEDATE, "NTPSynchronized");
            let answer = link
                .call_method(
                    Some(TIMEDATE),
                    "/org/freedesktop/timedate1",
                    Some("org.freedesktop.DBus.Properties"),
                    "Get",
                    &body,
                )
                .await
                .ok()?;
            let value: OwnedVariant = answer.body().deserialize().ok()?;
            bool::try_from(value).ok()
        };
        self.runtime.block_on(ask)
    }

    fn link(&self) -> Result<Connection, Fault> {
        locked(&self.link).clone().map_err(|reason| silent(&reason))
    }
}

fn silent(reason: &str) -> Fault {
    Fault::new(FaultKind::Unavailable, format!("systemd does not answer: {reason}"))
        .with_hint("see whether the message bus runs (systemctl status dbus)")
        .with_retry_after_ms(2_000)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn live(address: &str, link: &Mutex<Result<Connection, String>>, news: &News) {
    let mut pause = RETRY_MIN;
    loop {
        let reason = match connect(address).await {
            Ok(connection) => {
                pause = RETRY_MIN;
                *locked(link) = Ok(connection.clone());
                news.mark_all([Source::Units, Source::Clock]);
                match follow(&connection, news).await {
                    Ok(()) => "the connection has ended".to_owned(),
                    Err(error) => sentence(&error),
                }
            }
            Err(error) => sentence(&error),
        };
        *locked(link) = Err(reason);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn connect(address: &str) -> zbus::Result<Connection> {
    connection::Builder::address(address).method_timeout(ANSWER).build().await
}

/// Says that services may have changed whenever systemd says anything; returns when the bus is gone.
async fn follow(link: &Connection, news: &News) -> zbus::Result<()> {
    let said = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SYSTEMD)
        .path_namespace(SYSTEMD_PATH)
        .build()?;
    let owner = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, SYSTEMD)
        .build()?;
    let mut said = MessageStream::for_match_rule(said, link, None).await?;
    let mut owner = MessageStream::for_match_rule(owner, link, None).await?;
    call::<_, ()>(link, "Subscribe", &()).await?;
    // What happened before the subscription was not said.
    news.mark(Source::Units);
    loop {
        tokio::select! {
            heard = said.next() => match heard {
                Some(Ok(_)) => news.mark(Source::Units),
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            // systemd has been started again and knows nothing of the subscription.
            heard = owner.next() => match heard {
                Some(Ok(_)) => {
                    call::<_, ()>(link, "Subscribe", &()).await.ok();
                    news.mark(Source::Units);
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            () = link.closed() => return Ok(()),
        }
    }
}

/// Asks systemd's manager.
async fn call<B, R>(link: &Connection, method: &str, body: &B) -> zbus::Result<R>
where
    B: Serialize + DynamicType,
    R: for<'d> DynamicDeserialize<'d>,
{
    let answer = link.call_method(Some(SYSTEMD), SYSTEMD_PATH, Some(MANAGER), method, body).await?;
    answer.body().deserialize()
}

async fn units(link: &Connection) -> zbus::Result<(Vec<Loaded>, Vec<(String, String)>)> {
    let (states, patterns): (Vec<&str>, _) = (Vec::new(), vec!["*.service"]);
    let body = (states, patterns);
    let loaded: Vec<UnitRow> = call(link, "ListUnitsByPatterns", &body).await?;
    let files: Vec<(String, String)> = call(link, "ListUnitFilesByPatterns", &body).await?;
    let loaded = loaded.into_iter().map(|row| {
        let (name, description, load, active, sub, ..) = row;
        Loaded { name, description, load, active, sub }
    });
    Ok((loaded.collect(), files))
}

/// Has systemd do a job, and waits for its end.
async fn job(link: &Connection, method: &str, unit: &str, mode: &str) -> zbus::Result<()> {
    let removed = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SYSTEMD)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()?;
    // Before the job begins, so that its end is not missed.
    let mut removed = MessageStream::for_match_rule(removed, link, None).await?;
    let job: OwnedObjectPath = call(link, method, &(unit, mode)).await?;
    while let Some(message) = removed.next().await {
        let message = message?;
        let body = message.body();
        let (_, path, _, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
        if path == job {
            return match result.as_str() {
                "done" | "skipped" => Ok(()),
                other => Err(zbus::Error::Failure(format!("the job ended with {other:?}"))),
            };
        }
    }
    Err(zbus::Error::Failure("the message bus has gone before the job ended".to_owned()))
}

/// Links made or removed: what, where, and to what.
type Links = Vec<(String, String, String)>;

async fn enable(link: &Connection, unit: &str) -> zbus::Result<()> {
    let body = (vec![unit], false, false);
    let (installable, _): (bool, Links) = call(link, "EnableUnitFiles", &body).await?;
    if !installable {
        let sentence = "its unit file does not say when to start it, so it cannot be enabled";
        return Err(zbus::Error::Failure(sentence.to_owned()));
    }
    call(link, "Reload", &()).await
}

async fn disable(link: &Connection, unit: &str) -> zbus::Result<()> {
    let body = (vec![unit], false);
    let _: Links = call(link, "DisableUnitFiles", &body).await?;
    call(link, "Reload", &()).await
}

/// What a caller may read of an error.
fn sentence(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) | zbus::Error::Failure(text) => text.clone(),
        other => other.to_string(),
    }
}
