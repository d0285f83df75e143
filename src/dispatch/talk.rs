//! What a conversation itself answers: logins and subscriptions. Their words stand here, beside
//! those of the other methods; `listen` does what they ask for.

use protocol::{Cursor, Filter, Gap, Overflow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Arguments of `rpc/auth`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Auth {
    /// A user of the machine; any name with a token as the password.
    pub username: String,
    /// The user's password, or a token.
    pub password: String,
}

/// Arguments of `rpc/auth_token`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuthToken {
    /// A made token, or the session token of a login.
    pub token: String,
}

/// Arguments of `rpc/auth_ssl`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuthSsl {
    /// The text from the first answer, encrypted with the private key (PKCS#1 v1.5, type 1), in
    /// base64. Absent in the first step.
    pub encrypted_string: String,
}

/// A session token, and for how many seconds of silence it is good.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LoggedIn(pub String, pub u64);

/// Answer to the first step of `rpc/auth_ssl`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Challenge {
    /// What is to be encrypted.
    pub test_string: String,
}

/// Answer to either step of `rpc/auth_ssl`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "each step is answered by itself; only the schema names both")]
pub(super) enum AuthSslAnswer {
    First(Challenge),
    Second(LoggedIn),
}

/// What a subscription of a client that opted in asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// The client's name for it; subscribing the same name again replaces it. In the `SysAdm`
    /// protocol it is what tells such a client; in JSON-RPC the daemon gives one where it is absent.
    #[schemars(length(min = 1, max = 64))]
    pub sub: Option<String>,
    /// Which events.
    #[serde(default)]
    pub filter: Filter,
    /// `now`, `oldest`, `snapshot` (the newest of every class and subject, then on) or a cursor.
    #[serde(default)]
    pub from: Option<String>,
    /// What happens when the client is slow.
    #[serde(default)]
    pub overflow: Overflow,
    /// Seconds between heartbeats.
    #[serde(default = "default_heartbeat")]
    #[schemars(range(min = 1, max = 300))]
    pub heartbeat_s: u64,
}

const fn default_heartbeat() -> u64 {
    30
}

/// The arguments of `events/subscribe` and `events/unsubscribe`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "`wire` tells them apart by their JSON type; the schema names all")]
pub(super) enum Subscription {
    /// A classic class: `dispatcher`, `life-preserver` or `system-state`.
    Classic(String),
    /// Several of them.
    Several(Vec<String>),
    /// One subscription of a client that opted in.
    OptedIn(Subscribe),
}

/// Answer to a subscription of a client that opted in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Subscribed {
    /// The client's name for it.
    pub sub: String,
    /// The same.
    pub subscribe: String,
    /// Everything up to here is not delivered any more; what follows is.
    pub cursor: Cursor,
    /// The oldest event the log holds.
    pub oldest_seq: u64,
    /// The newest event the log holds.
    pub head_seq: u64,
    /// What is replayed first.
    pub replay: Option<Replay>,
    /// What cannot be delivered, and why.
    pub gap: Option<Gap>,
}

/// A stretch of the log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Replay {
    /// The first number.
    pub from_seq: u64,
    /// The last number.
    pub to_seq: u64,
}

/// Answer to `events/subscribe`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "`wire` words each; the schema names both")]
pub(super) enum SubscribeAnswer {
    /// What a client that opted in is told.
    OptedIn(Box<Subscribed>),
    /// What a classic client is told.
    Classic {
        /// The last class that is known.
        subscribe: Option<String>,
    },
}

/// Answer to `events/unsubscribe`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Unsubscribed {
    /// The client's name for it; absent for classic classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The same, or the last class that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<String>,
}
