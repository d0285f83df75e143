//! Arbitrary bytes as one printable word, and back.
//!
//! A path on Linux is any bytes but NUL. In a manifest it is one word of printable ASCII without
//! blank, comma, equals sign and backslash; every other byte is `\xx` in lower-case hex, and the
//! empty string is `\.`. There is exactly one spelling of any byte string, so equal content gives an
//! equal manifest hash.

use std::fmt::Write as _;

/// Appends `bytes` to `out` as one word.
pub(super) fn push(out: &mut String, bytes: &[u8]) {
    if bytes.is_empty() {
        out.push_str("\\.");
    }
    for &byte in bytes {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "\\{byte:02x}");
        }
    }
}

/// The one-word form of `bytes`.
pub fn word(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    push(&mut out, bytes);
    out
}

/// The bytes of a word, or `None` when [`word`] could not have written it.
pub fn decode(word: &str) -> Option<Vec<u8>> {
    if word == "\\." {
        return Some(Vec::new());
    }
    if word.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' {
            let digits = tail.get(..2)?;
            let value = hex(*digits.first()?)? * 16 + hex(*digits.last()?)?;
            if is_plain(value) {
                return None;
            }
            out.push(value);
            rest = tail.get(2..)?;
        } else {
            if !is_plain(first) {
                return None;
            }
            out.push(first);
            rest = tail;
        }
    }
    Some(out)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b",=\\".contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_round_trip_as_one_printable_word(bytes: Vec<u8>) {
            let word = word(&bytes);
            prop_assert!(!word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(decode(&word), Some(bytes));
        }

        #[test]
        fn a_word_that_decodes_is_the_only_spelling(text in "[a-z\\\\0-9.,= ]{0,8}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(word(&bytes), text);
            }
        }
    }
}
