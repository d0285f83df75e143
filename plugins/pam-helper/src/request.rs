//! The question, as it is read. Fields borrow from the bytes that were read, so that there is one
//! copy of the password to wipe.

use std::ffi::{CStr, CString};
use std::fmt;
use std::io::{self, Read};

use zeroize::Zeroizing;

/// The longest question: the longest fields and their NULs, with room to spare.
const MAX: usize = 1024;
/// libpam gives modules at most 512 bytes of an answer, with the final NUL.
const PASSWORD_MAX: usize = 511;

/// Reads all there is, into memory that is wiped. A question that is too long comes out longer than
/// any that is understood.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; MAX + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match from.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// What is asked.
pub(crate) struct Request<'a> {
    /// The file in `/etc/pam.d`.
    pub(crate) service: CString,
    pub(crate) user: CString,
    pub(crate) password: &'a CStr,
    /// The address of whoever asks; `None` on this machine.
    pub(crate) source: Option<CString>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("user", &self.user).finish_non_exhaustive()
    }
}

impl<'a> Request<'a> {
    /// Finds the fields. The daemon has looked at them already; this is for whoever else starts us.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let fields = bytes.strip_suffix(b"\0").filter(|_| bytes.len() <= MAX);
        let mut fields = fields.into_iter().flat_map(|it| it.split(|byte| *byte == 0));
        let mut next = || fields.next().ok_or("the question has too few fields or is too long");
        let (service, user, password, source) = (next()?, next()?, next()?, next()?);
        if fields.next().is_some() {
            return Err("the question has too many fields");
        }
        let service = text(service, is_service).ok_or("the PAM service is no file's name")?;
        let user = text(user, is_user).ok_or("the user's name is not one")?;
        if !(1..=PASSWORD_MAX).contains(&password.len()) {
            return Err("the password is empty or too long");
        }
        let source = text(source, is_source).ok_or("the source is no address")?;
        let source = (!source.is_empty()).then_some(source);
        Ok(Self { service, user, password: terminated(bytes, password)?, source })
    }
}

/// The field with the NUL that stands behind it.
fn terminated<'a>(bytes: &'a [u8], field: &[u8]) -> Result<&'a CStr, &'static str> {
    let start = bytes.element_offset(&field[0]).unwrap_or(bytes.len());
    CStr::from_bytes_until_nul(&bytes[start..]).map_err(|_| "the password is not ended")
}

fn text(field: &[u8], is: impl Fn(&[u8]) -> bool) -> Option<CString> {
    CString::new(field).ok().filter(|_| is(field))
}

fn is_service(name: &[u8]) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.iter().all(is_inner)
}

/// Nothing that would be an option, a path, or a line of its own in a log.
fn is_user(name: &[u8]) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    (1..=64).contains(&name.len()) && name[0] != b'-' && name.iter().all(is_inner)
}

fn is_source(address: &[u8]) -> bool {
    address.len() <= 64 && address.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> &'static str {
        Request::parse(bytes).expect_err("it is refused")
    }

    #[test]
    fn four_fields_are_found() {
        let bytes = "sysadmd\0ada\0a:b ü'\n\0::1\0".as_bytes();
        let request = Request::parse(bytes).expect("a question");
        assert_eq!(request.service.as_c_str(), c"sysadmd");
        assert_eq!(request.user.as_c_str(), c"ada");
        assert_eq!(request.password, c"a:b ü'\n");
        assert_eq!(request.source.as_deref(), Some(c"::1"));
        let request = Request::parse(b"s\0u\0u\0\0").expect("a question");
        assert_eq!((request.password, request.source), (c"u", None));
    }

    #[test]
    fn what_is_no_question_is_refused() {
        for bytes in [&b""[..], b"\0", b"s\0u\0p\0", b"s\0u\0p\0x", b"s\0u\0p"] {
            assert!(refused(bytes).contains("too few"), "{bytes:?}");
        }
        assert!(refused(b"s\0u\0p\0x\0y\0").contains("too many"));
        for service in ["", "../x", "a/b", "a b", "a.b", &"s".repeat(65)] {
            let bytes = format!("{service}\0u\0p\0\0");
            assert!(refused(bytes.as_bytes()).contains("service"), "{service}");
        }
        for user in ["", "-u", "a b", "a/b", "a:b", "a\n", "ü", &"u".repeat(65)] {
            let bytes = format!("s\0{user}\0p\0\0");
            assert!(refused(bytes.as_bytes()).contains("name"), "{user}");
        }
        for password in [String::new(), "p".repeat(512)] {
            let bytes = format!("s\0u\0{password}\0\0");
            assert!(refused(bytes.as_bytes()).contains("password"), "{}", password.len());
        }
        assert!(refused(b"s\0u\0p\0a b\0").contains("source"));
    }

    #[test]
    fn no_more_is_read_than_is_understood() {
        let endless = read(&mut io::repeat(b'x')).expect("it is read");
        assert_eq!(endless.len(), MAX + 1);
        assert!(refused(&endless).contains("too long"));
        let short = read(&mut &b"s\0u\0p\0\0"[..]).expect("it is read");
        assert_eq!(short.as_slice(), b"s\0u\0p\0\0");
    }

    #[test]
    fn the_password_is_in_no_debug_output() {
        let request = Request::parse(b"s\0ada\0canary\0\0").expect("a question");
        assert!(!format!("{request:?}").contains("canary"));
    }
}
