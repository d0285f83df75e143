//! The sinks of the configuration, in the words of `CloudEvents`.

use std::sync::Arc;

use crate::alarm::Alarm;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::Tasks;
use crate::sinks::{Ground, Parts, Sinks, Words};
use crate::store::Store;
use crate::wire::cloudevents::{self, BATCH, STRUCTURED};

/// How deliveries are worded.
static WORDS: Words = Words {
    structured: STRUCTURED,
    batch: BATCH,
    event: cloudevents::write,
    gap: cloudevents::gap,
    test: cloudevents::test,
    binary: |text| {
        let message = cloudevents::binary(&cloudevents::parse(text).ok()?);
        let cloudevents::Binary { headers, content_type, body } = message;
        Some(Parts { headers, content_type, body })
    },
};

/// Begins to deliver.
pub(super) async fn begin(
    config: &Config,
    (store, bus): (&Arc<Store>, &Bus),
    (clock, hostname, alarm): (&Clock, &str, &Alarm),
    tasks: &Tasks,
) -> Sinks {
    let ground = Ground {
        store: Arc::clone(store),
        bus: bus.clone(),
        alarm: alarm.clone(),
        clock: clock.clone(),
        host: hostname.to_owned(),
        words: &WORDS,
        tasks: tasks.clone(),
    };
    Sinks::begin(&config.sinks, ground).await
}
