//! Where a Consul client shows its token, and which one counts when there are several.

use super::Query;

/// What was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A token.
    Token(&'a str),
    /// An `Authorization` header of the kind Basic, which Consul does not know.
    Basic(&'a str),
    /// Nothing, or nothing that is a token.
    Nothing,
}

/// The token that counts: `?token=` before `X-Consul-Token` before `Authorization: Bearer`.
pub fn shown<'a>(
    query: &'a Query,
    header: Option<&'a str>,
    authorization: Option<&'a str>,
) -> Shown<'a> {
    let named = [Some(query.get("token")), header].into_iter().flatten();
    if let Some(token) = named.map(str::trim).find(|token| !token.is_empty()) {
        return Shown::Token(token);
    }
    let Some(authorization) = authorization.map(str::trim) else { return Shown::Nothing };
    let mut words = authorization.split_whitespace();
    match (words.next(), words.next()) {
        (Some(scheme), Some(token)) if scheme.eq_ignore_ascii_case("bearer") => Shown::Token(token),
        (Some(scheme), Some(_)) if scheme.eq_ignore_ascii_case("basic") => {
            Shown::Basic(authorization)
        }
        _ => Shown::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_counts() {
        let query = |text: &str| Query::parse(text).unwrap();
        let (named, empty) = (query("token=q&token=z"), query("token="));
        assert_eq!(shown(&named, Some("h"), Some("Bearer b")), Shown::Token("q"));
        assert_eq!(shown(&empty, Some("h"), Some("Bearer b")), Shown::Token("h"));
        assert_eq!(shown(&empty, Some(""), Some("Bearer b")), Shown::Token("b"));
        for (authorization, expected) in [
            ("bEaReR b", Shown::Token("b")),
            ("  Bearer    b   c", Shown::Token("b")),
            ("Beer b", Shown::Nothing),
            ("Bearer", Shown::Nothing),
            ("Bearer ", Shown::Nothing),
            ("Bearertoken", Shown::Nothing),
            ("Basic eDp5", Shown::Basic("Basic eDp5")),
            ("", Shown::Nothing),
        ] {
            assert_eq!(shown(&empty, None, Some(authorization)), expected, "{authorization}");
        }
        assert_eq!(shown(&empty, None, None), Shown::Nothing);
    }
}
