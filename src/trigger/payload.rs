//! Which payload is meant: some of its members, by JSON pointers (RFC 6901), against patterns.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Members that are compared.
const MEMBERS_MAX: usize = 16;
/// Bytes of a pointer and of a pattern.
const TEXT_MAX: usize = 256;

/// Patterns by JSON pointers; `*` stands for any characters and `?` for one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Match(BTreeMap<String, String>);

impl Match {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it can be kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if self.0.len() > MEMBERS_MAX {
            return Err(format!("\"match\" has at most {MEMBERS_MAX} members"));
        }
        let wrong = self.0.iter().find(|(pointer, pattern)| {
            !pointer.starts_with('/') || pointer.len() > TEXT_MAX || pattern.len() > TEXT_MAX
        });
        match wrong {
            Some((pointer, _)) => Err(format!(
                "{pointer:?} in \"match\" is no JSON pointer, or longer than {TEXT_MAX} bytes: \
                 expected for example \"/repository/full_name\""
            )),
            None => Ok(()),
        }
    }

    /// Whether this payload is meant. All of it must hold.
    pub fn covers(&self, payload: &Value) -> bool {
        self.0.iter().all(|(pointer, pattern)| {
            let text = match payload.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(other @ (Value::Bool(_) | Value::Number(_))) => other.to_string(),
                _ => return false,
            };
            fits(pattern, &text)
        })
    }
}

/// What a body says, as JSON or in the form field `payload`, in which some senders put it.
pub fn read(content_type: Option<&str>, body: &[u8]) -> Option<Value> {
    let is_form =
        content_type.is_some_and(|it| it.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return serde_json::from_slice(body).ok();
    }
    let mut fields = form_urlencoded::parse(body);
    let field = fields.find(|(name, _)| name == "payload")?;
    serde_json::from_str(&field.1).ok()
}

/// Whether a pattern stands for a text. Goes back to the last `*` alone, so it takes no longer than
/// both lengths multiplied.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn wanted(json: &str) -> Match {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_payload_of_docker_hub_is_told_by_repository_and_tag() {
        let push = json!({"push_data": {"tag": "v1.2", "count": 3, "ok": true},
            "repository": {"repo_name": "me/web"}, "list": [{"a/b": "x"}]});
        for (json, is_meant) in [
            (r"{}", true),
            (r#"{"/repository/repo_name":"me/*","/push_data/tag":"v?.*"}"#, true),
            (r#"{"/repository/repo_name":"me/*","/push_data/tag":"latest"}"#, false),
            (r#"{"/push_data/count":"3","/push_data/ok":"true"}"#, true),
            (r#"{"/list/0/a~1b":"x"}"#, true),
            (r#"{"/push_data":"*"}"#, false),
            (r#"{"/nothing":"*"}"#, false),
        ] {
            assert_eq!(wanted(json).covers(&push), is_meant, "{json}");
        }
        assert!(wanted(r#"{"no/pointer":"x"}"#).check().is_err());
        assert!(wanted(&format!(r#"{{"/a":"{}"}}"#, "x".repeat(257))).check().is_err());
        assert!(wanted(r#"{"/a":"*"}"#).check().is_ok());
    }

    #[test]
    fn a_form_holds_it_in_a_field_and_a_bomb_is_none() {
        let form = Some("application/x-www-form-urlencoded; charset=utf-8");
        let body = b"x=1&payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D";
        assert_eq!(read(form, body).unwrap()["ref"], "refs/heads/main");
        assert_eq!(read(None, body), None);
        assert_eq!(read(form, b"x=1"), None);
        assert_eq!(read(None, "[".repeat(100_000).as_bytes()), None);
        assert_eq!(read(None, &[0xff, 0xfe]), None);
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_a_regular_expression_means(
            pattern in "[ab*?]{0,8}", text in "[abc]{0,8}",
        ) {
            let same = format!("^{}$", pattern.replace('*', ".*").replace('?', "."));
            prop_assert_eq!(fits(&pattern, &text), regex::Regex::new(&same).unwrap().is_match(&text));
        }

        #[test]
        fn any_body_is_read_or_not(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(Some("application/x-www-form-urlencoded"), &body);
            read(None, &body);
        }
    }
}
