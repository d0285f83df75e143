//! The same work on several servers in turn, so that what the machine does meanwhile hits all of them.

use crate::Res;
use crate::client::dialect::Class;
use crate::server::{Kind, Lab, Server};
use crate::stats::median;

/// One competitor: a server, and for ours the class of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The server.
    pub(crate) kind: Kind,
    /// Where its events go.
    pub(crate) class: Class,
}

/// An anchor.
pub(crate) const fn anchor(kind: Kind) -> Entry {
    Entry { kind, class: Class::Volatile }
}

/// Ours.
pub(crate) const fn ours(class: Class) -> Entry {
    Entry { kind: Kind::Ours, class }
}

/// What every run of every competitor told.
pub(crate) struct Results<T>(Vec<(Entry, Vec<T>)>);

impl<T> Results<T> {
    /// The median of one figure; `None` when the competitor was not there.
    pub(crate) fn of(&self, entry: Entry, figure: impl Fn(&T) -> f64) -> Option<f64> {
        let (_, runs) = self.0.iter().find(|(e, _)| *e == entry)?;
        median(runs.iter().map(figure))
    }
}

/// Starts every competitor, then lets them take turns for `runs` rounds. One that fails is out, and the run's footer
/// says why; the others go on.
pub(crate) fn contest<T>(
    lab: &Lab,
    title: &str,
    (runs, entries): (u32, &[Entry]),
    mut work: impl FnMut(&Server, Class) -> Res<T>,
) -> Results<T> {
    let mut there = Vec::new();
    for entry in entries {
        let dir = format!("{:?}-{:?}", entry.kind, entry.class);
        match lab.start(entry.kind, &dir) {
            Ok(Some(server)) => there.push((*entry, server, Vec::new())),
            Ok(None) => {}
            Err(error) => lab.failed(format!("{title}: {error}")),
        }
    }
    for run in 1..=runs {
        there.retain_mut(|(entry, server, told)| {
            eprintln!("{title}: run {run} of {runs}, {}", server.kind.name());
            match work(server, entry.class) {
                Ok(outcome) => told.push(outcome),
                Err(error) => lab.failed(format!("{title}: {}: {error}", server.kind.name())),
            }
            told.len() == usize::try_from(run).unwrap_or(usize::MAX)
        });
    }
    Results(there.into_iter().map(|(entry, _, told)| (entry, told)).collect())
}
