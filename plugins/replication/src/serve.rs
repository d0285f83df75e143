//! The other side of a replication over SSH: an end that is asked by another machine.
//!
//! Knows what it may be asked for: copies go below the roots it was started with, and only the
//! datasets that it was started with are read. There is no word that destroys, renames or overwrites
//! anything. Places and steps are its own or checked; a stream is received as any other.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use snapshot::backend::{DatasetId, Error, ErrorKind, Result};

use crate::ends::frame::{Broken, Talk};
use crate::ends::remote::{Found, Seen};
use crate::ends::words::{self, Ask, VERSION};
use crate::ends::{self, Destination, Halt, Look, Source, Staged, Target};
use crate::plan::{Original, Step};

/// What the other machine may do.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Copies go to these places and what is below them.
    pub roots: Vec<String>,
    /// These datasets are read, by id, name or path.
    pub sources: Vec<String>,
    /// Where the snapshot plugin keeps snapshots of directories.
    pub store: PathBuf,
}

/// What it has been told so far.
struct Desk<'a> {
    limits: &'a Limits,
    source: Option<Box<dyn Source>>,
    target: Option<Box<dyn Target>>,
    look: Look,
    staged: Option<Box<dyn Staged>>,
}

/// Answers until the other side ends.
///
/// # Errors
/// When what comes is no question, or the other side is gone in the middle of something.
pub fn serve(talk: &mut Talk, limits: &Limits) -> io::Result<()> {
    let look = Look::default();
    let mut desk = Desk { limits, source: None, target: None, look, staged: None };
    while let Some(message) = talk.hear()? {
        let ask: Ask = serde_json::from_value(message)?;
        match ask {
            Ask::Send { step } => desk.send(talk, &step)?,
            Ask::Stage { run, step } => {
                let outcome = desk.stage(talk, run, &step);
                let is_lost = outcome.is_err();
                talk.say(&words::answer(outcome.map(|()| Value::Null)))?;
                if is_lost {
                    // What is still on its way belongs to nothing.
                    return Ok(());
                }
            }
            other => talk.say(&words::answer(desk.answer(other)))?,
        }
    }
    Ok(())
}

impl Desk<'_> {
    fn answer(&mut self, ask: Ask) -> std::result::Result<Value, Halt> {
        Ok(match ask {
            Ask::Hello { .. } => json!(VERSION),
            Ask::Source { dataset } => self.open_source(&dataset)?,
            Ask::Originals => json!(self.source()?.originals()?),
            Ask::Size { step } => json!(self.source()?.size(&sane(step)?)),
            Ask::Hold { identity, tag } => json!(self.source()?.hold(&identity, own(&tag)?)?),
            Ask::Release { identity, tag } => json!(self.source()?.release(&identity, own(&tag)?)?),
            Ask::Target { dataset, name, root, generation } => {
                self.open_target(&dataset, &name, Destination { root: &root, generation })?
            }
            other => self.answer_of_target(other)?,
        })
    }

    fn answer_of_target(&mut self, ask: Ask) -> std::result::Result<Value, Halt> {
        let target = self.target.as_ref().ok_or_else(early)?;
        match ask {
            Ask::Look { keys } => {
                self.look = target.look(&keys.into_iter().collect())?;
                let place = self.look.place.to_string_lossy().into_owned();
                return Ok(json!(Seen { place, copies: self.look.copies.clone() }));
            }
            Ask::Tidy => target.tidy(&self.look)?,
            Ask::HoldCopy { identity, tag } => target.hold(&self.look, &identity, own(&tag)?)?,
            Ask::ReleaseCopy { identity, tag } => {
                target.release(&self.look, &identity, own(&tag)?)?;
            }
            Ask::Sync => self.staged()?.sync()?,
            Ask::Check => self.staged()?.check()?,
            Ask::Commit => self.staged.take().ok_or_else(early)?.commit()?,
            Ask::Drop => drop(self.staged.take()),
            // The others are answered elsewhere.
            _ => return Err(early().into()),
        }
        Ok(Value::Null)
    }

    fn open_source(&mut self, text: &str) -> Result<Value> {
        let found = ends::find(text, &self.limits.store)?;
        let allowed = self.limits.sources.iter().any(|allowed| {
            *allowed == found.name
                || allowed == found.id.as_str()
                || found.mount.as_deref() == Some(Path::new(allowed))
        });
        if !allowed {
            return Err(forbidden(&format!("{} is not to be read from here", found.name)));
        }
        self.source = Some(ends::source(&found.id, &self.limits.store)?);
        Ok(json!(Found { id: found.id.to_string(), name: found.name }))
    }

    fn open_target(&mut self, dataset: &str, name: &str, to: Destination<'_>) -> Result<Value> {
        let id: DatasetId = dataset.parse()?;
        if !self.limits.roots.iter().any(|allowed| is_below(to.root, allowed)) {
            return Err(forbidden(&format!(
                "{} is not a place for copies",
                to.root.escape_debug()
            )));
        }
        if name.len() > 4096 || name.contains('\0') {
            return Err(Error::new(ErrorKind::BadRequest, "The dataset's name is none."));
        }
        let target = ends::target((&id, name), to, &self.limits.store, false)?;
        let demands = target.demands();
        self.target = Some(target);
        Ok(json!(demands))
    }

    /// Sends a stream; its end only when the sender has said that it is whole.
    fn send(&mut self, talk: &mut Talk, step: &Step) -> io::Result<()> {
        let sending = sane(step.clone()).and_then(|step| self.source()?.send(&step));
        let mut sending = match sending {
            Ok(sending) => sending,
            Err(error) => return talk.say(&words::answer(Err(error.into()))),
        };
        talk.say(&words::answer(Ok(json!((sending.total, sending.basis)))))?;
        let broken = match talk.send(&mut *sending.stream) {
            Ok(end) => match sending.stream.finish() {
                Ok(()) => return talk.end(&end),
                Err(error) => error.to_string(),
            },
            Err(Broken::Here(cause)) => cause.to_string(),
            Err(Broken::There(cause)) => return Err(cause),
        };
        talk.say(&json!({ "broken": broken }))
    }

    fn stage(
        &mut self,
        talk: &mut Talk,
        run: uuid::Uuid,
        step: &Step,
    ) -> std::result::Result<(), Halt> {
        let step = sane(step.clone())?;
        self.staged = None;
        let target = self.target.as_ref().ok_or_else(early)?;
        let mut stream = talk.stream();
        let staged = target.stage(run, (&self.look, &step), &mut stream)?;
        if !stream.is_whole() {
            return Err(Error::new(ErrorKind::Failed, "The stream did not come to its end.").into());
        }
        self.staged = Some(staged);
        Ok(())
    }

    fn source(&self) -> Result<&dyn Source> {
        self.source.as_deref().ok_or_else(early)
    }

    fn staged(&self) -> Result<&dyn Staged> {
        self.staged.as_deref().ok_or_else(early)
    }
}

/// Whether a place is an allowed one or below it, whatever is written between.
fn is_below(root: &str, allowed: &str) -> bool {
    if allowed.starts_with('/') {
        let (root, allowed) = (real(Path::new(root)), real(Path::new(allowed)));
        return root.zip(allowed).is_some_and(|(root, allowed)| root.starts_with(allowed));
    }
    root == allowed || root.strip_prefix(allowed).is_some_and(|rest| rest.starts_with('/'))
}

/// Where an absolute path leads: links are looked through, as far as it exists. None of one that goes
/// up again.
fn real(path: &Path) -> Option<PathBuf> {
    let up = |part| matches!(part, std::path::Component::ParentDir);
    if !path.is_absolute() || path.components().any(up) {
        return None;
    }
    let mut known = path;
    loop {
        if let Ok(real) = known.canonicalize() {
            let rest = path.strip_prefix(known).ok()?;
            // Joining nothing would add a slash.
            return Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
        }
        known = known.parent()?;
    }
}

/// A step whose names are names.
fn sane(step: Step) -> Result<Step> {
    let plain = |original: &Original| {
        let name = original.name.as_str();
        (1..=255).contains(&name.len())
            && !name.starts_with('-')
            && !matches!(name, "." | "..")
            && !name.contains(['/', '\0', '@'])
    };
    if step.from.iter().chain([&step.to]).all(plain) {
        return Ok(step);
    }
    Err(Error::new(ErrorKind::BadRequest, "The snapshot's name is none."))
}

/// A tag that is one of replication's.
fn own(tag: &str) -> Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-:".contains(c);
    if tag.starts_with("sysadm:") && tag.len() <= 64 && tag.chars().all(plain) {
        return Ok(tag);
    }
    Err(forbidden("that tag is not one of replication's"))
}

fn forbidden(what: &str) -> Error {
    Error::new(ErrorKind::BadRequest, format!("The other side does not allow it: {what}."))
}

fn early() -> Error {
    Error::new(ErrorKind::BadRequest, "It was asked for before what it needs.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_below_its_root_or_refused() {
        for (root, allowed, is) in [
            ("tank/backup", "tank/backup", true),
            ("tank/backup/host", "tank/backup", true),
            ("tank/backup2", "tank/backup", false),
            ("tank", "tank/backup", false),
            ("/tmp", "tank", false),
            ("/tmp", "/tmp", true),
            ("/tmp/a/b", "/tmp", true),
            ("/tmp/../etc", "/tmp", false),
            ("/tmpx", "/tmp", false),
            ("/etc", "/tmp", false),
            ("tmp", "/tmp", false),
        ] {
            assert_eq!(is_below(root, allowed), is, "{root} below {allowed}");
        }
    }

    #[test]
    fn a_link_out_of_the_root_is_looked_through() {
        let dir = std::env::temp_dir().join(format!("sysadmd-serve-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(dir.join("root")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("root/link")).unwrap();
        let root = dir.join("root");
        let allowed = root.to_str().unwrap();
        assert!(is_below(root.join("new").to_str().unwrap(), allowed));
        assert!(!is_below(root.join("link").to_str().unwrap(), allowed));
        assert!(!is_below(root.join("link/new").to_str().unwrap(), allowed));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn tags_and_names_of_others_are_refused() {
        assert!(own("sysadm:1-2:cursor").is_ok());
        for tag in ["theirs", "sysadm:../x", "sysadm: x", ""] {
            assert!(own(tag).is_err(), "{tag}");
        }
    }
}
