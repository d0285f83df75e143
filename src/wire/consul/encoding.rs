//! `Accept-Encoding` (RFC 9110 §12.5.3), as far as it is about gzip.

/// Whether a client that wants these encodings takes gzip. Who says nothing of it does not.
pub fn takes_gzip(wishes: &str) -> bool {
    let weight = |wish: &str| {
        let (coding, rest) = wish.split_once(';').unwrap_or((wish, ""));
        let weight = rest.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        (coding.trim().to_ascii_lowercase(), weight.unwrap_or(0.0))
    };
    let of = |name: &str| {
        let mut named = wishes.split(',').map(weight).filter(|(coding, _)| coding == name);
        named.next().map(|(_, weight)| weight > 0.0)
    };
    of("gzip").or_else(|| of("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_want_it() {
        for (wishes, wanted) in [
            ("gzip", true),
            ("GZIP;q=0.1", true),
            ("deflate, gzip;q=1.0, *;q=0", true),
            ("*", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0, *", false),
            ("gzip;q=x", false),
            ("br, deflate", false),
            ("gzipped", false),
        ] {
            assert_eq!(takes_gzip(wishes), wanted, "{wishes:?}");
        }
    }
}
