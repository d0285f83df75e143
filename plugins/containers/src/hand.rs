//! The engine's hands: each function changes one thing of one engine, or says why it did not.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    KillContainerOptions, RemoveContainerOptions, RestartContainerOptions, StartContainerOptions,
    StopContainerOptions,
};
use sdk::{Fault, FaultKind};

use crate::engine::sentence;

/// How long an answer may take beyond what was granted to a container.
const ANSWER: Duration = Duration::from_mins(1);

/// Why an engine did not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    cause: Cause,
    /// A sentence, mostly the engine's own.
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The engine has refused it, with a status of HTTP.
    Refused(u16),
    /// It does not answer.
    Silent,
    /// Nobody wants it any more.
    Aborted,
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self { cause: Cause::Silent, text }
    }
}

impl From<&str> for Trouble {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self { cause: Cause::Refused(status_code), text: message }
            }
            error => sentence(&error).into(),
        }
    }
}

impl Trouble {
    /// Nobody wants it any more.
    pub(crate) fn aborted() -> Self {
        let text = "it was aborted, and the engine may still do it".to_owned();
        Self { cause: Cause::Aborted, text }
    }

    /// Whether there is nothing of that id any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.cause == Cause::Refused(404)
    }

    /// What whoever has asked is told: what was not done, and why.
    pub(crate) fn fault(&self, undone: &str) -> Fault {
        let kind = match self.cause {
            Cause::Refused(404) => FaultKind::NotFound,
            Cause::Refused(409) => FaultKind::Conflict,
            Cause::Refused(_) => FaultKind::Failed,
            Cause::Silent => FaultKind::Unavailable,
            Cause::Aborted => FaultKind::Cancelled,
        };
        Fault::new(kind, format!("{undone}: {}", self.text))
    }
}

pub(crate) async fn start(docker: &Docker, id: &str) -> Result<(), Trouble> {
    let docker = docker.clone().with_timeout(ANSWER);
    Ok(docker.start_container(id, None::<StartContainerOptions>).await?)
}

/// Asks it to end, and ends it `grace_s` seconds later; `None`: as long as the container says.
pub(crate) async fn stop(docker: &Docker, id: &str, grace_s: Option<u32>) -> Result<(), Trouble> {
    let options = StopContainerOptions { t: grace(grace_s), signal: None };
    Ok(patient(docker, grace_s).stop_container(id, Some(options)).await?)
}

pub(crate) async fn restart(
    docker: &Docker,
    id: &str,
    grace_s: Option<u32>,
) -> Result<(), Trouble> {
    let options = RestartContainerOptions { t: grace(grace_s), signal: None };
    Ok(patient(docker, grace_s).restart_container(id, Some(options)).await?)
}

pub(crate) async fn kill(docker: &Docker, id: &str, signal: &str) -> Result<(), Trouble> {
    let options = KillContainerOptions { signal: signal.to_owned() };
    Ok(docker.kill_container(id, Some(options)).await?)
}

pub(crate) async fn pause(docker: &Docker, id: &str) -> Result<(), Trouble> {
    Ok(docker.pause_container(id).await?)
}

pub(crate) async fn unpause(docker: &Docker, id: &str) -> Result<(), Trouble> {
    Ok(docker.unpause_container(id).await?)
}

/// Removes one that does not run; one that is gone already is as good.
pub(crate) async fn remove(docker: &Docker, id: &str, volumes: bool) -> Result<(), Trouble> {
    let options = RemoveContainerOptions { v: volumes, force: false, link: false };
    match docker.clone().with_timeout(ANSWER).remove_container(id, Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) => Some(Trouble::from(error)).filter(|it| !it.is_gone()).map_or(Ok(()), Err),
    }
}

/// An engine's client that waits for as long as a container is given to end.
fn patient(docker: &Docker, grace_s: Option<u32>) -> Docker {
    // A container may say of itself that it takes an hour.
    let grace = grace_s.map_or(Duration::from_hours(1), |s| Duration::from_secs(s.into()));
    docker.clone().with_timeout(grace + ANSWER)
}

fn grace(grace_s: Option<u32>) -> Option<i32> {
    grace_s.map(|s| i32::try_from(s).unwrap_or(i32::MAX))
}
