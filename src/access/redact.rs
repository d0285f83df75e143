//! What of a call's arguments may stand in the audit trail: pure.

use serde_json::{Map, Value, json};

use super::tokens::TOKEN_PREFIX;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";
/// Parts of argument names that are secrets by themselves.
const SECRET_WORDS: [&str; 8] =
    ["password", "passphrase", "passwd", "secret", "token", "credential", "private", "encrypted"];
/// Characters of one text that are kept.
const TEXT_MAX: usize = 256;
/// Members of one object, elements of one list that are kept.
const PARTS_MAX: usize = 32;
/// Levels that are kept.
const DEPTH_MAX: usize = 6;
/// Bytes that are kept in all.
const BYTES_MAX: usize = 4 * 1024;

/// The arguments with secrets taken out and long things cut: `secrets` are the names that the
/// method declares.
pub fn redact(args: &Value, secrets: &[String]) -> Value {
    let redacted = keep(args, secrets, 0);
    let bytes = redacted.to_string().len();
    if bytes > BYTES_MAX { json!({ "omitted_bytes": bytes }) } else { redacted }
}

/// Whether any of the arguments is a secret.
pub(crate) fn holds_secrets(args: &Value, secrets: &[String]) -> bool {
    match args {
        Value::Object(members) => members.iter().any(|(name, value)| {
            is_secret(name, secrets) && !value.is_null() || holds_secrets(value, secrets)
        }),
        Value::Array(parts) => parts.iter().any(|part| holds_secrets(part, secrets)),
        Value::String(text) => text.contains(TOKEN_PREFIX),
        _ => false,
    }
}

fn keep(value: &Value, secrets: &[String], depth: usize) -> Value {
    match value {
        Value::Object(members) if depth < DEPTH_MAX => keep_members(members, secrets, depth),
        Value::Array(parts) if depth < DEPTH_MAX => {
            let kept = parts.iter().take(PARTS_MAX);
            kept.map(|part| keep(part, secrets, depth + 1)).collect()
        }
        Value::Object(_) | Value::Array(_) => Value::from("[deeper]"),
        Value::String(text) => Value::from(keep_text(text)),
        other => other.clone(),
    }
}

fn keep_members(members: &Map<String, Value>, secrets: &[String], depth: usize) -> Value {
    let kept = members.iter().take(PARTS_MAX).map(|(name, value)| {
        let value = if is_secret(name, secrets) && !value.is_null() {
            Value::from(REDACTED)
        } else {
            keep(value, secrets, depth + 1)
        };
        (keep_text(name), value)
    });
    Value::Object(kept.collect())
}

fn is_secret(name: &str, secrets: &[String]) -> bool {
    let lower = name.to_lowercase();
    SECRET_WORDS.iter().any(|word| lower.contains(word)) || secrets.iter().any(|own| own == name)
}

/// A text without what looks like one of our own tokens, wherever it stands, and not too long.
fn keep_text(text: &str) -> String {
    if text.contains(TOKEN_PREFIX) {
        return REDACTED.to_owned();
    }
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_go_and_what_was_done_stays() {
        let args = json!({
            "action": "create", "dataset": "tank", "Password": "canary", "new_token": "canary",
            "pin": 1234, "note": "use sad_canary", "deep": {"api_secret": ["canary"]}, "token": null,
        });
        let kept = redact(&args, &["pin".to_owned()]);
        assert_eq!(kept["dataset"], "tank");
        assert_eq!(kept["pin"], REDACTED);
        assert_eq!(kept["token"], Value::Null);
        assert!(!kept.to_string().contains("canary"), "{kept}");
        assert!(holds_secrets(&args, &[]));
        let declared = ["pin".to_owned()];
        for (secret, plain) in [
            (json!({"pin": 1}), json!({"pin": null})),
            (json!([{"a": {"PASSWORD": "x"}}]), json!([{"a": {"pass": "x"}}])),
            (json!({"a": ["sad_x"]}), json!({"a": ["sadx"]})),
        ] {
            assert!(holds_secrets(&secret, &declared) && !holds_secrets(&plain, &declared));
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_small(text in ".{0,400}", count in 0usize..200, levels in 0usize..40) {
            let mut args = json!({ "x": vec![text; count] });
            for _ in 0..levels {
                args = json!([args]);
            }
            prop_assert!(redact(&args, &[]).to_string().len() <= BYTES_MAX);
        }
    }
}
