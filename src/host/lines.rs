//! Cuts a stream of bytes into lines without ever holding more than one line's bound.
//!
//! Pure: bytes go in at one end, lines come out at the other.

use bytes::{Buf, BytesMut};

/// How many bytes are asked from a pipe at once: what a Linux pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes on their way to becoming lines.
#[derive(Debug)]
pub(crate) struct Lines {
    bytes: BytesMut,
    /// Bytes at the front that hold no line end.
    searched: usize,
    most: usize,
    /// Within a line that was too long, of which the beginning has been given out.
    skipping: bool,
}

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Within its bound.
    Whole(BytesMut),
    /// Longer than its bound: the beginning, as long as the bound. The rest is thrown away.
    TooLong(BytesMut),
}

impl Lines {
    /// Lines of at most `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: BytesMut::new(), searched: 0, most, skipping: false }
    }

    /// Where to read the next bytes into; at most a chunk is added at once.
    pub(crate) fn space(&mut self) -> bytes::buf::Limit<&mut BytesMut> {
        use bytes::BufMut;
        let room = CHUNK_BYTES.min(self.most);
        self.bytes.reserve(room);
        (&mut self.bytes).limit(room)
    }

    /// The next line that is here already.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let end = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
            match end.map(|found| self.searched + found) {
                Some(end) if self.skipping => {
                    self.bytes.advance(end + 1);
                    self.searched = 0;
                    self.skipping = false;
                }
                Some(end) => return Some(self.cut(end)),
                None => return self.unfinished(),
            }
        }
    }

    /// What is left when the stream has ended without a line end.
    pub(crate) fn rest(&mut self) -> Option<Line> {
        let rest = self.bytes.split();
        self.searched = 0;
        (!rest.is_empty() && !self.skipping).then_some(Line::Whole(rest))
    }

    fn cut(&mut self, end: usize) -> Line {
        let mut line = self.bytes.split_to(end);
        self.bytes.advance(1);
        self.searched = 0;
        if line.len() > self.most {
            line.truncate(self.most);
            return Line::TooLong(line);
        }
        Line::Whole(line)
    }

    fn unfinished(&mut self) -> Option<Line> {
        if self.skipping {
            self.bytes.clear();
        }
        self.searched = self.bytes.len();
        if self.bytes.len() <= self.most {
            return None;
        }
        let mut beginning = self.bytes.split();
        beginning.truncate(self.most);
        self.searched = 0;
        self.skipping = true;
        Some(Line::TooLong(beginning))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 8;

    /// Feeds `text` in pieces and collects what comes out.
    fn lines_of(text: &[u8], pieces: &[usize]) -> Vec<Line> {
        let (mut lines, mut out, mut text) = (Lines::new(MOST), Vec::new(), text);
        let mut sizes = pieces.iter().copied().cycle();
        while !text.is_empty() {
            let mut space = lines.space();
            let size = sizes.next().unwrap_or(1).min(text.len()).min(space.remaining_mut());
            space.put_slice(&text[..size]);
            text = &text[size..];
            out.extend(std::iter::from_fn(|| lines.next()));
            assert!(lines.bytes.len() <= MOST, "held {} bytes", lines.bytes.len());
        }
        out.extend(lines.rest());
        out
    }

    fn expected(text: &[u8]) -> Vec<Line> {
        let mut parts: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        if parts.last().is_some_and(|last| last.is_empty()) {
            parts.pop();
        }
        let line = |part: &&[u8]| match part.len() {
            0..=MOST => Line::Whole(BytesMut::from(*part)),
            _ => Line::TooLong(BytesMut::from(&part[..MOST])),
        };
        parts.iter().map(line).collect()
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_arrive(
            text in vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'b'), Just(0xFF)], 0..200),
            pieces in vec(1usize..12, 1..10),
        ) {
            prop_assert_eq!(lines_of(&text, &pieces), expected(&text));
        }
    }

    #[test]
    fn after_a_line_too_long_the_next_one_is_whole() {
        let lines = lines_of(b"123456789012345678901234567890\nok\n", &[5]);
        assert_eq!(lines[0], Line::TooLong(BytesMut::from(&b"12345678"[..])));
        assert_eq!(lines[1], Line::Whole(BytesMut::from(&b"ok"[..])));
        assert_eq!(lines.len(), 2);
    }
}
