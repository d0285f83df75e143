//! Websocket framing (RFC 6455 §5.2), as little of it as a measuring instrument needs.
//!
//! Written by hand on purpose: the client of every comparison must cost next to nothing, and the raw anchor must be
//! the floor. A library client would spend more on a message than the servers under test. Knows bytes only.

/// Text frame.
pub(crate) const TEXT: u8 = 1;
/// Binary frame.
pub(crate) const BINARY: u8 = 2;
/// Close frame.
pub(crate) const CLOSE: u8 = 8;
/// Ping frame.
pub(crate) const PING: u8 = 9;
/// Pong frame.
pub(crate) const PONG: u8 = 10;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The low four bits of the first byte.
    pub(crate) opcode: u8,
    /// Bytes before the payload.
    pub(crate) size: usize,
    /// Bytes of payload.
    pub(crate) payload: usize,
    /// The masking key, for frames a client sent.
    pub(crate) mask: Option<[u8; 4]>,
}

/// The header at the start of `bytes`, or `None` when it is not complete yet.
pub(crate) fn head(bytes: &[u8]) -> Option<Head> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (payload, at) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let masked = second & 0x80 != 0;
    let mask = if masked { Some(bytes.get(at..at + 4)?.try_into().ok()?) } else { None };
    Some(Head {
        opcode: first & 0x0f,
        size: at + if masked { 4 } else { 0 },
        payload: usize::try_from(payload).ok()?,
        mask,
    })
}

/// Appends an unmasked frame, as a server sends it.
pub(crate) fn server(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    start(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends a masked frame, as a client must send it. The key is zero: the server still has to unmask it, and the
/// instrument does not have to mask it.
pub(crate) fn client(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    start(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Undoes the masking of a client's payload.
pub(crate) fn unmask(payload: &mut [u8], key: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

fn start(out: &mut Vec<u8>, opcode: u8, len: usize, mask: u8) {
    out.push(0x80 | opcode);
    if let Ok(len) = u8::try_from(len)
        && len < 126
    {
        out.push(mask | len);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(mask | 0x7e);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(mask | 0x7f);
        out.extend_from_slice(&crate::stats::count(len).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_form_reads_back_and_a_cut_header_is_incomplete() {
        for len in [0, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            client(&mut bytes, BINARY, &vec![7; len]);
            let head = head(&bytes).unwrap();
            assert_eq!((head.opcode, head.payload, head.mask), (BINARY, len, Some([0; 4])));
            assert_eq!(head.size + head.payload, bytes.len());
            for cut in 0..head.size {
                assert_eq!(super::head(&bytes[..cut]), None, "{len} cut at {cut}");
            }
        }
    }

    #[test]
    fn unmasking_repeats_the_key() {
        let mut payload = [1, 2, 3, 4, 5];
        unmask(&mut payload, [1, 2, 3, 4]);
        assert_eq!(payload, [0, 0, 0, 0, 4]);
    }
}
