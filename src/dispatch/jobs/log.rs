//! What a job says: its beginning and its end are kept, what lies between is counted: pure.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::store::JobLogPart;

/// Bytes that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Of the beginning.
    pub(crate) first: usize,
    /// Of the end.
    pub(crate) last: usize,
}

/// The log of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    keep: Keep,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes said in all.
    said: u64,
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it begins: later than asked for when what was asked for is not kept.
    pub(crate) from: u64,
    /// What was said there.
    pub(crate) bytes: Vec<u8>,
    /// Where the next piece begins.
    pub(crate) next: u64,
}

impl Log {
    /// Nothing yet.
    pub(crate) fn new(keep: Keep) -> Self {
        Self { keep, head: Vec::new(), tail: VecDeque::new(), said: 0 }
    }

    /// As it was kept.
    pub(crate) fn of(keep: Keep, [head, tail]: [JobLogPart; 2]) -> Self {
        let said = match tail.text.len() {
            0 => head.text.len() as u64,
            bytes => tail.start + bytes as u64,
        };
        Self { keep, head: head.text, tail: tail.text.into(), said }
    }

    /// To be kept.
    pub(crate) fn parts(&self) -> [JobLogPart; 2] {
        let tail = self.tail.iter().copied().collect();
        [
            JobLogPart { start: 0, text: self.head.clone() },
            JobLogPart { start: self.tail_start(), text: tail },
        ]
    }

    /// Bytes said in all.
    pub(crate) fn said(&self) -> u64 {
        self.said
    }

    /// More was said.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.said += bytes.len() as u64;
        let Keep { first, last } = self.keep;
        let (beginning, rest) =
            bytes.split_at(bytes.len().min(first.saturating_sub(self.head.len())));
        self.head.extend_from_slice(beginning);
        let rest = &rest[rest.len().saturating_sub(last)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(last);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// What was said from `from` on, `most` bytes at most and never across what is not kept; never
    /// ends within a character when there is more to come.
    pub(crate) fn read(&self, from: u64, most: usize) -> Piece {
        let in_head = usize::try_from(from).ok().filter(|from| *from < self.head.len());
        let (from, mut bytes) = if let Some(start) = in_head {
            let end = self.head.len().min(start.saturating_add(most));
            let mut bytes = self.head[start..end].to_vec();
            // Where nothing is left out in between the beginning goes on in the end.
            if self.tail_start() == self.head.len() as u64 {
                bytes.extend(self.tail.iter().take(most - bytes.len()));
            }
            (from, bytes)
        } else {
            let from = from.max(self.tail_start()).min(self.said);
            let start = usize::try_from(from - self.tail_start()).unwrap_or(usize::MAX);
            (from, self.tail.iter().skip(start).take(most).copied().collect())
        };
        if from + (bytes.len() as u64) < self.said {
            let broken = broken_end(&bytes);
            // A piece of at least one byte, or nobody would ever get on.
            if broken < bytes.len() {
                bytes.truncate(bytes.len() - broken);
            }
        }
        let next = from + bytes.len() as u64;
        Piece { from, bytes, next }
    }

    /// What was said from `from` up to `to`, with a word about what is left out, `most` bytes of
    /// text at most.
    pub(crate) fn excerpt(&self, from: u64, to: u64, most: usize) -> String {
        let mut text = String::new();
        let mut place = from;
        while place < to {
            let room = usize::try_from(to - place).unwrap_or(usize::MAX);
            let piece = self.read(place, room);
            if piece.bytes.is_empty() {
                break;
            }
            let end = piece.next.min(to);
            if piece.from > place {
                left_out(&mut text, piece.from.min(to) - place);
            }
            let kept = usize::try_from(end.saturating_sub(piece.from)).unwrap_or(0);
            text.push_str(&String::from_utf8_lossy(&piece.bytes[..kept.min(piece.bytes.len())]));
            place = piece.next;
        }
        shorten(&text, most)
    }

    fn tail_start(&self) -> u64 {
        self.said - self.tail.len() as u64
    }
}

fn left_out(text: &mut String, bytes: u64) {
    // Writing into a string cannot fail.
    write!(text, "\n[{bytes} bytes are left out]\n").ok();
}

/// The beginning and the end of a text that is longer than `most` bytes.
fn shorten(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let front = (0..=half).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let back = (text.len() - half..=text.len()).find(|at| text.is_char_boundary(*at));
    let back = back.unwrap_or(text.len());
    let mut short = text[..front].to_owned();
    left_out(&mut short, (back - front) as u64);
    short.push_str(&text[back..]);
    short
}

/// How many bytes at the end are the beginning of a character that goes on.
fn broken_end(bytes: &[u8]) -> usize {
    let is_begun = |length: &usize| {
        let end = std::str::from_utf8(&bytes[bytes.len() - length..]);
        end.is_err_and(|error| error.error_len().is_none() && error.valid_up_to() == 0)
    };
    (1..=bytes.len().min(3)).find(is_begun).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEEP: Keep = Keep { first: 64 * 1024, last: 192 * 1024 };

    #[test]
    fn a_hundred_megabytes_leave_the_beginning_and_the_end() {
        let mut log = Log::new(KEEP);
        let line = vec![b'x'; 1 << 20];
        log.push(b"first");
        for _ in 0..100 {
            log.push(&line);
        }
        log.push(b"last");
        assert_eq!(log.said(), 9 + (100 << 20));
        let beginning = log.read(0, 5);
        assert_eq!((beginning.bytes.as_slice(), beginning.next), (&b"first"[..], 5));
        let end = log.read(log.said() - 4, 100);
        assert_eq!((end.bytes.as_slice(), end.next), (&b"last"[..], log.said()));
        let gap = log.read(KEEP.first as u64, 10);
        assert_eq!(gap.from, log.said() - KEEP.last as u64);
        let all = log.excerpt(0, log.said(), 1 << 20);
        assert!(all.starts_with("first") && all.ends_with("last") && all.contains("left out"));
        assert!(log.excerpt(0, log.said(), 1000).len() < 1100);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_was_said(
            pieces in proptest::collection::vec((any::<u8>(), 0usize..70_000), 0..12),
            most in 1usize..100_000,
        ) {
            let mut log = Log::new(KEEP);
            let mut all = Vec::new();
            for (byte, count) in pieces {
                let piece = vec![byte; count];
                log.push(&piece);
                all.extend(piece);
            }
            prop_assert_eq!(log.said(), all.len() as u64);
            prop_assert_eq!(&Log::of(KEEP, log.parts()), &log);
            let mut place = 0;
            while place < log.said() {
                let piece = log.read(place, most);
                prop_assert!(!piece.bytes.is_empty() && piece.bytes.len() <= most);
                prop_assert!(piece.from >= place);
                let from = usize::try_from(piece.from).unwrap();
                prop_assert_eq!(&all[from..from + piece.bytes.len()], piece.bytes.as_slice());
                if piece.from > place {
                    prop_assert!(all.len() > KEEP.first + KEEP.last);
                }
                place = piece.next;
            }
        }

        #[test]
        fn a_character_is_not_torn(
            text in "[a-zäß€🙂]{1,40}", most in 4usize..20, first in 0usize..200,
        ) {
            // Neither at the end of a piece nor where the beginning ends.
            let mut log = Log::new(Keep { first, last: 200 });
            log.push(text.as_bytes());
            let (mut place, mut read) = (0, String::new());
            while place < log.said() {
                let piece = log.read(place, most);
                read += std::str::from_utf8(&piece.bytes).expect("whole characters");
                place = piece.next;
            }
            prop_assert_eq!(read, text);
        }
    }
}
