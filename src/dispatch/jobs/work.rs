//! What a job is to do, in the form in which it is kept.

use protocol::{Fault, Request, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::access::redact::holds_secrets;
use crate::access::{Credential, Principal, hex};

/// Commands of one job.
pub(crate) const COMMANDS_MAX: usize = 64;
/// Words of one command.
const WORDS_MAX: usize = 256;
/// Bytes of all words of one command: a fraction of what the kernel takes.
const WORDS_BYTES_MAX: usize = 64 * 1024;

/// One command of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// As its client wrote it, or its words joined: what it is called.
    pub text: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Task {
    /// A call of a plugin.
    Call(Request),
    /// Commands, one after the other, until one fails.
    Commands(Vec<Command>),
}

/// What is kept so that a job can be done after a restart, or again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Work {
    /// What.
    pub(crate) task: Task,
    /// Whether the arguments held secrets: then they are not kept.
    #[serde(default)]
    pub(crate) secret: bool,
    /// The role that the plugin is told.
    pub(crate) role: Role,
    /// The token it rests on, if one, and the hash of its text in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<(Uuid, String)>,
    /// Seconds it may take.
    pub(crate) timeout_s: u64,
}

impl Work {
    /// Who it is done for, of those who are called so.
    pub(crate) fn owner(&self, actor: &str) -> String {
        owner(actor, self.token.as_ref().map(|(id, _)| *id))
    }

    /// As it may lie on a disk.
    pub(crate) fn kept(&self) -> Self {
        let mut kept = self.clone();
        if let (true, Task::Call(request)) = (self.secret, &mut kept.task) {
            request.args = Value::Null;
        }
        kept
    }

    /// Whether both ask for the same, as far as that is kept.
    pub(crate) fn asks_for_the_same(&self, other: &Self) -> bool {
        self.secret == other.secret && self.kept().task == other.kept().task
    }
}

/// Whether arguments must not be kept.
pub(crate) fn is_secret(request: &Request, secrets: &[String]) -> bool {
    holds_secrets(&request.args, secrets)
}

/// The token a principal rests on.
pub(crate) fn token_of(principal: &Principal) -> Option<(Uuid, String)> {
    principal.credentials.iter().find_map(|credential| match credential {
        Credential::Token(id, hash) => Some((*id, hex(hash))),
        _ => None,
    })
}

/// Who a job belongs to: several tokens may bear one name.
pub(crate) fn owner(actor: &str, token: Option<Uuid>) -> String {
    token.map_or_else(|| actor.to_owned(), |token| format!("{actor} {token}"))
}

/// Checks the words of a command.
///
/// # Errors
/// `bad-request` with what is wrong.
pub(crate) fn check_argv(argv: &[String]) -> Result<(), Fault> {
    if argv.is_empty() || argv.first().is_some_and(String::is_empty) {
        return Err(Fault::bad_request("a command needs a program: its first word is empty"));
    }
    let bytes: usize = argv.iter().map(|word| word.len() + 1).sum();
    if argv.len() > WORDS_MAX || bytes > WORDS_BYTES_MAX {
        let sentence =
            format!("a command has at most {WORDS_MAX} words and {WORDS_BYTES_MAX} bytes");
        return Err(Fault::bad_request(sentence));
    }
    match argv.iter().find(|word| word.contains('\0')) {
        Some(_) => Err(Fault::bad_request("a command cannot hold the character NUL")),
        None => Ok(()),
    }
}

/// The words of a classic command text: blanks between words, double quotes around blanks, three
/// double quotes for one. No shell ever sees it, so nothing else means anything.
///
/// # Errors
/// `bad-request` when a quote is left open or a control character is in it.
pub fn split(text: &str) -> Result<Vec<String>, Fault> {
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        let sentence = format!("the command {text:?} holds the control character {control:?}");
        return Err(Fault::bad_request(sentence).with_hint(
            "send the command as an array of its words, in which every character but NUL is taken",
        ));
    }
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut quoted = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\"\"\"") {
            word.get_or_insert_default().push('"');
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if quoted {
        let sentence = format!("the command {text:?} has a double quote that is not closed");
        return Err(Fault::bad_request(sentence).with_hint(
            "three double quotes stand for one that is meant; or send an array of words",
        ));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_split_as_the_original_splits_it() {
        let words = |text| split(text).unwrap();
        assert_eq!(words("/bin/echo  a  b "), ["/bin/echo", "a", "b"]);
        assert_eq!(words("/bin/echo \"a  b\" c"), ["/bin/echo", "a  b", "c"]);
        assert_eq!(words("a\"b c\"d"), ["ab cd"]);
        assert_eq!(words("say \"\"\"hi\"\"\""), ["say", "\"hi\""]);
        assert_eq!(words("say \"\""), ["say", ""]);
        assert_eq!(words("sh -c $(reboot);`x`|y>z 'a b'").len(), 5, "no shell");
        assert!(words("   ").is_empty() && words("").is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in ["echo \"open", "echo a\nb", "echo \0", "echo \u{7}", "a\tb"] {
            assert!(split(wrong).is_err(), "{wrong:?}");
        }
        for wrong in [&[][..], &[""], &["a\0"], &["x"; 257]] {
            let argv: Vec<String> = wrong.iter().map(|word| (*word).to_owned()).collect();
            assert!(check_argv(&argv).is_err(), "{argv:?}");
        }
        assert!(check_argv(&["/bin/echo".to_owned(), "a\nb\"'".to_owned()]).is_ok());
    }

    proptest! {
        #[test]
        fn words_without_quotes_come_back(words in proptest::collection::vec("[^\" \\p{C}]{1,8}", 1..6)) {
            prop_assert_eq!(split(&words.join(" ")).unwrap(), words.clone());
            let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            prop_assert_eq!(split(&quoted.join("  ")).unwrap(), words);
        }

        #[test]
        fn no_text_breaks_it(text in ".*") {
            split(&text).ok();
        }
    }
}
