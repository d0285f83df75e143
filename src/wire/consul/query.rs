//! The part of a URL after the question mark, and percent signs, as Go reads them.

/// What was asked with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads it; `None` when it is malformed: a percent sign without two digits, a semicolon, or
    /// something that is no UTF-8.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains(';') {
            return None;
        }
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let read = |text: &str| String::from_utf8(decode(&text.replace('+', " "))?).ok();
            Some((read(name)?, read(value)?))
        });
        pairs.collect::<Option<_>>().map(Self)
    }

    /// The first value of this name; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Whether there is a value of this name, however empty.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }
}

/// Takes out percent signs; `None` when one is not followed by two hexadecimal digits.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).ok()?);
    }
    Some(decoded)
}

/// Writes a path so that [`decode`] gives it back.
pub(super) fn encode_path(path: &str) -> String {
    encode(path, |byte| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte))
}

/// A query as it was, fit for a header.
pub(super) fn encode_query(query: &str) -> String {
    encode(query, |byte| byte.is_ascii_graphic())
}

fn encode(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_kept(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend(
                [byte >> 4, byte & 15]
                    .map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_value_counts_and_an_empty_one_is_absent() {
        let query =
            Query::parse("node=a&node=b&service=&pretty&tag=x%20y+z&&=q&%6Ename=n").unwrap();
        assert_eq!(query.get("node"), "a");
        assert_eq!((query.get("service"), query.has("service")), ("", true));
        assert!(query.has("pretty") && !query.has("dc"));
        assert_eq!(query.get("tag"), "x y z");
        assert_eq!(query.get("nname"), "n");
        for bad in ["bad=%zz", "a=%", "a=%f", "a;b", "a=%ff", "%=a"] {
            assert_eq!(Query::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_path_comes_back(path in "/[^\u{0}]{0,40}") {
            let encoded = encode_path(&path);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), Some(path.into_bytes()));
        }
    }
}
