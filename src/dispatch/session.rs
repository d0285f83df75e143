//! One connected client: who it is and what it listens to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::{Cursor, Event, Fault, FaultKind, Filter, Json, Overflow, Start, Time};
use serde_json::Value;

use super::{By, Client, Dispatch, not_logged_in};
use crate::access::challenge::Challenge;
use crate::access::{Login, Origin, Principal, Proof, SESSION_SECONDS};
use crate::bus::{Face, Outlet, Standing, Subscribe, Subscription};
use crate::sight::{Interest, Sight};

/// How often a connection notes that its session is in use, in microseconds: a third of what a
/// session is worth without use.
const KEEP_EVERY_MICROS: u64 = SESSION_SECONDS * 1_000_000 / 3;

/// Makes the first bytes of a subscription from where the log stands.
pub type SubscriptionAnswer = Box<dyn FnOnce(&Standing) -> Vec<u8> + Send>;

/// What a client wants to subscribe to; the session adds what it may.
#[derive(Debug)]
pub struct Wanted {
    /// Which events.
    pub filter: Filter,
    /// From where on.
    pub start: Start,
    /// What happens when the outlet is full.
    pub overflow: Overflow,
    /// How events become bytes.
    pub face: Face,
    /// Where the bytes go.
    pub outlet: Arc<dyn Outlet>,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    dispatch: Dispatch,
    origin: Origin,
    principal: Option<Principal>,
    /// When the login was made, in [`crate::access::Access::era`].
    era: u64,
    /// The session token, when the login was by one.
    token: Option<String>,
    /// When it was last noted that it is in use.
    kept: Time,
    /// What an RSA key is to answer.
    challenge: Option<Challenge>,
    subscriptions: HashMap<String, Subscription>,
    /// What the client has said of itself.
    client: Arc<Client>,
}

impl Session {
    /// A connection of this principal, or of nobody yet.
    pub fn new(dispatch: Dispatch, origin: Origin, principal: Option<Principal>) -> Self {
        let subscriptions = HashMap::new();
        let (era, kept) = (dispatch.access().era(), Time::default());
        let (token, challenge, client) = (None, None, Arc::default());
        Self { dispatch, origin, principal, era, token, kept, challenge, subscriptions, client }
    }

    /// Takes what the client says of itself; the answer to `rpc/hello`.
    ///
    /// # Errors
    /// As [`Dispatch::hello`]; then what it said before still holds.
    pub fn hello(&mut self, args: &Value) -> Result<Json, Fault> {
        let (answer, client) = self.dispatch.hello(self.principal.as_ref(), args)?;
        self.client = Arc::new(client);
        Ok(answer)
    }

    /// What the client has said of itself.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Who is logged in.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Logs in if there is room for whoever it is; the answer is the session token. A failure
    /// leaves the connection as it was. What was subscribed with other rights ends.
    ///
    /// # Errors
    /// As [`crate::access::Access::login`], and what `has_room` says.
    pub async fn login(
        &mut self,
        proof: Proof,
        has_room: impl FnOnce(&Principal) -> Result<(), Fault>,
    ) -> Result<String, Fault> {
        let login = self.dispatch.access().login(self.origin, proof).await?;
        let Login { principal, session, is_new } = login;
        if let Err(fault) = has_room(&principal) {
            // A session that was there before goes on.
            if is_new {
                self.dispatch.access().forget_session(&session).await?;
            }
            return Err(fault);
        }
        if self.principal.as_ref().is_some_and(|before| before.rights != principal.rights) {
            self.subscriptions.clear();
        }
        self.era = self.dispatch.access().era();
        self.principal = Some(principal);
        self.token = Some(session.clone());
        self.kept = self.dispatch.clock().now();
        Ok(session)
    }

    /// Asks for an answer by an RSA key, in the place of what was asked before.
    ///
    /// # Errors
    /// `internal` when the system gives no random bytes.
    pub fn ask_for_key(&mut self) -> Result<String, Fault> {
        let challenge = Challenge::new(self.dispatch.clock().now())?;
        Ok(self.challenge.insert(challenge).text().to_owned())
    }

    /// Logs in with the answer to what was asked; a right or wrong answer uses it up.
    ///
    /// # Errors
    /// `unauthorized` when nothing was asked, and as [`Session::login`].
    pub async fn answer_by_key(
        &mut self,
        answer: String,
        has_room: impl FnOnce(&Principal) -> Result<(), Fault>,
    ) -> Result<String, Fault> {
        let challenge = self.challenge.take().ok_or_else(|| {
            Fault::new(FaultKind::Unauthorized, "no text to be answered was asked for")
                .with_hint("send rpc/auth_ssl without encrypted_string first")
        })?;
        self.login(Proof::Answer { challenge, answer }, has_room).await
    }

    /// Has it noted now and then that the session is in use: so it can be seen, revoked, and resumed
    /// for a while after the connection breaks, however long that has lasted.
    pub async fn keep_alive(&mut self) {
        let now = self.dispatch.clock().now();
        if now.micros().saturating_sub(self.kept.micros()) >= KEEP_EVERY_MICROS {
            self.kept = now;
            self.note_use().await;
        }
    }

    /// Notes that it was in use up to now.
    pub async fn note_use(&self) {
        if let Some(token) = &self.token {
            self.dispatch.access().keep_session(token).await;
        }
    }

    /// Logs out and ends the subscriptions, and with the session whatever else is connected by it.
    pub async fn logout(&mut self) {
        self.principal = None;
        self.subscriptions.clear();
        if let Some(token) = self.token.take()
            && let Err(fault) = self.dispatch.access().end_session(&token).await
        {
            tracing::warn!(%fault, "a session was not ended in the store; it ends by itself");
        }
    }

    /// Ends the subscriptions: nothing more is heard.
    pub fn fall_silent(&mut self) {
        self.subscriptions.clear();
    }

    /// How long the login is good for, if it ends by itself; zero when it has expired.
    pub fn time_left(&self) -> Option<Duration> {
        let now = self.dispatch.clock().now();
        self.principal.as_ref().and_then(|principal| principal.time_left(now))
    }

    /// Whether the login still counts after something was revoked.
    pub fn still_counts(&self) -> bool {
        let access = self.dispatch.access();
        let counts = |principal| self.era == access.era() && access.still_counts(principal);
        self.principal.as_ref().is_none_or(counts)
    }

    /// Begins a subscription named `key`, in place of one of that name.
    ///
    /// # Errors
    /// `unauthorized` when nobody is logged in, `too-many` over the limit, and what the bus says.
    pub async fn subscribe(
        &mut self,
        key: String,
        wanted: Wanted,
        answer: SubscriptionAnswer,
    ) -> Result<(), Fault> {
        let sight = self.sight()?;
        self.subscriptions.remove(&key);
        self.check_room_for(1)?;
        let Wanted { filter, start, overflow, face, outlet } = wanted;
        let (origin, client) = (self.origin, Arc::clone(&self.client));
        let by = By { origin, principal: self.principal.as_ref(), client: &client };
        self.dispatch.note_classes(by, &filter).await;
        let interest = Interest { filter, sight };
        let wanted = Subscribe { interest, start, overflow, face, outlet };
        let subscription = self.dispatch.0.bus.subscribe(wanted, answer).await?;
        self.subscriptions.insert(key, subscription);
        Ok(())
    }

    /// Whether so many more subscriptions are within the limit.
    ///
    /// # Errors
    /// `too-many` when they are not.
    pub fn check_room_for(&self, more: usize) -> Result<(), Fault> {
        let most = self.dispatch.identity().limits.subscriptions;
        if self.subscriptions.len() + more <= most {
            return Ok(());
        }
        let sentence = format!("a connection has at most {most} subscriptions");
        Err(Fault::new(FaultKind::TooMany, sentence)
            .with_hint("end one, or put several classes into one filter"))
    }

    /// Ends a subscription; whether there was one of that name.
    pub fn unsubscribe(&mut self, key: &str) -> bool {
        self.subscriptions.remove(key).is_some()
    }

    /// Whether there is a subscription of that name.
    pub fn is_subscribed(&self, key: &str) -> bool {
        self.subscriptions.contains_key(key)
    }

    /// What whoever is logged in may hear.
    fn sight(&self) -> Result<Sight, Fault> {
        let principal = self.principal.as_ref().ok_or_else(not_logged_in)?;
        Ok(self.dispatch.sight(principal))
    }

    /// The names of the subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.keys().map(String::as_str)
    }

    /// How many there are.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// Has a subscription tell how far it is; `heartbeat` words it.
    pub fn beat(&self, key: &str, heartbeat: impl FnOnce(&Cursor) -> Vec<u8> + Send + 'static) {
        if let Some(subscription) = self.subscriptions.get(key) {
            subscription.beat(heartbeat);
        }
    }

    /// The newest event a classic client is shown when it subscribes.
    ///
    /// # Errors
    /// `unauthorized` when nobody is logged in, `unavailable` when the log cannot be read.
    pub async fn newest(&self, filter: &Filter) -> Result<Option<Arc<Event>>, Fault> {
        let sight = self.sight()?;
        self.dispatch.0.bus.newest(&Interest { filter: filter.clone(), sight }).await
    }

    /// Everything recorded up to now.
    pub fn head(&self) -> Cursor {
        self.dispatch.0.bus.head()
    }
}
