//! How clients log in on a websocket, in whatever protocol they speak.

use protocol::{Fault, FaultKind, Json};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::access::Proof;

/// What a login message shows or asks for.
#[derive(Debug)]
pub enum Shown {
    /// This is to let me in.
    Proof(Proof),
    /// `auth_ssl` without an answer: a text to answer, please.
    NoAnswer,
    /// `auth_ssl` with the answer to the text.
    Answer(String),
}

/// Reads the arguments of `rpc/auth…`, except `auth_clear`.
///
/// # Errors
/// `unauthorized` for a name that is no way to log in.
pub fn login(name: &str, args: &Value) -> Result<Shown, Fault> {
    let text = |member: &str| args.get(member).and_then(Value::as_str).unwrap_or_default();
    let secret = |member: &str| SecretString::from(text(member));
    match name {
        "auth" => {
            let (user, password) = (text("username").to_owned(), secret("password"));
            Ok(Shown::Proof(Proof::Password { user, password }))
        }
        "auth_token" => Ok(Shown::Proof(Proof::Secret(secret("token")))),
        "auth_ssl" => Ok(match text("encrypted_string") {
            "" => Shown::NoAnswer,
            answer => Shown::Answer(answer.to_owned()),
        }),
        _ => {
            let sentence = format!("rpc/{name} is not a way to log in here");
            Err(Fault::new(FaultKind::Unauthorized, sentence)
                .with_hint("use rpc/auth, rpc/auth_token or rpc/auth_ssl"))
        }
    }
}

/// The arguments of the answer that carries a text to be answered.
pub(crate) fn challenge(text: &str) -> Json {
    Json::from(json!({ "test_string": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_told_apart() {
        let shown = |name, args: Value| login(name, &args).unwrap();
        assert!(matches!(
            shown("auth", json!({"username": "a", "password": "p"})),
            Shown::Proof(Proof::Password { user, .. }) if user == "a"
        ));
        assert!(matches!(shown("auth_ssl", json!("")), Shown::NoAnswer));
        let answer = json!({"encrypted_string": "eA=="});
        assert!(matches!(shown("auth_ssl", answer), Shown::Answer(text) if text == "eA=="));
        assert!(login("auth_bogus", &json!({})).is_err());
    }
}
