//! Starting and stopping: the one place that spawns tasks, so that shutdown can wait for them.
//!
//! It knows which tasks live and whether the daemon is to stop. It must not know what they do.
//! Every floor above spawns here.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and knows when the last one is gone. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    stop: CancellationToken,
    alive: TaskTracker,
}

/// The other end: waits until every task is gone. There is one per daemon.
#[derive(Debug)]
pub struct Gone(TaskTracker);

/// Tells a task that the daemon stops. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(CancellationToken);

/// Stops one task alone, if the daemon does not stop before.
#[derive(Debug)]
pub struct Part(Stop);

impl Tasks {
    /// No tasks yet.
    pub fn new() -> (Self, Gone) {
        let alive = TaskTracker::new();
        (Self { stop: CancellationToken::new(), alive: alive.clone() }, Gone(alive))
    }

    /// Runs a task that shutdown waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        #[expect(clippy::disallowed_methods, reason = "this is the place the rule points to")]
        self.alive.spawn(task)
    }

    /// A signal for one task to watch.
    pub fn stop_signal(&self) -> Stop {
        Stop(self.stop.clone())
    }

    /// Asks every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Gone {
    /// Waits until every task is gone, at most `grace`; says whether they are.
    pub async fn wait(self, grace: Duration) -> bool {
        self.0.close();
        tokio::time::timeout(grace, self.0.wait()).await.is_ok()
    }
}

impl Stop {
    /// Returns when the daemon stops.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether the daemon stops.
    pub fn is_set(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A signal that is set with this one, and can be set alone.
    pub fn part(&self) -> Part {
        Part(Self(self.0.child_token()))
    }
}

impl Part {
    /// What the one task watches.
    pub fn signal(&self) -> Stop {
        self.0.clone()
    }

    /// Asks it to stop.
    pub fn set(&self) {
        self.0.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_every_task() {
        let (tasks, gone) = Tasks::new();
        let stop = tasks.stop_signal();
        let task = tasks.spawn(async move {
            stop.wait().await;
            tokio::task::yield_now().await;
        });
        tasks.stop();
        assert!(gone.wait(Duration::from_secs(5)).await);
        assert!(task.is_finished());
    }

    #[tokio::test]
    async fn a_task_that_ignores_the_stop_is_told_apart() {
        let (tasks, gone) = Tasks::new();
        let stuck = tasks.spawn(std::future::pending::<()>());
        tasks.stop();
        assert!(!gone.wait(Duration::from_millis(20)).await);
        stuck.abort();
    }
}
