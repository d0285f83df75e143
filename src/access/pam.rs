//! Whether a password is the one of a user of this machine, as its PAM says.
//!
//! libpam is in no process but the helper `sysadmd-pam`: one is started for each question, gets it
//! on its standard input, answers with one line and ends. Nothing here counts failures: that is for
//! whoever asks.

pub(crate) mod helper;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};
use zeroize::Zeroizing;

use super::Lane;

/// The longest name that is asked about; `useradd` makes none longer.
const USER_MAX: usize = 32;
/// The longest password in bytes: libpam gives modules at most 512 with the final NUL.
const PASSWORD_MAX: usize = 511;
/// No denial is told sooner. libpam denies a user that does not exist without hashing anything; so
/// its time would tell who does. Twice as long as the usual hashes take on a slow machine.
const DENIED_AFTER: Duration = Duration::from_millis(400);
/// Nor sooner than the slowest check of late took, so that it tells nothing on a busy machine,
/// either; but whoever keeps it busy makes nobody wait longer than this.
const DENIED_AFTER_MAX: Duration = Duration::from_secs(3);
/// How long that is remembered.
const SLOWEST_FOR: Duration = Duration::from_hours(1);

/// Asks the helper. Cheap to clone; clones share the lanes.
#[derive(Debug, Clone)]
pub struct Pam(Arc<Shared>);

/// Where the helper is and what it is told.
#[derive(Debug, Clone)]
pub struct PamSettings {
    /// The program `sysadmd-pam`, by absolute path.
    pub helper: PathBuf,
    /// The name of the file in `/etc/pam.d`: letters, digits, `-` and `_`.
    pub service: String,
    /// How long an answer may take with all waiting; 20 s leave room for a directory server.
    pub deadline: Duration,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right and the account may be used.
    Ok,
    /// It is not, or there is no such user, or the account is closed to this service.
    Denied,
    /// The password is right, and the account or the password has expired: a sentence for the user.
    Expired(String),
    /// Too many ask in this lane. Nothing was checked; trying again in a second makes sense.
    Busy,
    /// It could not be found out; the cause is for the log, not for the one who asks.
    Unavailable(String),
}

#[derive(Debug)]
struct Shared {
    settings: PamSettings,
    known: Gate,
    fresh: Gate,
    unknown: Gate,
    slowest: Mutex<Slowest>,
}

/// The slowest check of the last hour or so.
#[derive(Debug)]
struct Slowest {
    took: Duration,
    at: Instant,
}

impl Slowest {
    /// A check took so long.
    fn note(&mut self, took: Duration, now: Instant) {
        if took >= self.took || now - self.at >= SLOWEST_FOR {
            *self = Self { took, at: now };
        }
    }
}

impl Pam {
    /// Starts nothing yet.
    pub fn new(settings: PamSettings) -> Self {
        // With yescrypt's usual cost a check takes 0.1 s and 20 MB: six at once are 120 MB, and two
        // of each kind leave a small machine to others. Whoever is last in a full lane waits a
        // second; with a hash that takes ten times as long, still less than the deadline.
        let [known, fresh, unknown] = [(); 3].map(|()| Gate::new(2, 16));
        let slowest = Mutex::new(Slowest { took: Duration::ZERO, at: Instant::now() });
        Self(Arc::new(Shared { settings, known, fresh, unknown, slowest }))
    }

    /// Whether the helper is installed. It comes in a package of its own where libpam is there.
    pub fn is_there(&self) -> bool {
        let helper = &self.0.settings.helper;
        let metadata = helper.metadata();
        let is_program =
            |it: std::fs::Metadata| it.is_file() && it.permissions().mode() & 0o111 != 0;
        helper.is_absolute() && metadata.is_ok_and(is_program)
    }

    /// Asks whether this is the user's password. `source` is the address of whoever asks, for the
    /// rules of `pam_access` and for the system's log; empty for this machine. Names that no
    /// `useradd` makes, empty passwords and ones beyond 511 bytes are denied without asking.
    /// Dropping the future ends the helper.
    pub async fn check(
        &self,
        user: &str,
        password: &SecretString,
        source: &str,
        lane: Lane,
    ) -> Verdict {
        let begun = Instant::now();
        let password = password.expose_secret();
        let verdict = if is_user_name(user) && is_password(password) {
            let request = request(&[&self.0.settings.service, user, password, source]);
            self.ask(&request, lane).await
        } else {
            Verdict::Denied
        };
        if verdict == Verdict::Denied {
            sleep_until(begun + self.denied_after()).await;
        }
        verdict
    }

    /// How long after it was asked for a denial is told.
    fn denied_after(&self) -> Duration {
        let slowest = self.0.slowest.lock().unwrap_or_else(PoisonError::into_inner).took;
        // Half as much again: no two checks take the same time.
        (slowest + slowest / 2).clamp(DENIED_AFTER, DENIED_AFTER_MAX)
    }

    async fn ask(&self, request: &[u8], lane: Lane) -> Verdict {
        let settings = &self.0.settings;
        let until = Instant::now() + settings.deadline;
        let gate = match lane {
            Lane::Known => &self.0.known,
            Lane::Fresh => &self.0.fresh,
            Lane::Unknown => &self.0.unknown,
        };
        let Ok(_place) = gate.places.try_acquire() else { return Verdict::Busy };
        let Ok(Ok(_turn)) = timeout_at(until, gate.turns.acquire()).await else {
            return Verdict::Busy;
        };
        let begun = Instant::now();
        let verdict = timeout_at(until, helper::ask(&settings.helper, request)).await;
        let now = Instant::now();
        let mut slowest = self.0.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        slowest.note(now - begun, now);
        drop(slowest);
        verdict.unwrap_or_else(|_| {
            let seconds = settings.deadline.as_secs_f32();
            Verdict::Unavailable(format!("the helper gave no answer within {seconds} s"))
        })
    }
}

/// A lane: so many at once, and so many who wait.
#[derive(Debug)]
struct Gate {
    /// For those who run and those who wait.
    places: Semaphore,
    /// For those who run; who waits longest is next.
    turns: Semaphore,
}

impl Gate {
    fn new(at_once: usize, waiting: usize) -> Self {
        Self { places: Semaphore::new(at_once + waiting), turns: Semaphore::new(at_once) }
    }
}

/// What the helper reads: each field with a NUL behind it. Allocated once, so that no copy of the
/// password stays behind.
fn request(fields: &[&str]) -> Zeroizing<Vec<u8>> {
    let length = fields.iter().map(|field| field.len() + 1).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    for field in fields {
        bytes.extend_from_slice(field.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// A name as `useradd` takes it, and capital letters, which it takes on some systems.
pub(super) fn is_user_name(name: &str) -> bool {
    let letters = name.strip_suffix('$').unwrap_or(name);
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    name.len() <= USER_MAX
        && letters.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && letters.chars().all(is_inner)
}

/// No account without a password is let in from anywhere, whatever the service file says.
fn is_password(password: &str) -> bool {
    (1..=PASSWORD_MAX).contains(&password.len()) && !password.contains('\0')
}

#[cfg(test)]
mod tests;
