//! Tells the service manager that the daemon lives, as long as the loops do on which everything
//! stands: the main loop, the runtime's threads, the writer of the database, the fan-out. One that
//! hangs keeps the sign of life from being given; the daemon is then ended and started anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::bus::Bus;
use crate::lifecycle::Tasks;
use crate::store::Store;

/// Rounds for each stretch of the service manager's patience.
const ROUNDS: u32 = 3;

/// Each round that went well; nothing without a service manager that wants to know.
#[derive(Debug)]
pub(super) struct Watchdog(Option<mpsc::Receiver<()>>);

impl Watchdog {
    /// Begins to ask the loops, as often as the service manager wants to hear of them.
    pub(super) fn begin(store: &Arc<Store>, bus: &Bus, tasks: &Tasks) -> Self {
        let Some(patience) = sd_notify::watchdog_enabled() else { return Self(None) };
        // One round that the main loop has not told yet says as much as many.
        let (well, rounds) = mpsc::channel(1);
        let (store, bus, stop) = (Arc::clone(store), bus.clone(), tasks.stop_signal());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = ask(&store, &bus, patience / ROUNDS, &well) => {}
            }
        });
        Self(Some(rounds))
    }

    /// Waits for the next round that went well. The main loop waits here and then gives the sign, so
    /// that there is none without it.
    pub(super) async fn round(&mut self) {
        if let Some(rounds) = &mut self.0
            && rounds.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

async fn ask(store: &Store, bus: &Bus, every: Duration, well: &mpsc::Sender<()>) {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        match timeout(every, all_answer(store, bus)).await {
            // Full: the main loop has not taken the last one, and that one tells enough.
            Ok(Ok(())) => drop(well.try_send(())),
            Ok(Err(what)) => tracing::error!("no sign of life: {what}"),
            Err(_) => tracing::error!("no sign of life: a loop does not answer in time"),
        }
    }
}

/// Whether the threads on which everything stands do their work.
///
/// # Errors
/// Which of them has ended. One that hangs keeps this waiting.
pub(super) async fn all_answer(store: &Store, bus: &Bus) -> Result<(), &'static str> {
    store.answers().await.map_err(|_| "the writer of the database has ended")?;
    bus.answers().await.map_err(|_| "the fan-out has ended")
}
