//! The sinks of the configuration: in the words of `CloudEvents` and of what people read, and with
//! programs that are run as commands are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::alarm::Alarm;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::{Config, SinkKind};
use crate::host::{CommandEnd, CommandRun, Host};
use crate::lifecycle::Tasks;
use crate::sinks::{Ended, Ground, News, Parts, Program, Programs, Route, Sinks, Words};
use crate::store::Store;
use crate::wire::cloudevents::{self, BATCH, STRUCTURED};
use crate::wire::notice;

/// Bytes of the end of what a program prints that are logged when it fails.
const SAID_BYTES: usize = 1_024;

/// How deliveries are worded.
static WORDS: Words = Words {
    structured: STRUCTURED,
    batch: BATCH,
    text: worded,
    binary: |text| {
        let message = cloudevents::binary(&cloudevents::parse(text).ok()?);
        let cloudevents::Binary { headers, content_type, body } = message;
        Some(Parts { headers, content_type, body })
    },
};

fn worded(news: &News<'_>, route: &Route<'_>) -> Option<Vec<u8>> {
    let Route { name, settings, cursor, host } = route;
    if settings.kind != SinkKind::CloudEvents {
        return notice::text(news, route);
    }
    Some(match news {
        News::Event(event) => {
            let mut text = Vec::with_capacity(event.weight() + 512);
            cloudevents::write(event, cursor, host, &mut text);
            text
        }
        News::Gap(gap) => cloudevents::gap(gap, cursor, host).into_bytes(),
        News::Test(time) => cloudevents::test(name, *time, host).into_bytes(),
    })
}

/// Runs one program to its end.
async fn run(host: Host, tasks: Tasks, program: Program) -> Ended {
    let Program { argv, input, spares_rest, deadline } = program;
    let said = Mutex::new(VecDeque::new());
    let output = |bytes: &[u8]| keep_end(&said, bytes);
    let end = tasks.stop_signal().part();
    let command =
        CommandRun { argv: &argv, input: &input, spares_rest, output: &output, end: end.signal() };
    let mut running = std::pin::pin!(host.run_command(command));
    let ended = tokio::select! {
        ended = &mut running => Some(ended),
        () = tokio::time::sleep(deadline) => None,
    };
    let Some(ended) = ended else {
        end.set();
        running.await;
        return Ended::Late;
    };
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if ended != CommandEnd::Exited(0) {
        let said = String::from_utf8_lossy(said.make_contiguous());
        tracing::warn!(program = argv.first(), ?ended, %said, "a program that delivers has failed");
    }
    match ended {
        CommandEnd::Exited(code) => Ended::Exited(code),
        CommandEnd::Signalled(signal) => Ended::Signalled(signal),
        CommandEnd::NotStarted(why) => Ended::NotStarted(why),
    }
}

fn keep_end(said: &Mutex<VecDeque<u8>>, bytes: &[u8]) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    said.extend(&bytes[bytes.len().saturating_sub(SAID_BYTES)..]);
    let more = said.len().saturating_sub(SAID_BYTES);
    said.drain(..more);
}

/// Begins to deliver.
pub(super) async fn begin(
    config: &Config,
    (store, bus, host): (&Arc<Store>, &Bus, &Host),
    (clock, hostname, alarm): (&Clock, &str, &Alarm),
    tasks: &Tasks,
) -> Sinks {
    let (runner, running) = (host.clone(), tasks.clone());
    let programs =
        Programs::new(move |program| Box::pin(run(runner.clone(), running.clone(), program)));
    let ground = Ground {
        store: Arc::clone(store),
        bus: bus.clone(),
        alarm: alarm.clone(),
        clock: clock.clone(),
        host: hostname.to_owned(),
        words: &WORDS,
        programs,
        tasks: tasks.clone(),
    };
    Sinks::begin(&config.sinks, ground).await
}
