//! Who may be connected: how many in all, how many strangers, how many of one account.
//!
//! A *stranger* is a connection on which nobody has logged in. Where strangers have no place left,
//! the oldest makes room for the newest: so whoever connects and logs in without delay gets in,
//! however many others only hold their connections open, also from the same address. Nobody who
//! has logged in is closed for a stranger.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::{Fault, FaultKind};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::access::{Principal, Source};
use crate::config::Limits;
use crate::lifecycle::{Part, Stop};

/// Connections that were told to make room and are not gone yet. Beyond it newcomers wait: each of
/// these still has a file descriptor.
const LEAVING_MAX: usize = 64;
/// Connections beyond the limit for root and the daemon's own user, so that nobody else's keep them
/// out of the unix socket.
const FOR_OWNERS: usize = 16;
/// How long a stranger is left alone when file descriptors are wanting: whoever logs in at once
/// does not have to go for others who want to.
const GRACE: Duration = Duration::from_secs(1);
/// When to come back if an account has all its connections.
const RETRY_MS: u64 = 5_000;

/// Counts connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// The daemon's own signal, of which each stranger's is a part.
    stop: Stop,
    book: Mutex<Book>,
    /// Rings when somebody who was told to go is gone.
    gone: Notify,
}

#[derive(Debug, Default)]
struct Book {
    /// Connections that have a place, strangers or not.
    seated: usize,
    /// Strangers that were told to go.
    leaving: usize,
    /// The number of the next stranger.
    next: u64,
    /// Oldest first.
    strangers: BTreeMap<u64, Stranger>,
    accounts: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Stranger {
    source: Source,
    begun: Instant,
    part: Part,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    begun: Instant,
    standing: Standing,
}

/// What a place is counted as.
#[derive(Debug)]
enum Standing {
    Stranger(u64, Stop),
    /// Of the account with this key.
    Known(Arc<str>),
    /// The kernel has named its owner; it is counted for no account.
    Local,
}

impl Admission {
    /// Within these limits, while the daemon does not stop.
    pub(crate) fn new(limits: Limits, stop: Stop) -> Self {
        Self(Arc::new(Shared { limits, stop, book: Mutex::default(), gone: Notify::new() }))
    }

    /// A place for a connection on which nobody is logged in, if there is one or one can be made.
    pub(crate) fn admit(&self, source: Source) -> Option<Place> {
        let limits = &self.0.limits;
        let mut book = self.0.book();
        if book.count_of(source) >= limits.anonymous_per_source {
            book.displace(Some(source));
        } else if book.strangers.len() >= limits.anonymous {
            book.displace(None);
        }
        book.make_room(limits.connections)?;
        let part = self.0.stop.part();
        let stop = part.signal();
        let number = book.next;
        book.next += 1;
        book.seated += 1;
        book.strangers.insert(number, Stranger { source, begun: Instant::now(), part });
        drop(book);
        Some(self.place(Standing::Stranger(number, stop)))
    }

    /// A place for a connection of root or the daemon's own user, whom the kernel has named.
    pub(crate) fn admit_known(&self) -> Option<Place> {
        let mut book = self.0.book();
        book.make_room(self.0.limits.connections + FOR_OWNERS)?;
        book.seated += 1;
        drop(book);
        Some(self.place(Standing::Local))
    }

    /// Waits until those who were told to go are gone, but for a few.
    pub(crate) async fn calm(&self) {
        loop {
            let gone = self.0.gone.notified();
            if self.0.book().leaving < LEAVING_MAX {
                return;
            }
            gone.await;
        }
    }

    /// Has all strangers go that had time to log in.
    pub(crate) fn make_room(&self) {
        let mut book = self.0.book();
        let had_time = |stranger: &Stranger| stranger.begun.elapsed() >= GRACE;
        while book.strangers.first_key_value().is_some_and(|(_, oldest)| had_time(oldest)) {
            let oldest = book.strangers.pop_first();
            book.part_with(oldest.map(|(_, stranger)| stranger));
        }
    }

    fn place(&self, standing: Standing) -> Place {
        Place { shared: Arc::clone(&self.0), begun: Instant::now(), standing }
    }
}

impl Place {
    /// When the connection was accepted.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Waits until the connection is to end: the daemon stops, room is needed, or it was a
    /// stranger's for too long. Not for a websocket, which has words for each of these.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let (shared, stop) = (Arc::clone(&self.shared), self.stop());
        let deadline = self.begun + shared.limits.login();
        let number = match self.standing {
            Standing::Stranger(number, _) => Some(number),
            Standing::Known(_) | Standing::Local => None,
        };
        async move {
            tokio::select! {
                () = stop.wait() => return,
                () = sleep_until(deadline), if number.is_some() => {}
            }
            let is_stranger =
                number.is_some_and(|number| shared.book().strangers.contains_key(&number));
            if !is_stranger {
                stop.wait().await;
            }
        }
    }

    /// The signal to go: the daemon's, and for a stranger also that room is needed.
    pub(crate) fn stop(&self) -> Stop {
        match &self.standing {
            Standing::Stranger(_, stop) => stop.clone(),
            Standing::Known(_) | Standing::Local => self.shared.stop.clone(),
        }
    }

    /// Somebody has logged in. The stranger's signal counts no more: take [`Self::stop`] anew.
    ///
    /// # Errors
    /// `too-many` when the account has all the connections it may have, or when this one was told
    /// to go already. Then nothing has changed.
    pub(crate) fn known(&mut self, principal: &Principal) -> Result<(), Fault> {
        let account = match principal.token() {
            Some(id) => id.to_string(),
            None => principal.name.clone(),
        };
        let limits = &self.shared.limits;
        let mut book = self.shared.book();
        match &self.standing {
            Standing::Local => return Ok(()),
            Standing::Known(before) if **before == *account => return Ok(()),
            Standing::Stranger(number, _) if !book.strangers.contains_key(number) => {
                return Err(displaced());
            }
            Standing::Known(_) | Standing::Stranger(..) => {}
        }
        let (account, count) = match book.accounts.get_key_value(&*account) {
            Some((account, count)) => (Arc::clone(account), *count),
            None => (Arc::from(account), 0),
        };
        if count >= limits.per_account {
            return Err(too_many(principal, limits.per_account));
        }
        book.leave(&self.standing);
        book.seated += 1;
        book.accounts.insert(Arc::clone(&account), count + 1);
        drop(book);
        self.standing = Standing::Known(account);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.book().leave(&self.standing);
        if matches!(self.standing, Standing::Stranger(..)) {
            self.shared.gone.notify_waiters();
        }
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn count_of(&self, source: Source) -> usize {
        self.strangers.values().filter(|stranger| stranger.source == source).count()
    }

    /// `None` when there is no place and none can be made.
    fn make_room(&mut self, most: usize) -> Option<()> {
        if self.seated >= most {
            self.displace(None);
        }
        (self.seated < most).then_some(())
    }

    /// Has the oldest stranger of this source go, or of the one that holds most.
    fn displace(&mut self, source: Option<Source>) {
        let Some(source) = source.or_else(|| self.greediest()) else { return };
        let mut strangers = self.strangers.iter();
        let oldest = strangers.find(|(_, stranger)| stranger.source == source);
        let oldest = oldest.map(|(number, _)| *number);
        let oldest = oldest.and_then(|number| self.strangers.remove(&number));
        self.part_with(oldest);
    }

    fn part_with(&mut self, stranger: Option<Stranger>) {
        if let Some(stranger) = stranger {
            stranger.part.set();
            self.seated -= 1;
            self.leaving += 1;
        }
    }

    /// The source with the most strangers; among equals the one that came first.
    fn greediest(&self) -> Option<Source> {
        let mut counts: HashMap<Source, (usize, std::cmp::Reverse<u64>)> = HashMap::new();
        for (number, stranger) in &self.strangers {
            counts.entry(stranger.source).or_insert((0, std::cmp::Reverse(*number))).0 += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(source, _)| source)
    }

    /// Takes back what a place was counted as.
    fn leave(&mut self, standing: &Standing) {
        match standing {
            Standing::Stranger(number, _) if self.strangers.remove(number).is_none() => {
                self.leaving -= 1;
                return;
            }
            Standing::Stranger(..) | Standing::Local => {}
            Standing::Known(account) => {
                if let Some(count) = self.accounts.get_mut(account) {
                    *count -= 1;
                    if *count == 0 {
                        self.accounts.remove(account);
                    }
                }
            }
        }
        self.seated -= 1;
    }
}

fn too_many(principal: &Principal, most: usize) -> Fault {
    let sentence = format!("{} has {most} connections, which is as many as it may", principal.name);
    Fault::new(FaultKind::TooMany, sentence)
        .with_hint("close some, or raise per_account in [limits]")
        .with_retry_after_ms(RETRY_MS)
}

fn displaced() -> Fault {
    Fault::new(FaultKind::TooMany, "too many connect without logging in; this one made room")
        .with_hint("connect again and log in at once")
        .with_retry_after_ms(1_000)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures_util::FutureExt as _;
    use protocol::Role;

    use super::*;
    use crate::lifecycle::Tasks;

    fn admission(limits: Limits) -> Admission {
        Admission::new(limits, Tasks::new().0.stop_signal())
    }

    fn source(number: u8) -> Source {
        Source::from(IpAddr::from(Ipv4Addr::new(127, 0, 0, number)))
    }

    fn account(name: &str) -> Principal {
        Principal::of_role(name.to_owned(), Role::Viewer)
    }

    fn is_told_to_go(place: &Place) -> bool {
        place.stop().is_set()
    }

    #[test]
    fn the_oldest_stranger_of_a_source_makes_room_for_its_newest() {
        let admission = admission(Limits { anonymous_per_source: 2, ..Limits::default() });
        let mut one: Vec<Place> = (0..3).filter_map(|_| admission.admit(source(1))).collect();
        let other = admission.admit(source(2)).unwrap();
        let told: Vec<bool> = one.iter().chain([&other]).map(is_told_to_go).collect();
        assert_eq!(told, [true, false, false, false]);
        assert_eq!(one[0].known(&account("late")).unwrap_err().retry_after_ms, Some(1_000));
        one[1].known(&account("a")).unwrap();
        one.push(admission.admit(source(1)).unwrap());
        assert!(!is_told_to_go(&one[1]) && !is_told_to_go(&one[2]));
    }

    #[test]
    fn whoever_holds_most_makes_room_when_all_places_are_taken() {
        let admission = admission(Limits { anonymous: 4, ..Limits::default() });
        let lone = admission.admit(source(9)).unwrap();
        let greedy: Vec<Place> = (0..3).filter_map(|_| admission.admit(source(1))).collect();
        let new = admission.admit(source(2)).unwrap();
        assert!(!is_told_to_go(&lone) && !is_told_to_go(&new));
        let told: Vec<bool> = greedy.iter().map(is_told_to_go).collect();
        assert_eq!(told, [true, false, false]);
    }

    #[test]
    fn nobody_who_logged_in_is_closed_for_a_stranger() {
        let admission = admission(Limits { connections: 3, ..Limits::default() });
        let mut known = admission.admit(source(1)).unwrap();
        known.known(&account("a")).unwrap();
        let local = admission.admit_known().unwrap();
        let stranger = admission.admit(source(1)).unwrap();
        let second = admission.admit(source(2)).unwrap();
        assert!(is_told_to_go(&stranger) && !is_told_to_go(&second));
        let mut third = admission.admit(source(3)).unwrap();
        assert!(is_told_to_go(&second));
        third.known(&account("b")).unwrap();
        assert!(admission.admit(source(3)).is_none(), "nobody is left to go");
        let owners: Vec<Place> = (0..=FOR_OWNERS).filter_map(|_| admission.admit_known()).collect();
        assert_eq!(owners.len(), FOR_OWNERS, "some are kept for root");
        assert!(![&known, &local, &third].into_iter().any(is_told_to_go));
        drop((third, owners));
        assert!(admission.admit(source(3)).is_some());
    }

    #[test]
    fn an_account_has_so_many_connections_and_gives_them_back() {
        let admission = admission(Limits { per_account: 2, ..Limits::default() });
        let mut places: Vec<Place> = (0..4).filter_map(|_| admission.admit(source(1))).collect();
        let mut last = places.pop().unwrap();
        for place in &mut places[..2] {
            place.known(&account("a")).unwrap();
            place.known(&account("a")).unwrap();
        }
        let refused = last.known(&account("a")).unwrap_err();
        assert_eq!((refused.kind, refused.retry_after_ms), (FaultKind::TooMany, Some(RETRY_MS)));
        last.known(&account("b")).unwrap();
        assert!(last.known(&account("a")).is_err(), "and it stays b");
        places[0].known(&account("c")).unwrap();
        last.known(&account("a")).unwrap();
        drop((places, last));
        let mut local: Vec<Place> = (0..3).filter_map(|_| admission.admit_known()).collect();
        assert!(local.iter_mut().all(|place| place.known(&account("a")).is_ok()), "local ones");
        drop(local);
        let book = admission.0.book();
        let left = (book.seated, book.leaving, book.strangers.len(), book.accounts.len());
        assert_eq!(left, (0, 0, 0, 0));
    }

    #[tokio::test]
    async fn newcomers_wait_for_those_who_were_told_to_go() {
        let admission = admission(Limits { anonymous_per_source: 1, ..Limits::default() });
        let mut places: Vec<Place> = Vec::new();
        for _ in 0..=LEAVING_MAX {
            assert!(admission.calm().now_or_never().is_some());
            places.extend(admission.admit(source(1)));
        }
        let mut calm = Box::pin(admission.calm());
        assert!(calm.as_mut().now_or_never().is_none());
        drop(places.remove(0));
        assert!(calm.now_or_never().is_some());
    }

    #[tokio::test]
    async fn for_want_of_files_whoever_had_time_to_log_in_goes() {
        let admission = admission(Limits::default());
        let mut known = admission.admit(source(1)).unwrap();
        known.known(&account("a")).unwrap();
        let old = [admission.admit(source(1)).unwrap(), admission.admit(source(2)).unwrap()];
        tokio::time::sleep(GRACE).await;
        let young = admission.admit(source(1)).unwrap();
        admission.make_room();
        assert!(old.iter().all(is_told_to_go));
        assert!(!is_told_to_go(&young) && !is_told_to_go(&known));
    }
}
