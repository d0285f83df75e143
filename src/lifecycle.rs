//! Starting and stopping: the one place that spawns tasks, so that shutdown can wait for them.
//!
//! It knows which tasks live and whether the daemon is to stop. It must not know what they do.
//! Every floor above spawns here.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Spawns tasks and knows when the last one is gone. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    stop: watch::Sender<bool>,
    /// Nothing is ever sent: a task holds a sender while it lives, and dropping it says "I am gone".
    alive: mpsc::Sender<()>,
}

/// The other end: waits until every task is gone. There is one per daemon.
#[derive(Debug)]
pub struct Gone(mpsc::Receiver<()>);

/// Tells a task that the daemon stops. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Tasks {
    /// No tasks yet.
    pub fn new() -> (Self, Gone) {
        let (alive, gone) = mpsc::channel(1);
        (Self { stop: watch::Sender::new(false), alive }, Gone(gone))
    }

    /// Runs a task that shutdown waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let alive = self.alive.clone();
        #[expect(clippy::disallowed_methods, reason = "this is the place the rule points to")]
        tokio::spawn(async move {
            let output = task.await;
            drop(alive);
            output
        })
    }

    /// A signal for one task to watch.
    pub fn stop_signal(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Asks every task to stop.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Gone {
    /// Waits until every task is gone, at most `grace`; says whether they are.
    ///
    /// Give up your own [`Tasks`] first: it counts as alive.
    pub async fn wait(mut self, grace: Duration) -> bool {
        tokio::time::timeout(grace, self.0.recv()).await.is_ok()
    }
}

impl Stop {
    /// Returns when the daemon stops.
    pub async fn wait(&mut self) {
        // An error means that nobody can stop us any more, which is a stop as well.
        self.0.wait_for(|stopped| *stopped).await.ok();
    }

    /// Whether the daemon stops.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_every_task() {
        let (tasks, gone) = Tasks::new();
        let mut stop = tasks.stop_signal();
        let task = tasks.spawn(async move {
            stop.wait().await;
            tokio::task::yield_now().await;
        });
        tasks.stop();
        drop(tasks);
        assert!(gone.wait(Duration::from_secs(5)).await);
        assert!(task.is_finished());
    }

    #[tokio::test]
    async fn a_task_that_ignores_the_stop_is_told_apart() {
        let (tasks, gone) = Tasks::new();
        let stuck = tasks.spawn(std::future::pending::<()>());
        tasks.stop();
        drop(tasks);
        assert!(!gone.wait(Duration::from_millis(20)).await);
        stuck.abort();
    }
}
