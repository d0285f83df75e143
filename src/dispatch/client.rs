//! What a client has said of itself, and which versions of methods it is answered in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use protocol::Request;
use protocol::manifest::VERSION_MAX;

/// The longest name and version of a client that are kept, in characters.
const TEXT_MAX: usize = 64;
/// The most namespaces a client may name a version for.
pub(super) const VERSIONS_MAX: usize = 64;

/// A client, as it calls itself. Nothing depends on it but the words of its answers: whoever lies
/// here cheats nobody but themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// The program's name; empty: it has said none.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Which version of a namespace it speaks; of every other namespace the first.
    pub versions: BTreeMap<String, u32>,
    /// Whether it knows what the classic protocol does not have.
    pub opted_in: bool,
}

impl Client {
    /// A client of this name that has opted in to nothing, such as a `User-Agent` over HTTP.
    pub fn named(name: &str) -> Self {
        Self { name: short(name), ..Self::default() }
    }

    /// The method that it asks for, in lower case and without a version, and the version of the
    /// namespace: the one that the request names, or else its own.
    pub(super) fn wish(&self, request: &Request) -> (String, u32) {
        let (method, version) = split(&request.method().to_ascii_lowercase());
        let namespace = method.split('/').next().unwrap_or_default();
        let version = version.unwrap_or_else(|| self.version_of(namespace));
        (method, version)
    }

    /// The version in which it is answered unless a call names another.
    pub(super) fn version_of(&self, namespace: &str) -> u32 {
        self.versions.get(namespace).copied().unwrap_or(1)
    }
}

/// The request with its action as it is declared: the original takes the actions of this one method
/// in any case, beside those of the dispatcher.
pub(super) fn in_its_case<'a>(method: &str, request: &'a Request) -> Cow<'a, Request> {
    let action = request.action().filter(|_| method == "sysadm/fs");
    match action.map(str::to_ascii_lowercase).filter(|plain| request.action() != Some(plain)) {
        None => Cow::Borrowed(request),
        Some(plain) => {
            let mut request = request.clone();
            request.args["action"] = plain.into();
            Cow::Owned(request)
        }
    }
}

/// A text that is kept and shown: of bounded length, on one line.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

/// A method without the version in its namespace, and that version: `kit@2/echo` is `kit/echo` in
/// version 2. What is no version stays where it is, and is then no method.
pub fn split(method: &str) -> (String, Option<u32>) {
    let parts = method.split_once('/').and_then(|(namespace, name)| {
        let (namespace, version) = namespace.split_once('@')?;
        let is_number = !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit());
        let version = is_number.then(|| version.parse().ok()).flatten()?;
        (1..=VERSION_MAX).contains(&version).then(|| (format!("{namespace}/{name}"), version))
    });
    match parts {
        Some((method, version)) => (method, Some(version)),
        None => (method.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_version_is_read_from_where_it_is_written(
            namespace in "[a-z-]{1,8}", name in "[a-z_]{1,8}", version in 1..=VERSION_MAX,
        ) {
            let method = format!("{namespace}/{name}");
            prop_assert_eq!(split(&format!("{namespace}@{version}/{name}")), (method.clone(), Some(version)));
            prop_assert_eq!(split(&method), (method.clone(), None));
        }

        #[test]
        fn anything_can_be_asked_for(text in ".{0,40}") {
            let (method, version) = split(&text);
            prop_assert!(version.is_some() || method == text);
        }
    }

    #[test]
    fn what_is_no_version_is_no_method_either() {
        for odd in
            ["kit@/echo", "kit@0/echo", "kit@02/echo", "kit@+2/echo", "kit@10000/echo", "kit@2"]
        {
            assert_eq!(split(odd), (odd.to_owned(), None));
        }
    }

    #[test]
    fn a_name_is_cut_and_kept_on_one_line() {
        assert_eq!(Client::named("a\r\nb").name, "ab");
        assert_eq!(Client::named(&"x".repeat(100)).name.len(), TEXT_MAX);
    }
}
