//! Frames: what two ends on two machines say to each other, on any pipe.
//!
//! ```text
//! u32 length of the payload, at most 1 MiB     (big-endian, as all numbers)
//! u8  kind: `m` a piece of a message, `s` its last piece (JSON), `d` bytes of a stream, `e` its end
//! u64 offset in the stream; of an end: the bytes of the whole; of a message: 0
//! payload; of an end: 32 bytes, the BLAKE3 of the whole stream
//! ```
//!
//! A stream counts only when its end has come with the right length and hash. What is longer than
//! the bound is refused before anything is set aside for it.

use std::io::{self, Read, Write};

/// Bytes of the longest payload.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// Bytes of the longest message: some hundred thousand snapshots.
const MESSAGE_MAX: usize = 64 << 20;
/// Bytes of a stream in one frame.
const BLOCK: usize = 256 * 1024;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of a message; more follow.
    More(Vec<u8>),
    /// A message's last piece.
    Say(Vec<u8>),
    /// Bytes of a stream, from an offset on.
    Data(u64, Vec<u8>),
    /// The end of a stream: its bytes, and their hash.
    End(u64, [u8; 32]),
}

impl Frame {
    /// Reads the next frame; nothing when the other side ended between two frames.
    ///
    /// # Errors
    /// When it is no frame, or is cut short.
    pub fn read(input: &mut dyn Read) -> io::Result<Option<Self>> {
        let mut head = [0; 13];
        if first(input, &mut head)? == 0 {
            return Ok(None);
        }
        input.read_exact(head.get_mut(1..).unwrap_or_default())?;
        let [a, b, c, d, kind, offset @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let offset = u64::from_be_bytes(offset);
        if length > PAYLOAD_MAX {
            return Err(wrong("a frame is too long"));
        }
        let mut payload = vec![0; length];
        input.read_exact(&mut payload)?;
        Ok(Some(match kind {
            b'm' if offset == 0 => Self::More(payload),
            b's' if offset == 0 => Self::Say(payload),
            b'd' => Self::Data(offset, payload),
            b'e' => Self::End(offset, payload.try_into().map_err(|_| wrong("an end has no hash"))?),
            _ => return Err(wrong("a frame is of no known kind")),
        }))
    }

    /// Writes the frame.
    ///
    /// # Errors
    /// When its payload is too long, or the other side is gone.
    pub fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::More(payload) => put(output, b'm', 0, payload),
            Self::Say(payload) => put(output, b's', 0, payload),
            Self::Data(offset, payload) => put(output, b'd', *offset, payload),
            Self::End(total, hash) => put(output, b'e', *total, hash),
        }
    }
}

fn first(input: &mut dyn Read, head: &mut [u8; 13]) -> io::Result<usize> {
    loop {
        match input.read(head.get_mut(..1).unwrap_or_default()) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn put(output: &mut dyn Write, kind: u8, offset: u64, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX);
    let length = length.ok_or_else(|| wrong("a frame is too long"))?;
    let mut head = [0; 13];
    let (front, back) = head.split_at_mut(4);
    front.copy_from_slice(&length.to_be_bytes());
    if let Some((place, rest)) = back.split_first_mut() {
        *place = kind;
        rest.copy_from_slice(&offset.to_be_bytes());
    }
    output.write_all(&head)?;
    output.write_all(payload)
}

/// Both directions of a conversation.
pub struct Talk {
    input: Box<dyn Read + Send>,
    output: Box<dyn Write + Send>,
}

impl Talk {
    /// Over these pipes.
    pub fn new(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> Self {
        Self { input: Box::new(input), output: Box::new(output) }
    }

    /// Says something.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn say(&mut self, message: &serde_json::Value) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut pieces = text.chunks(PAYLOAD_MAX).peekable();
        while let Some(piece) = pieces.next() {
            let kind = if pieces.peek().is_some() { b'm' } else { b's' };
            put(&mut *self.output, kind, 0, piece)?;
        }
        self.output.flush()
    }

    /// The next message; nothing when the other side has ended.
    ///
    /// # Errors
    /// When something else comes.
    pub fn hear(&mut self) -> io::Result<Option<serde_json::Value>> {
        let mut text = Vec::new();
        loop {
            let (piece, last) = match Frame::read(&mut *self.input)? {
                None if text.is_empty() => return Ok(None),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Frame::More(piece)) => (piece, false),
                Some(Frame::Say(piece)) => (piece, true),
                Some(_) => return Err(wrong("a stream came where a message was expected")),
            };
            if text.len() + piece.len() > MESSAGE_MAX {
                return Err(wrong("a message is too long"));
            }
            text.extend(piece);
            if last {
                return Ok(Some(serde_json::from_slice(&text)?));
            }
        }
    }

    /// Sends a stream, without its end: that is said when the sender has said that it is whole.
    ///
    /// # Errors
    /// [`Broken::Here`] when it cannot be read to its end, [`Broken::There`] when the other side is
    /// gone.
    pub fn send(&mut self, stream: &mut dyn Read) -> Result<Frame, Broken> {
        let mut hasher = blake3::Hasher::new();
        let mut block = vec![0; BLOCK];
        let mut offset = 0_u64;
        loop {
            let length = match stream.read(&mut block) {
                Ok(0) => break,
                Ok(length) => length,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(Broken::Here(cause)),
            };
            let read = block.get(..length).unwrap_or_default();
            hasher.update(read);
            put(&mut *self.output, b'd', offset, read).map_err(Broken::There)?;
            offset += u64::try_from(length).unwrap_or(0);
        }
        Ok(Frame::End(offset, *hasher.finalize().as_bytes()))
    }

    /// Ends a stream.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn end(&mut self, end: &Frame) -> io::Result<()> {
        end.write(&mut *self.output)?;
        self.output.flush()
    }

    /// The stream that comes now; reading ends when its end has come and is right.
    pub fn stream(&mut self) -> Coming<'_> {
        Coming { talk: self, left: io::Cursor::default(), rest: Rest::default() }
    }
}

/// Why a stream was not sent.
#[derive(Debug)]
pub enum Broken {
    /// It could not be read.
    Here(io::Error),
    /// It could not be written.
    There(io::Error),
}

/// How far a stream that comes is.
#[derive(Debug, Default)]
pub struct Rest {
    offset: u64,
    hasher: blake3::Hasher,
    /// Whether its end has come and was right.
    pub whole: bool,
}

impl Rest {
    /// The bytes of the next frame; nothing at the end.
    pub(super) fn next(&mut self, talk: &mut Talk) -> io::Result<Option<Vec<u8>>> {
        if self.whole {
            return Ok(None);
        }
        match Frame::read(&mut *talk.input)? {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Frame::Data(offset, bytes)) if offset == self.offset && !bytes.is_empty() => {
                self.hasher.update(&bytes);
                self.offset += u64::try_from(bytes.len()).unwrap_or(0);
                Ok(Some(bytes))
            }
            Some(Frame::End(total, hash))
                if total == self.offset && self.hasher.finalize() == hash =>
            {
                self.whole = true;
                Ok(None)
            }
            Some(Frame::Data(..) | Frame::End(..)) => {
                Err(wrong("the stream was damaged on its way"))
            }
            Some(Frame::Say(text)) => {
                let said: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
                let why = said["broken"].as_str().unwrap_or("the sender gave it up");
                Err(io::Error::other(why.to_owned()))
            }
            Some(Frame::More(_)) => Err(wrong("a message came where a stream was expected")),
        }
    }
}

/// A stream that comes.
pub struct Coming<'a> {
    talk: &'a mut Talk,
    left: io::Cursor<Vec<u8>>,
    rest: Rest,
}

impl Coming<'_> {
    /// Whether its end has come and was right.
    pub fn is_whole(&self) -> bool {
        self.rest.whole
    }
}

impl Read for Coming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.left.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match self.rest.next(self.talk)? {
                Some(bytes) => self.left = io::Cursor::new(bytes),
                None => return Ok(0),
            }
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, piece) in data.chunks(10).enumerate() {
            let offset = u64::try_from(index * 10).unwrap();
            Frame::Data(offset, piece.to_vec()).write(&mut out).unwrap();
        }
        let total = u64::try_from(data.len()).unwrap();
        Frame::End(total, *blake3::hash(data).as_bytes()).write(&mut out).unwrap();
        out
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut talk = Talk::new(io::Cursor::new(bytes), io::sink());
        let mut coming = talk.stream();
        let mut data = Vec::new();
        coming.read_to_end(&mut data)?;
        assert!(coming.is_whole());
        Ok(data)
    }

    #[test]
    fn a_stream_is_whole_or_an_error_wherever_it_is_cut_or_damaged() {
        let data: Vec<u8> = (0..35).collect();
        let sent = stream(&data);
        assert_eq!(read(sent.clone()).unwrap(), data);
        for cut in 0..sent.len() {
            assert!(read(sent[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        for at in 0..sent.len() {
            let mut damaged = sent.clone();
            damaged[at] ^= 1;
            assert!(read(damaged).is_err(), "damaged at {at}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_set_aside() {
        let mut head = u32::MAX.to_be_bytes().to_vec();
        head.extend([b'd', 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(Frame::read(&mut &head[..]).is_err());
        let long = Frame::Say(vec![0; PAYLOAD_MAX + 1]);
        assert!(long.write(&mut io::sink()).is_err());
    }

    #[test]
    fn a_long_message_comes_in_pieces() {
        let (one, two) = std::os::unix::net::UnixStream::pair().unwrap();
        let message = serde_json::json!({ "text": "x".repeat(3 * PAYLOAD_MAX) });
        let expected = message.clone();
        let hears = std::thread::spawn(move || {
            let mut talk = Talk::new(two.try_clone().unwrap(), two);
            let heard = talk.hear().unwrap();
            (heard, talk.hear().unwrap())
        });
        let mut talk = Talk::new(one.try_clone().unwrap(), one);
        talk.say(&message).unwrap();
        drop(talk);
        assert_eq!(hears.join().unwrap(), (Some(expected), None));
    }
}
