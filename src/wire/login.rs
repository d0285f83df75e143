//! How clients log in on a websocket, in whatever protocol they speak.

use protocol::{Fault, FaultKind, Json};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::access::Proof;
use crate::dispatch::talk::{Auth, AuthSsl, AuthToken, Challenge};

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
    match name {
        "auth" => {
            let Auth { username, password } = shown(args);
            let password = SecretString::from(password);
            Ok(Shown::Proof(Proof::Password { user: username, password }))
        }
        "auth_token" => {
            let AuthToken { token } = shown(args);
            Ok(Shown::Proof(Proof::Secret(SecretString::from(token))))
        }
        "auth_ssl" => {
            let AuthSsl { encrypted_string } = shown(args);
            let is_first = encrypted_string.is_empty();
            Ok(if is_first { Shown::NoAnswer } else { Shown::Answer(encrypted_string) })
        }
        _ => {
            let sentence = format!("rpc/{name} is not a way to log in here");
            Err(Fault::new(FaultKind::Unauthorized, sentence)
                .with_hint("use rpc/auth, rpc/auth_token or rpc/auth_ssl"))
        }
    }
}

/// What of another shape shows nothing, and is refused as that.
fn shown<T: DeserializeOwned + Default>(args: &Value) -> T {
    T::deserialize(args).unwrap_or_default()
}

/// The arguments of the answer that carries a text to be answered.
pub(crate) fn challenge(text: &str) -> Json {
    let told = Challenge { test_string: text.to_owned() };
    // It has a JSON form, so `null` is never reached.
    Json::of(&told).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
