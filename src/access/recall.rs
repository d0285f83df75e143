//! Who has logged in from where before the daemon started: the audit trail knows.
//!
//! So somebody who is known stays so after a restart, without a table that would have to be kept
//! beside the trail.

use super::penalty::KNOWN_FOR;
use super::{Access, Peer};
use crate::store::AuditQuery;

/// Logins that are recalled at most: with the bounds of what is known, older ones change little.
const LOGINS_MAX: usize = 10_000;
/// How the trail names a user of this machine.
const USER: &str = "user:";

impl Access {
    /// Learns from the audit trail who is known. Takes a moment; until then nobody is.
    pub async fn recall(&self) {
        let month = u64::try_from(KNOWN_FOR.as_micros()).unwrap_or(u64::MAX);
        let mut query = AuditQuery {
            actor: Some(format!("{USER}*")),
            method: Some("login".to_owned()),
            outcome: Some("done".to_owned()),
            since: Some(protocol::Time::from_micros(self.now().micros().saturating_sub(month))),
            limit: 1_000,
            newest_first: true,
            ..AuditQuery::default()
        };
        let mut found = 0;
        while found < LOGINS_MAX {
            let page = match self.journal().trail().page(query.clone()).await {
                Ok(page) => page,
                Err(error) => {
                    return tracing::warn!(%error, "who has logged in before is not known");
                }
            };
            found += page.records.len();
            for record in &page.records {
                // `ADDRESS FACE`, as `Origin` writes it.
                let peer = record.entry.origin.split(' ').next().and_then(Peer::parse);
                let account = record.entry.actor.strip_prefix(USER);
                if let (Some(peer), Some(account)) = (peer, account) {
                    self.penalties(|penalties, now| {
                        penalties.recall(&peer.source(), account, record.time, now);
                    });
                }
            }
            if !page.more {
                return;
            }
            query.before_seq = page.resume;
        }
    }
}
