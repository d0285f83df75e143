//! What calls ask of an engine: to be done in their own thread, and no longer than they are wanted.

use std::time::Duration;

use bollard::Docker;
use sdk::{Context, Fault, FaultKind};
use tokio::time::sleep;

use super::Worker;
use crate::container::Container;
use crate::hand::Trouble;
use crate::signal::{Signal, What};

/// How often is looked whether a call is still wanted.
const LOOK: Duration = Duration::from_millis(100);

impl Worker {
    /// Has the engine do something.
    ///
    /// # Errors
    /// Why it did not, or that the call was aborted meanwhile: the engine may then still do it.
    pub(crate) fn hand<T, F>(
        &self,
        ctx: &Context,
        work: impl FnOnce(Docker) -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        self.ask(|docker| {
            let work = work(docker);
            async move {
                tokio::select! {
                    done = work => done,
                    () = aborted(ctx) => Err(Trouble::aborted()),
                }
            }
        })
    }

    /// Notes that a container will end because somebody wants it: podman does not say so.
    pub(crate) fn expect_end(&self, it: &Container) {
        self.inbox.put(Signal {
            id: it.id.clone(),
            at: chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default(),
            name: it.name.clone(),
            image: it.image.clone(),
            what: What::Kill,
        });
    }

    /// What is told when the engine does not answer.
    pub(crate) fn silent(&self, reason: &str) -> Fault {
        let sentence = format!("the engine {} does not say it: {reason}", self.place.engine);
        Fault::new(FaultKind::Unavailable, sentence).with_retry_after_ms(1_000)
    }
}

async fn aborted(ctx: &Context) {
    while !ctx.cancelled() {
        sleep(LOOK).await;
    }
}
