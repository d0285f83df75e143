//! Programs that deliver: whoever begins the sinks says how one is run.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A program, and what it is told.
#[derive(Debug, Clone)]
pub struct Program {
    /// It, by its absolute path, and its arguments.
    pub argv: Vec<String>,
    /// What it reads on its standard input.
    pub input: Vec<u8>,
    /// Whether what it leaves behind goes on when it has ended by itself.
    pub spares_rest: bool,
    /// How long it may take; then it is ended, and everything in its group with it.
    pub deadline: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It was never there, and why.
    NotStarted(String),
    /// It took too long and was ended.
    Late,
}

/// A program that runs. Who drops it ends it.
pub type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// Runs programs. Cheap to clone.
#[derive(Clone)]
pub struct Programs(Arc<dyn Fn(Program) -> Running + Send + Sync>);

impl Programs {
    /// They are run so.
    pub fn new(run: impl Fn(Program) -> Running + Send + Sync + 'static) -> Self {
        Self(Arc::new(run))
    }

    /// Runs one to its end.
    pub(super) fn run(&self, program: Program) -> Running {
        (self.0)(program)
    }
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Programs").finish()
    }
}
