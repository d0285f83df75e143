//! Threads that read: one blocking piece of work after the other, asked for from async code.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::StoreError;
use super::error::Failure;

/// Work that may wait in a lane. Each asker has one piece of work there and awaits it, so this is
/// the number of clients served at once before further ones wait outside.
const WAITING_MAX: usize = 64;

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

enum Errand {
    /// The permit is given back when the work is done.
    Do(Work, OwnedSemaphorePermit),
    Stop,
}

/// One connection on its own thread.
#[derive(Debug)]
pub(super) struct Lane {
    errands: SyncSender<Errand>,
    room: Arc<Semaphore>,
    file: PathBuf,
}

impl Lane {
    /// Starts the thread; it ends after [`Lane::stop`] or when the lane is dropped.
    pub(super) fn start(
        name: &str,
        db: Connection,
        file: &Path,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        // One place more than permits, for the word that stops it: so sending never blocks.
        let (errands, inbox) = sync_channel(WAITING_MAX + 1);
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(db, &inbox))?;
        let room = Arc::new(Semaphore::new(WAITING_MAX));
        Ok((Self { errands, room, file: file.to_owned() }, thread))
    }

    /// Does a piece of work on the thread and brings back its value.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let room = Arc::clone(&self.room);
        let permit = room.acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let boxed: Work = Box::new(move |db| {
            // The asker may have gone; then nobody wants the value.
            let _gone = reply.send(work(db));
        });
        self.errands.send(Errand::Do(boxed, permit)).map_err(|_| StoreError::Stopped)?;
        let result = answer.await.map_err(|_| StoreError::Stopped)?;
        result.map_err(|failure| failure.in_file(&self.file))
    }

    /// Ends the thread after the work that is already waiting.
    pub(super) fn stop(&self) {
        // An error means that it has ended already.
        let _ended = self.errands.send(Errand::Stop);
    }
}

fn serve(mut db: Connection, inbox: &Receiver<Errand>) {
    while let Ok(Errand::Do(work, permit)) = inbox.recv() {
        work(&mut db);
        drop(permit);
    }
}
