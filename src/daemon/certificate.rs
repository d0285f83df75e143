//! Keeps the TLS certificate up to date: looks at its files when they change, when it is asked to
//! and every hour, and tells what comes of it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use notify::RecursiveMode;
use protocol::{Draft, Json, Priority, Time};
use serde_json::json;
use tokio::sync::Notify;

use super::publish_own;
use super::watch::{Watch, dir_of};
use crate::alarm::Alarm;
use crate::bus::Bus;
use crate::certificate::{Facts, Validity};
use crate::clock::Clock;
use crate::config::TlsFiles;
use crate::lifecycle::Tasks;
use crate::listen::tls::{Look, Tls, Unfit};

/// The class of all that happens to the certificate.
const CLASS: &str = "daemon.certificate";
/// Between two looks when nothing has changed: a certificate ages, and not every file system says
/// when it changes.
const PERIOD: Duration = Duration::from_hours(1);
/// Between two warnings that the certificate expires.
const WARNING_PERIOD: Duration = Duration::from_hours(24);

/// Looks at the files; tells everybody what has changed.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) alarm: Alarm,
    pub(super) tls: Tls,
    pub(super) bus: Bus,
    pub(super) clock: Clock,
    /// Rung to have the files looked at without waiting for them to settle.
    pub(super) bell: Arc<Notify>,
}

/// The kind of the alert.
const REFUSED: &str = "daemon.certificate-refused";

/// What was told already.
#[derive(Debug, Default)]
struct Told {
    /// The kind of problem the files have.
    problem: Option<&'static str>,
    /// When it was last said that the certificate expires.
    warned: Option<Time>,
}

/// What is worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
enum News {
    InUse,
    Expiring,
    Refused(Unfit),
}

/// Begins to notice changes of the files.
pub(super) fn watch(files: &TlsFiles) -> Option<Watch> {
    let files = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    let mut dirs: Vec<_> = files.into_iter().flatten().map(|file| dir_of(file)).collect();
    dirs.sort();
    dirs.dedup();
    Watch::begin(dirs, RecursiveMode::NonRecursive)
}

impl Keeper {
    /// Looks now and after each change until the daemon stops.
    pub(super) fn begin(self, mut watch: Option<Watch>, tasks: &Tasks) {
        let stop = tasks.stop_signal();
        let looks = async move {
            let mut told = Told::default();
            // What an earlier life has refused it did not start with.
            self.alarm.clear(REFUSED, "");
            loop {
                self.look(&mut told).await;
                tokio::select! {
                    () = settled(&mut watch) => {}
                    () = self.bell.notified() => {}
                    () = tokio::time::sleep(PERIOD) => {}
                }
                if let Some(watch) = &mut watch {
                    watch.renew();
                }
            }
        };
        tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = looks => {}
            }
        });
    }

    async fn look(&self, told: &mut Told) {
        let (tls, now) = (self.tls.clone(), self.clock.now());
        let looked = match tokio::task::spawn_blocking(move || tls.look(now)).await {
            Ok(looked) => looked,
            Err(error) => return tracing::error!(%error, "the certificate was not looked at"),
        };
        let facts = Arc::clone(&self.tls.facts().borrow());
        if let Some(news) = told.change(looked, &facts, now)
            && !self.tell(&news, &facts).await
        {
            // Said again at the next look, when it may be recorded.
            *told = Told::default();
        }
    }

    /// Whether it was recorded.
    async fn tell(&self, news: &News, facts: &Facts) -> bool {
        let sentence = news.sentence(facts);
        match news {
            News::InUse => {
                self.alarm.clear(REFUSED, "");
                tracing::info!("{sentence}");
            }
            News::Expiring => tracing::warn!("{sentence}"),
            News::Refused(_) => {
                self.alarm.raise(REFUSED, "", sentence.clone());
                tracing::error!("{sentence}");
            }
        }
        let fill = |draft: &mut Draft| {
            draft.message = sentence;
            draft.priority = Some(news.priority());
            draft.data = news.data(facts);
        };
        publish_own(&self.bus, CLASS, fill).await
    }
}

impl Told {
    /// What a look brought that was not told yet.
    fn change(&mut self, looked: Result<Look, Unfit>, in_use: &Facts, now: Time) -> Option<News> {
        match looked {
            Err(unfit) if self.problem == Some(unfit.kind()) => None,
            Err(unfit) => {
                self.problem = Some(unfit.kind());
                Some(News::Refused(unfit))
            }
            Ok(Look::New) => {
                *self = Self::default();
                Some(News::InUse)
            }
            Ok(Look::Same) if self.problem.take().is_some() => Some(News::InUse),
            Ok(Look::Same) => self.warn(in_use, now),
        }
    }

    fn warn(&mut self, in_use: &Facts, now: Time) -> Option<News> {
        let period = u64::try_from(WARNING_PERIOD.as_micros()).unwrap_or(u64::MAX);
        let due = self.warned.is_none_or(|last| now.micros().abs_diff(last.micros()) >= period);
        if !due || in_use.validity(now) != Validity::Ending {
            return None;
        }
        self.warned = Some(now);
        Some(News::Expiring)
    }
}

impl News {
    fn sentence(&self, facts: &Facts) -> String {
        let Facts { fingerprint, not_after, .. } = facts;
        match self {
            Self::InUse => {
                format!("TLS is served with certificate {fingerprint}, valid until {not_after}")
            }
            Self::Expiring => format!(
                "the TLS certificate {fingerprint} expires at {not_after}; put a new one in its \
                 place"
            ),
            Self::Refused(unfit) => format!(
                "{unfit}; certificate {fingerprint}, valid until {not_after}, stays in use; {}",
                unfit.remedy()
            ),
        }
    }

    fn priority(&self) -> Priority {
        match self {
            Self::InUse => Priority::MIN,
            Self::Expiring => Priority::clamped(4),
            Self::Refused(_) => Priority::clamped(7),
        }
    }

    fn data(&self, facts: &Facts) -> Json {
        let state = match self {
            Self::InUse => "in-use",
            Self::Expiring => "expiring",
            Self::Refused(_) => "refused",
        };
        let mut data = json!({
            "state": state,
            "fingerprint": facts.fingerprint,
            "not_after": facts.not_after,
        });
        if let Self::Refused(unfit) = self {
            data["problem"] = unfit.kind().into();
        }
        Json::from(data)
    }
}

async fn settled(watch: &mut Option<Watch>) {
    let noticed = match watch {
        Some(watch) => watch.settled().await,
        None => false,
    };
    if !noticed {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const DAY: u64 = 86_400_000_000;

    fn facts() -> Facts {
        Facts {
            fingerprint: "ab".repeat(32),
            not_before: Time::from_micros(0),
            not_after: Time::from_micros(365 * DAY),
            name: None,
            names: Vec::new(),
        }
    }

    fn empty(path: &str) -> Unfit {
        Unfit::Empty { path: PathBuf::from(path) }
    }

    fn mismatch() -> Unfit {
        Unfit::Mismatch { key: PathBuf::from("k"), certificate: PathBuf::from("c") }
    }

    #[test]
    fn a_problem_is_told_once_and_so_is_its_end() {
        let (mut told, facts, now) = (Told::default(), facts(), Time::from_micros(DAY));
        let mut look = |looked| told.change(looked, &facts, now);
        assert_eq!(look(Ok(Look::Same)), None);
        assert_eq!(look(Err(empty("c"))), Some(News::Refused(empty("c"))));
        assert_eq!(look(Err(empty("c"))), None);
        assert_eq!(look(Err(mismatch())), Some(News::Refused(mismatch())));
        assert_eq!(look(Err(mismatch())), None);
        assert_eq!(look(Ok(Look::Same)), Some(News::InUse));
        assert_eq!(look(Ok(Look::Same)), None);
        assert_eq!(look(Err(mismatch())), Some(News::Refused(mismatch())));
        assert_eq!(look(Ok(Look::New)), Some(News::InUse));
        assert_eq!(look(Ok(Look::Same)), None);
    }

    #[test]
    fn the_end_is_announced_once_a_day() {
        let (mut told, facts) = (Told::default(), facts());
        let hour = |hour: u64| Time::from_micros(350 * DAY + hour * DAY / 24);
        let warned = (0..72).filter(|n| told.change(Ok(Look::Same), &facts, hour(*n)).is_some());
        assert_eq!(warned.collect::<Vec<_>>(), [25, 49]);
    }

    #[test]
    fn what_is_told_is_as_declared_and_says_what_to_do() {
        let declared = &crate::bus::own_class(CLASS).unwrap().declared;
        for (news, priority) in [
            (News::InUse, declared.priority_default),
            (News::Expiring, Priority::clamped(4)),
            (News::Refused(mismatch()), declared.priority_max),
        ] {
            assert_eq!(news.priority(), priority);
            let sentence = news.sentence(&facts());
            assert!(sentence.contains(&facts().fingerprint), "{sentence}");
        }
        let sentence = News::Refused(mismatch()).sentence(&facts());
        assert!(sentence.contains("does not belong") && sentence.contains("put the"), "{sentence}");
    }
}
