//! The swap of an old container for a new one, step by step: forward, back when something goes wrong
//! before it is final, and on when it is.
//!
//! What goes back or on asks nobody whether it is still wanted, and can be done twice.

use std::io;
use std::sync::Arc;

use sdk::{Context, Fault, FaultKind, Level, json};

use super::clone::Clone;
use super::journal::{Journal, Mark, Plan};
use crate::container::{ACTION, Container};
use crate::engine;
use crate::gate::{self, Gate, NotReady};
use crate::hand::{self, Trouble};
use crate::query;
use crate::worker::Worker;

/// Lines of its log that a new container which is not well leaves behind.
const LAST_WORDS: usize = 10;

/// One swap.
pub(super) struct Swap<'a> {
    pub(super) ctx: &'a Context,
    pub(super) engine: &'a Arc<Worker>,
    pub(super) plan: &'a Plan,
    pub(super) gate: Gate,
}

impl Swap<'_> {
    /// Everything up to the point from which there is no way back; the new container's id.
    ///
    /// # Errors
    /// What did not work. Then [`Swap::back`] is due.
    pub(super) fn forward(&self, journal: &mut Journal, made_of: Clone) -> Result<String, Fault> {
        let Plan { name, runs, start_first, .. } = self.plan;
        self.enter(journal, Mark::Create)?;
        let new = self.create(made_of)?;
        if *runs && *start_first {
            self.start(journal, &new)?;
        } else if *runs {
            self.enter(journal, Mark::StopOld)?;
            self.stop_old()?;
        }
        self.enter(journal, Mark::RenameOld)?;
        self.rename(&self.plan.old, &self.plan.old_name())?;
        self.enter(journal, Mark::RenameNew)?;
        self.rename(&new, name)?;
        if *runs && !*start_first {
            self.start(journal, &new)?;
        }
        self.enter(journal, Mark::Commit)?;
        Ok(new)
    }

    /// Notes a step, and says it.
    fn enter(&self, journal: &mut Journal, mark: Mark) -> Result<(), Fault> {
        if self.ctx.cancelled() && mark != Mark::Commit {
            return Err(Fault::new(FaultKind::Cancelled, "it was aborted"));
        }
        let (done, doing) = match mark {
            Mark::Create => (0, "making the new container"),
            Mark::StartNew => (1, "waiting until the new container is well"),
            Mark::StopOld => (2, "stopping the old container"),
            Mark::RenameOld | Mark::RenameNew => (3, "renaming"),
            Mark::Commit => (4, "the new container has taken over"),
            Mark::RemoveOld => (5, "removing the old container"),
            Mark::Dependants => (6, "replacing what uses its network"),
        };
        self.ctx.progress_in(&self.plan.name, (done, Some(7)), "steps", doing);
        self.ctx.note(&format!("{}: {doing}", self.plan.name));
        journal.mark(mark).map_err(|error| unwritten(self.ctx, &error))
    }

    fn create(&self, made_of: Clone) -> Result<String, Fault> {
        let name = self.plan.new_name();
        let created = self.engine.hand(self.ctx, |docker| async move {
            let id = hand::create(&docker, &name, made_of.body).await?;
            for (network, endpoint) in made_of.networks {
                hand::connect(&docker, &network, &id, endpoint).await?;
            }
            Ok(id)
        });
        created.map_err(|trouble| trouble.fault("the new container cannot be made"))
    }

    /// Starts the new one and waits until it is well.
    fn start(&self, journal: &mut Journal, new: &str) -> Result<(), Fault> {
        self.enter(journal, Mark::StartNew)?;
        let id = new.to_owned();
        let started =
            self.engine.hand(self.ctx, |docker| async move { hand::start(&docker, &id).await });
        started.map_err(|trouble| trouble.fault("the new container cannot be started"))?;
        gate::ready(self.ctx, self.engine, new, self.gate).map_err(|why| self.unwell(new, &why))
    }

    /// Why the new one will not do, with its last words in the log.
    fn unwell(&self, new: &str, why: &NotReady) -> Fault {
        let id = new.to_owned();
        let words = self
            .engine
            .ask(|docker| async move { query::logs(&docker, &id, (LAST_WORDS, None)).await });
        for line in words.map(|(lines, _)| lines).unwrap_or_default() {
            self.ctx.note(&format!("  {}", line["text"].as_str().unwrap_or_default()));
        }
        why.fault("the new container")
    }

    fn stop_old(&self) -> Result<(), Fault> {
        self.expect_end(&self.plan.old);
        let (id, grace_s) = (self.plan.old.clone(), self.plan.grace_s);
        let stopped = self
            .engine
            .hand(self.ctx, |docker| async move { hand::stop(&docker, &id, grace_s).await });
        stopped.map_err(|trouble| trouble.fault("the old container cannot be stopped"))
    }

    fn rename(&self, id: &str, name: &str) -> Result<(), Fault> {
        let (id, to) = (id.to_owned(), name.to_owned());
        let renamed =
            self.engine.ask(|docker| async move { hand::rename(&docker, &id, &to).await });
        renamed
            .map_err(|trouble: Trouble| trouble.fault(&format!("the name {name} cannot be given")))
    }

    fn expect_end(&self, id: &str) {
        let known = self.engine.desk().model.containers().get(id).cloned();
        if let Some(it) = known.filter(|it| it.phase.is_up()) {
            self.engine.expect_end(&it);
        }
    }

    /// Goes back: the old container has its name and runs if it did, and nothing is left of the new.
    /// `last`: the step that it got to.
    ///
    /// # Errors
    /// What did not work: somebody has to look.
    pub(super) fn back(&self, last: Option<Mark>) -> Result<(), Fault> {
        for id in self.made()? {
            self.expect_end(&id);
            let removed =
                self.engine.ask(|docker| async move { hand::discard(&docker, &id).await });
            removed
                .map_err(|trouble: Trouble| trouble.fault("the new container cannot be removed"))?;
        }
        let Plan { old, name, runs, grace_s, .. } = self.plan;
        if last == Some(Mark::StopOld) {
            // The engine goes on stopping it, whoever has asked: it must not end after it was started.
            let (id, grace_s) = (old.clone(), *grace_s);
            let stopped =
                self.engine.ask(|docker| async move { hand::stop(&docker, &id, grace_s).await });
            stopped
                .map_err(|trouble: Trouble| trouble.fault("the old container cannot be stopped"))?;
        }
        let Some(it) = self.look(old)? else {
            let sentence =
                format!("the container {name} is gone, and so is the one that was to replace it");
            return Err(Fault::not_found(sentence));
        };
        if it.name != *name {
            self.rename(old, name)?;
        }
        if *runs && !it.phase.is_up() {
            let id = old.clone();
            let started = self.engine.ask(|docker| async move { hand::start(&docker, &id).await });
            started.map_err(|trouble: Trouble| {
                trouble.fault(&format!("{name} cannot be started again"))
            })?;
        }
        Ok(())
    }

    /// Goes on: what is old is removed. The new container's id.
    ///
    /// # Errors
    /// What did not work: the new container runs, and the old one is still there.
    pub(super) fn finish(&self) -> Result<String, Fault> {
        let new = self.made()?.pop().ok_or_else(|| {
            Fault::not_found(format!("the new container {} is gone", self.plan.name))
        })?;
        let Plan { old, grace_s, drops_volumes, .. } = self.plan;
        if self.look(old)?.is_some() {
            self.expect_end(old);
            let (id, grace_s, volumes) = (old.clone(), *grace_s, *drops_volumes);
            let removed = self.engine.ask(|docker| async move {
                match hand::stop(&docker, &id, grace_s).await {
                    Err(trouble) if !trouble.is_gone() => Err(trouble),
                    _ => hand::remove(&docker, &id, volumes).await,
                }
            });
            removed.map_err(|trouble: Trouble| {
                trouble.fault(&format!(
                    "{} was replaced, and the old one is still there",
                    self.plan.name
                ))
            })?;
        }
        Ok(new)
    }

    /// What was made for this swap.
    fn made(&self) -> Result<Vec<String>, Fault> {
        let label = format!("{ACTION}={}", self.plan.action);
        let found = self.engine.ask(|docker| async move { hand::labelled(&docker, &label).await });
        found.map_err(|trouble: Trouble| trouble.fault("the engine does not say what there is"))
    }

    /// A container as it is now; `None`: it is gone.
    pub(super) fn look(&self, id: &str) -> Result<Option<Container>, Fault> {
        let id = id.to_owned();
        let seen = self.engine.ask(|docker| async move { engine::inspect(&docker, &id).await });
        seen.map_err(|reason: String| self.engine.silent(&reason))
    }
}

/// What is told when the journal cannot be written.
pub(super) fn unwritten(ctx: &Context, error: &io::Error) -> Fault {
    ctx.log(Level::Error, &format!("a redeploy cannot be written down: {error}"));
    Fault::new(FaultKind::Unavailable, "what is to be done cannot be written to the disk")
        .with_hint("see whether the daemon's state directory is full")
        .with_details(json!({ "where": "redeploy" }))
}
