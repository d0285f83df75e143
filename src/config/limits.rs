//! `[limits]`: what one client, all of them and strangers may take up.

use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;

/// Bytes in a mebibyte.
pub(super) const MIB: u64 = 1024 * 1024;

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections in all. Fewer where the limit on open files leaves less room.
    pub connections: usize,
    /// Connections on which nobody has logged in: few, so that strangers cannot take up the room.
    pub anonymous: usize,
    /// The same from one source: an address, or a network of 64 bits.
    pub anonymous_per_source: usize,
    /// Connections of one account or token, except over the unix socket.
    pub per_account: usize,
    /// Seconds somebody may be connected without logging in (the original server's 30).
    pub login_s: u64,
    /// Seconds a TLS handshake may take, and the head of a request.
    pub handshake_s: u64,
    /// Seconds the body of a request may take.
    pub body_s: u64,
    /// Seconds a connection without subscriptions may say nothing (the original server's 1,800).
    pub idle_s: u64,
    /// Seconds of silence after which a client is asked whether it is still there.
    pub ping_s: u64,
    /// Bytes of one message after login.
    pub message_bytes: usize,
    /// Bytes of one message before login: a login has a few hundred.
    pub anonymous_message_bytes: usize,
    /// Calls of one connection at once; a client that sends more is not read until one is answered.
    pub calls_in_flight: usize,
    /// Requests in one JSON-RPC batch; it counts as one call, and they are run one after another.
    pub batch_requests: usize,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// Bytes that wait for a client that does not read; beyond it a subscription is behind.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 12_000,
            anonymous: 256,
            anonymous_per_source: 16,
            per_account: 512,
            login_s: 30,
            handshake_s: 10,
            body_s: 30,
            idle_s: 1_800,
            ping_s: 30,
            message_bytes: 1024 * 1024,
            anonymous_message_bytes: 8 * 1024,
            calls_in_flight: 64,
            batch_requests: 1_000,
            subscriptions: 20,
            queue_bytes: 256 * 1024,
        }
    }
}

impl Limits {
    /// See [`Limits::login_s`].
    pub const fn login(&self) -> Duration {
        Duration::from_secs(self.login_s)
    }

    /// See [`Limits::handshake_s`].
    pub const fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_s)
    }

    /// See [`Limits::body_s`].
    pub const fn body(&self) -> Duration {
        Duration::from_secs(self.body_s)
    }

    /// See [`Limits::idle_s`].
    pub const fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }

    /// See [`Limits::ping_s`].
    pub const fn ping(&self) -> Duration {
        Duration::from_secs(self.ping_s)
    }

    /// Refuses what would keep everybody out or bound nothing.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let ranges = [
            ("connections", count(self.connections), 1, 1_000_000),
            ("anonymous", count(self.anonymous), 1, 1_000_000),
            ("anonymous_per_source", count(self.anonymous_per_source), 1, 1_000_000),
            ("per_account", count(self.per_account), 1, 1_000_000),
            ("login_s", self.login_s, 1, 3_600),
            ("handshake_s", self.handshake_s, 1, 3_600),
            ("body_s", self.body_s, 1, 3_600),
            ("idle_s", self.idle_s, 10, 30 * 86_400),
            ("ping_s", self.ping_s, 1, 3_600),
            ("message_bytes", count(self.message_bytes), 4_096, 64 * MIB),
            ("anonymous_message_bytes", count(self.anonymous_message_bytes), 1_024, MIB),
            ("calls_in_flight", count(self.calls_in_flight), 1, 10_000),
            ("batch_requests", count(self.batch_requests), 1, 100_000),
            ("subscriptions", count(self.subscriptions), 1, 10_000),
            ("queue_bytes", count(self.queue_bytes), 4_096, 1_024 * MIB),
        ];
        within("limits", &ranges)?;
        if self.anonymous_message_bytes > self.message_bytes {
            return Err(ConfigError(
                "limits.anonymous_message_bytes must not be more than limits.message_bytes"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// A setting as a number that is compared.
pub(super) fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Refuses the first setting of a section, a key with its value, that is outside of its range.
pub(super) fn within(section: &str, ranges: &[(&str, u64, u64, u64)]) -> Result<(), ConfigError> {
    let outside = ranges.iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
    outside.map_or(Ok(()), |(key, value, least, most)| {
        Err(ConfigError(format!(
            "{section}.{key} is {value}: it must be between {least} and {most}"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_keep_everybody_out_or_bound_nothing_is_refused_with_its_range() {
        assert_eq!(Limits::default().check(), Ok(()));
        let refused = |text: &str| {
            let limits: Limits = toml::from_str(text).unwrap();
            limits.check().unwrap_err().to_string()
        };
        let refusal = refused("login_s = 0");
        assert!(refusal.contains("limits.login_s") && refusal.contains("1 and 3600"), "{refusal}");
        assert!(refused("connections = 0").contains("connections"));
        assert!(refused("queue_bytes = 9_000_000_000").contains("queue_bytes"));
        let refusal = refused("message_bytes = 4096\nanonymous_message_bytes = 4097");
        assert!(refusal.contains("not be more"), "{refusal}");
    }
}
