//! Says once that newcomers cannot be let in, and once that they can again.

use std::time::Duration;

use protocol::{Json, Priority};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::publish_own;
use crate::alarm::Alarm;
use crate::bus::Bus;
use crate::lifecycle::Tasks;
use crate::listen::{Refused, Want};

/// The class of both events, and the kind of the alert.
const CLASS: &str = "daemon.overloaded";
/// How long nobody may have been refused before it is over.
const QUIET: Duration = Duration::from_secs(5);

/// Tells of it until the daemon stops.
pub(super) fn begin(refused: watch::Receiver<Refused>, (bus, alarm): (Bus, Alarm), tasks: &Tasks) {
    let stop = tasks.stop_signal();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.wait() => {}
            () = tell(refused, bus, alarm) => {}
        }
    });
}

async fn tell(mut refused: watch::Receiver<Refused>, bus: Bus, alarm: Alarm) {
    // What an earlier life has raised ended with it.
    alarm.clear(CLASS, "");
    let mut before = refused.borrow().count;
    while refused.changed().await.is_ok() {
        let begun = Instant::now();
        let Refused { want, .. } = *refused.borrow_and_update();
        let sentence = match want {
            Want::Files => "Newcomers cannot be let in: no file descriptor is left",
            Want::Places => "Newcomers are refused: all connections that may be are there",
        };
        tracing::error!("{sentence}");
        alarm.raise(CLASS, "", sentence.to_owned());
        publish_own(&bus, CLASS, |draft| {
            sentence.clone_into(&mut draft.message);
            draft.data = Json::from(json!({"state": "overloaded", "want": word(want)}));
        })
        .await;
        while let Ok(Ok(())) = timeout(QUIET, refused.changed()).await {}
        let Refused { count, want } = *refused.borrow_and_update();
        let (turned_away, seconds) = (count - before, begun.elapsed().as_secs());
        before = count;
        alarm.clear(CLASS, "");
        publish_own(&bus, CLASS, |draft| {
            "Newcomers can be let in again".clone_into(&mut draft.message);
            draft.priority = Some(Priority::MIN);
            draft.data = Json::from(json!({
                "state": "over",
                "want": word(want),
                "times": turned_away,
                "seconds": seconds,
            }));
        })
        .await;
    }
}

fn word(want: Want) -> &'static str {
    match want {
        Want::Files => "files",
        Want::Places => "places",
    }
}
