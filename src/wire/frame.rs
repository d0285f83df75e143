//! Websocket frames as bytes, so that one frame can be shared by all who get it.

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Appends one unmasked text frame (RFC 6455 §5.2) whose payload `write` appends.
pub fn text(frames: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = frames.len();
    write(frames);
    let length = (frames.len() - start) as u64;
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let mut head = Vec::with_capacity(10);
    // Writing into memory cannot fail.
    if header.format(length, &mut head).is_ok() {
        frames.splice(start..start, head);
    }
}

/// One text frame with this payload.
pub fn of(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = Vec::with_capacity(payload.len() + 10);
    text(&mut frame, |out| out.extend_from_slice(payload));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_three_lengths_of_the_rfc() {
        assert_eq!(of("hi"), [0x81, 2, b'h', b'i']);
        assert_eq!(of("x".repeat(200))[..4], [0x81, 126, 0, 200]);
        assert_eq!(of("x".repeat(70_000))[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }
}
