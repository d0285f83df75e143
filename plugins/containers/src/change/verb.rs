//! What can be done to a container, and what that means for one that is in some phase. Pure.

use crate::container::{Container, Phase};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Stop,
    Restart,
    Kill,
    Pause,
    Unpause,
    Remove,
}

/// What doing it to one container means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The engine is asked for this.
    Act(Verb),
    /// It is so already.
    Already,
    /// It is not to be done, for this reason.
    No(&'static str),
}

impl Verb {
    /// Every one.
    pub(crate) const ALL: [Self; 7] = [
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Kill,
        Self::Pause,
        Self::Unpause,
        Self::Remove,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Remove => "remove",
        }
    }

    pub(crate) fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == word)
    }

    /// What it is while it is done.
    pub(super) const fn doing(self) -> &'static str {
        match self {
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Restart => "restarting",
            Self::Kill => "killing",
            Self::Pause => "pausing",
            Self::Unpause => "unpausing",
            Self::Remove => "removing",
        }
    }

    /// What has been done when it was.
    pub(super) const fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Restart => "restarted",
            Self::Kill => "killed",
            Self::Pause => "paused",
            Self::Unpause => "unpaused",
            Self::Remove => "removed",
        }
    }

    /// Which arguments it takes beside those that every one takes.
    pub(crate) const fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Stop | Self::Restart => &["timeout_s"],
            Self::Kill => &["signal"],
            Self::Remove => &["timeout_s", "force", "volumes"],
            Self::Start | Self::Pause | Self::Unpause => &[],
        }
    }

    /// Whether what others need is done last: nobody loses what it still uses.
    pub(super) const fn is_backwards(self) -> bool {
        matches!(self, Self::Stop | Self::Kill | Self::Pause | Self::Remove)
    }

    /// What it means for a container; `force`: one that runs may be removed, too.
    pub(super) fn meaning(self, it: &Container, force: bool) -> Meaning {
        let is_up = it.phase.is_up() || it.phase == Phase::Restarting;
        match self {
            _ if matches!(it.phase, Phase::Gone | Phase::Removing) => {
                if self == Self::Remove {
                    Meaning::Already
                } else {
                    Meaning::No("it is being removed")
                }
            }
            // What is wanted is that it runs.
            Self::Start if it.phase == Phase::Paused => Meaning::Act(Self::Unpause),
            Self::Start if is_up => Meaning::Already,
            Self::Stop | Self::Kill if !is_up => Meaning::Already,
            Self::Pause if it.phase == Phase::Paused => Meaning::Already,
            Self::Pause if !it.phase.is_up() => Meaning::No("it does not run"),
            Self::Unpause if it.phase == Phase::Paused => Meaning::Act(self),
            Self::Unpause if it.phase.is_up() => Meaning::Already,
            Self::Unpause => Meaning::No("it does not run"),
            Self::Remove if is_up && !force => Meaning::No("it runs"),
            verb => Meaning::Act(verb),
        }
    }

    /// Whether that is what it has come to; `None`: it is gone.
    pub(super) fn is_done(self, it: Option<&Container>) -> bool {
        let Some(it) = it else { return true };
        match self {
            Self::Start | Self::Restart => {
                matches!(it.phase, Phase::Running | Phase::Paused | Phase::Failed)
            }
            Self::Stop | Self::Kill => !it.phase.is_up(),
            Self::Pause => it.phase == Phase::Paused,
            Self::Unpause => it.phase != Phase::Paused,
            Self::Remove => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 9] = [
        Phase::Created,
        Phase::Failed,
        Phase::Running,
        Phase::Stopping,
        Phase::Paused,
        Phase::Restarting,
        Phase::Exited,
        Phase::Removing,
        Phase::Gone,
    ];

    fn meaning(verb: Verb, phase: Phase, force: bool) -> Meaning {
        let mut it = Container::new("id", "web", "image");
        it.phase = phase;
        verb.meaning(&it, force)
    }

    #[test]
    fn what_is_so_already_is_not_done_again() {
        for (verb, phase) in [
            (Verb::Start, Phase::Running),
            (Verb::Start, Phase::Restarting),
            (Verb::Stop, Phase::Exited),
            (Verb::Kill, Phase::Created),
            (Verb::Pause, Phase::Paused),
            (Verb::Unpause, Phase::Running),
            (Verb::Remove, Phase::Gone),
        ] {
            assert_eq!(meaning(verb, phase, false), Meaning::Already, "{verb:?} {phase:?}");
        }
        assert_eq!(meaning(Verb::Start, Phase::Paused, false), Meaning::Act(Verb::Unpause));
        assert_eq!(meaning(Verb::Stop, Phase::Restarting, false), Meaning::Act(Verb::Stop));
        assert_eq!(meaning(Verb::Restart, Phase::Exited, false), Meaning::Act(Verb::Restart));
    }

    #[test]
    fn what_runs_is_not_removed_without_a_word() {
        for phase in PHASES {
            let is_up = phase.is_up() || phase == Phase::Restarting;
            let refused = matches!(meaning(Verb::Remove, phase, false), Meaning::No(_));
            assert_eq!(refused, is_up, "{phase:?}");
            assert!(!matches!(meaning(Verb::Remove, phase, true), Meaning::No(_)), "{phase:?}");
        }
    }

    #[test]
    fn each_verb_is_read_by_its_word() {
        for verb in Verb::ALL {
            assert_eq!(Verb::read(verb.as_str()), Some(verb));
        }
        assert_eq!(Verb::read("explode"), None);
    }
}
