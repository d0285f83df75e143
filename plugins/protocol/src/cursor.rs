//! A place in the durable log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most events that may have overtaken a cursor; more than this a delivery never lets ahead.
pub const AHEAD_MAX: usize = 64;

/// A place in the log: every event up to `seq` was delivered, and of the later ones those in
/// `ahead`, which were urgent and overtook.
///
/// `instance` names the database, so that a restored host cannot mislead a client. Written as
/// `INSTANCE.SEQ` or `INSTANCE.SEQ+A+B`; clients keep the text of the last message as it is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// The database the number belongs to.
    pub instance: Uuid,
    /// Everything up to here was delivered; 0 before the first event.
    pub seq: u64,
    /// Numbers above `seq` that were delivered already, ascending; at most [`AHEAD_MAX`].
    pub ahead: Vec<u64>,
}

impl Cursor {
    /// The place right after event `seq`.
    pub fn after(instance: Uuid, seq: u64) -> Self {
        Self { instance, seq, ahead: Vec::new() }
    }

    /// The place when everything up to `seq` was delivered as well.
    #[must_use]
    pub fn moved_to(&self, seq: u64) -> Self {
        let ahead = self.ahead.iter().copied().filter(|ahead| *ahead > seq).collect();
        Self { instance: self.instance, seq, ahead }
    }

    /// Whether the event with this number was delivered already.
    pub fn covers(&self, seq: u64) -> bool {
        seq <= self.seq || self.ahead.binary_search(&seq).is_ok()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.instance, self.seq)?;
        self.ahead.iter().try_for_each(|seq| write!(f, "+{seq}"))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| CursorError(text.chars().take(80).collect()))
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let (instance, place) = text.split_once('.')?;
    let mut numbers = place.split('+').map(|number| number.parse::<u64>().ok());
    let seq = numbers.next()??;
    let ahead = numbers.take(AHEAD_MAX + 1).collect::<Option<Vec<u64>>>()?;
    let ascending = ahead.windows(2).all(|pair| pair[0] < pair[1]);
    let later = ahead.first().is_none_or(|first| *first > seq);
    (ahead.len() <= AHEAD_MAX && ascending && later).then_some(Cursor {
        instance: Uuid::parse_str(instance).ok()?,
        seq,
        ahead,
    })
}

impl TryFrom<String> for Cursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cursor: send back the `cursor` of the last message as you received it")]
pub struct CursorError(String);

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_written(
            bits in any::<u128>(),
            seq in 0u64..1_000,
            ahead in btree_set(1_001u64..9_999, 0..AHEAD_MAX),
        ) {
            let cursor = Cursor {
                instance: Uuid::from_u128(bits), seq, ahead: ahead.into_iter().collect(),
            };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
    }

    #[test]
    fn a_cursor_that_moves_on_keeps_what_is_still_ahead() {
        let cursor = Cursor { instance: Uuid::nil(), seq: 5, ahead: vec![7, 9] };
        let moved = cursor.moved_to(8);
        assert!(moved.covers(8) && moved.covers(9) && !moved.covers(10));
        assert_eq!(moved.ahead, [9]);
        assert_eq!(cursor.moved_to(9), Cursor::after(Uuid::nil(), 9));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let id = Uuid::nil();
        for bad in ["", "7", &format!("{id}."), &format!("{id}.5+5"), &format!("{id}.5+9+7")] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
        let cursor: Cursor = format!("{id}.5+9").parse().unwrap();
        assert!(cursor.covers(5) && cursor.covers(9) && !cursor.covers(6));
    }
}
