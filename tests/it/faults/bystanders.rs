//! Those who must not notice anything: somebody who calls the good plugin, and somebody who fires
//! events and hears them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kit::client::SysAdmClient;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::harness::{Door, until};

/// How often each of them has to get through to have gone on undisturbed.
const TIMES: u64 = 5;
/// From one to the next: the machine is for the others, too.
const PAUSE: Duration = Duration::from_millis(5);

/// The tasks. Every one of their calls must be answered, and every one of their events must come,
/// within the patience of the client.
pub(super) struct Bystanders {
    tasks: JoinSet<()>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    calls: AtomicU64,
    events: AtomicU64,
    over: AtomicBool,
}

impl Bystanders {
    /// Begins; the plugin `kit` takes calls.
    pub(super) async fn begin(door: &Door) -> Self {
        let progress = Arc::<Progress>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(call(door.admin().await, Arc::clone(&progress)));
        tasks.spawn(fire(door.admin().await, door.admin().await, Arc::clone(&progress)));
        Self { tasks, progress }
    }

    /// Fails unless all of them get through several times from now on.
    pub(super) async fn go_on(&mut self) {
        let now =
            || [&self.progress.calls, &self.progress.events].map(|n| n.load(Ordering::SeqCst));
        let before = now();
        until("the bystanders have gone on undisturbed", async || {
            if let Some(Err(error)) = self.tasks.try_join_next() {
                std::panic::resume_unwind(error.into_panic());
            }
            now().iter().zip(before).all(|(now, before)| *now >= before + TIMES)
        })
        .await;
    }

    /// Ends them.
    pub(super) async fn end(mut self) {
        self.progress.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
    }
}

async fn call(mut client: SysAdmClient, progress: Arc<Progress>) {
    while !progress.over.load(Ordering::SeqCst) {
        let args = json!({"n": progress.calls.fetch_add(1, Ordering::SeqCst)});
        assert_eq!(client.call("kit", "echo", args.clone()).await, Ok(args));
        sleep(PAUSE).await;
    }
}

async fn fire(mut client: SysAdmClient, mut listener: SysAdmClient, progress: Arc<Progress>) {
    let wanted = json!({"sub": "notes", "filter": {"classes": ["user.note"]}});
    listener.subscribe(wanted).await.expect("the subscription is accepted");
    while !progress.over.load(Ordering::SeqCst) {
        let number = progress.events.fetch_add(1, Ordering::SeqCst);
        let event = json!({"class": "user.note", "data": {"n": number}});
        client.call("events", "fire", event).await.expect("the event is recorded");
        assert_eq!(listener.event().await["args"]["data"]["n"], number);
        sleep(PAUSE).await;
    }
}
