//! The engine's hands: each function changes one thing of one engine, or says why it did not.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, ImageConfig,
    NetworkConnectRequest,
};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, InspectContainerOptions, KillContainerOptions,
    ListContainersOptions, RemoveContainerOptions, RenameContainerOptions, RestartContainerOptions,
    StartContainerOptions, StopContainerOptions,
};
use futures_util::StreamExt as _;
use sdk::{Fault, FaultKind};

use crate::engine::sentence;

/// How long an answer may take beyond what was granted to a container.
const ANSWER: Duration = Duration::from_mins(1);
/// How long may pass between two words of a registry.
const PULL: Duration = Duration::from_mins(5);

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

    /// Whether nobody wants it any more.
    pub(crate) fn is_aborted(&self) -> bool {
        self.cause == Cause::Aborted
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
    removed(docker, id, RemoveContainerOptions { v: volumes, force: false, link: false }).await
}

async fn removed(
    docker: &Docker,
    id: &str,
    options: RemoveContainerOptions,
) -> Result<(), Trouble> {
    let docker = docker.clone().with_timeout(ANSWER);
    match docker.remove_container(id, Some(options)).await.map_err(Trouble::from) {
        // Somebody else removes it at this moment.
        Err(trouble) if trouble.is_gone() || trouble.text.contains("already in progress") => Ok(()),
        other => other,
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

/// The whole of an inspection.
pub(crate) async fn inspect(
    docker: &Docker,
    id: &str,
) -> Result<ContainerInspectResponse, Trouble> {
    Ok(docker.inspect_container(id, None::<InspectContainerOptions>).await?)
}

/// Makes a container; its id.
pub(crate) async fn create(
    docker: &Docker,
    name: &str,
    body: ContainerCreateBody,
) -> Result<String, Trouble> {
    let options =
        CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
    let docker = docker.clone().with_timeout(ANSWER);
    Ok(docker.create_container(Some(options), body).await?.id)
}

/// Connects one that does not run yet to a network.
pub(crate) async fn connect(
    docker: &Docker,
    network: &str,
    id: &str,
    endpoint: EndpointSettings,
) -> Result<(), Trouble> {
    let request =
        NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint) };
    Ok(docker.connect_network(network, request).await?)
}

pub(crate) async fn rename(docker: &Docker, id: &str, name: &str) -> Result<(), Trouble> {
    let options = RenameContainerOptions { name: name.to_owned() };
    Ok(docker.rename_container(id, options).await?)
}

/// Removes one at once, whatever it does, with its volumes without a name.
pub(crate) async fn discard(docker: &Docker, id: &str) -> Result<(), Trouble> {
    removed(docker, id, RemoveContainerOptions { v: true, force: true, link: false }).await
}

/// The ids of all containers with this label, as `name=text`.
pub(crate) async fn labelled(docker: &Docker, label: &str) -> Result<Vec<String>, Trouble> {
    let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let options = ListContainersOptions {
        all: true,
        filters: Some(filters),
        ..ListContainersOptions::default()
    };
    let found = docker.list_containers(Some(options)).await?;
    Ok(found.into_iter().filter_map(|it| it.id).collect())
}

/// The id and the settings of an image that is here.
pub(crate) async fn image(docker: &Docker, name: &str) -> Result<(String, ImageConfig), Trouble> {
    let found = docker.inspect_image(name).await?;
    Ok((found.id.unwrap_or_default(), found.config.unwrap_or_default()))
}

/// Has the engine ask an image's registry for the newest one of that name.
pub(crate) async fn pull(docker: &Docker, name: &str) -> Result<(), Trouble> {
    // Without a tag it would be all of them.
    let is_tagged = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    let name = if is_tagged { name.to_owned() } else { format!("{name}:latest") };
    let options = CreateImageOptions { from_image: Some(name), ..CreateImageOptions::default() };
    let docker = docker.clone().with_timeout(PULL);
    let mut said = pin!(docker.create_image(Some(options), None, None));
    while let Some(step) = said.next().await {
        step?;
    }
    Ok(())
}
