//! Whether a container that was started is well: its own check says so, or, without one, it goes on
//! running.

use std::time::{Duration, Instant};

use sdk::{Context, Fault, FaultKind};

use crate::container::{Container, Health, Phase};
use crate::engine;
use crate::worker::Worker;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(200);

/// What a container has to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gate {
    /// How long its own check may take to be content.
    pub(crate) health: Duration,
    /// How long one without a check has to run.
    pub(crate) stable: Duration,
}

/// What a look tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ready,
    Wait,
    Failed(String),
}

/// Why a container is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotReady {
    Failed(String),
    Aborted,
    Silent(String),
}

impl NotReady {
    pub(crate) fn fault(&self, name: &str) -> Fault {
        match self {
            Self::Failed(why) => Fault::new(FaultKind::Failed, format!("{name} {why}")),
            Self::Aborted => Fault::new(FaultKind::Cancelled, format!("{name}: it was aborted")),
            Self::Silent(why) => {
                Fault::new(FaultKind::Unavailable, format!("{name} cannot be looked at: {why}"))
            }
        }
    }
}

/// Judges a container that was started so long ago; `first` is how it was found first. Pure.
pub(crate) fn judge(
    it: Option<&Container>,
    first: Option<&Container>,
    since: Duration,
    gate: Gate,
) -> Verdict {
    let failed = |why: &str| Verdict::Failed(why.to_owned());
    let Some(it) = it else { return failed("is gone") };
    let code = it.exit_code.unwrap_or(0);
    match it.phase {
        Phase::Failed => return Verdict::Failed(format!("cannot be started: {}", it.error)),
        Phase::Exited if it.is_done() && it.label(crate::container::ONE_SHOT).is_some() => {
            return Verdict::Ready;
        }
        Phase::Exited => return Verdict::Failed(format!("has ended with exit code {code}")),
        Phase::Restarting => return failed("ends and is started again"),
        Phase::Created => return failed("was not started"),
        _ => {}
    }
    if first.is_some_and(|first| first.started != it.started) {
        return failed("has ended and was started again");
    }
    match it.health {
        Some(Health::Healthy) => Verdict::Ready,
        Some(Health::Unhealthy) => failed("is not well, says its check"),
        Some(Health::Starting) if since >= gate.health => {
            Verdict::Failed(format!("was not well within {} s", gate.health.as_secs()))
        }
        None if since >= gate.stable => Verdict::Ready,
        Some(Health::Starting) | None => Verdict::Wait,
    }
}

/// Waits until a container that was just started is well.
///
/// # Errors
/// Why it is not, or was not within its time.
pub(crate) fn ready(ctx: &Context, engine: &Worker, id: &str, gate: Gate) -> Result<(), NotReady> {
    let began = Instant::now();
    let mut first: Option<Container> = None;
    loop {
        let asked = id.to_owned();
        let seen = engine.ask(|docker| async move { engine::inspect(&docker, &asked).await });
        let seen = seen.map_err(|reason: String| NotReady::Silent(reason))?;
        match judge(seen.as_ref(), first.as_ref(), began.elapsed(), gate) {
            Verdict::Ready => return Ok(()),
            Verdict::Failed(why) => return Err(NotReady::Failed(why)),
            Verdict::Wait => {}
        }
        first = first.or(seen);
        if !ctx.pause(LOOK) {
            return Err(NotReady::Aborted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: Gate = Gate { health: Duration::from_mins(2), stable: Duration::from_secs(5) };

    fn running(health: Option<Health>) -> Container {
        let mut it = Container::new("id", "web", "image");
        (it.phase, it.health, it.started) = (Phase::Running, health, Some("then".to_owned()));
        it
    }

    fn after(it: &Container, seconds: u64) -> Verdict {
        judge(Some(it), Some(&running(None)), Duration::from_secs(seconds), GATE)
    }

    #[test]
    fn a_check_decides_and_without_one_time_does() {
        assert_eq!(after(&running(Some(Health::Healthy)), 0), Verdict::Ready);
        assert_eq!(after(&running(Some(Health::Starting)), 119), Verdict::Wait);
        assert!(matches!(after(&running(Some(Health::Starting)), 120), Verdict::Failed(_)));
        assert!(matches!(after(&running(Some(Health::Unhealthy)), 1), Verdict::Failed(_)));
        assert_eq!(after(&running(None), 4), Verdict::Wait);
        assert_eq!(after(&running(None), 5), Verdict::Ready);
    }

    #[test]
    fn what_ends_is_not_ready_unless_that_is_its_work() {
        let mut it = running(None);
        it.started = Some("later".to_owned());
        assert!(matches!(after(&it, 9), Verdict::Failed(_)), "it was started anew");
        (it.phase, it.exit_code) = (Phase::Exited, Some(0));
        it.details.restart = "no".to_owned();
        assert!(matches!(after(&it, 9), Verdict::Failed(_)));
        it.labels.insert(crate::container::ONE_SHOT.to_owned(), "1".to_owned());
        assert_eq!(after(&it, 0), Verdict::Ready);
        it.exit_code = Some(3);
        assert!(matches!(after(&it, 0), Verdict::Failed(_)));
        for phase in [Phase::Failed, Phase::Restarting, Phase::Created] {
            it.phase = phase;
            assert!(matches!(after(&it, 0), Verdict::Failed(_)), "{phase:?}");
        }
        assert!(matches!(judge(None, None, Duration::ZERO, GATE), Verdict::Failed(_)));
    }
}
