//! The questions on a terminal. An empty answer leaves things as they are.

use std::io::{BufRead, Read as _, Write};
use std::net::SocketAddr;

use super::Setup;
use crate::cli::exit::{Exit, Failure};

/// Bytes of the longest answer: a path.
const ANSWER_MAX: u64 = 4096;

/// Asks for everything that no option has said.
pub(super) fn fill(
    setup: &mut Setup,
    input: &mut dyn BufRead,
    screen: &mut dyn Write,
) -> Result<(), Failure> {
    let mut ask = |question: &str| answer(question, input, screen);
    loop {
        let text = ask("Listen where with TLS, as ADDR:PORT with spaces between [unchanged]: ")?;
        let addresses: Result<Vec<SocketAddr>, _> =
            text.split_whitespace().map(str::parse).collect();
        if let Ok(addresses) = addresses {
            setup.listen = addresses;
            break;
        }
    }
    let certificate = ask("PEM file with a certificate [the daemon's own]: ")?;
    if !certificate.is_empty() {
        let key = ask("PEM file with its private key: ")?;
        (setup.certificate, setup.key) = (Some(certificate.into()), Some(key.into()));
    }
    let groups = ask("Groups of this machine whose members are admin, too [none]: ")?;
    setup.admin_group = groups.split_whitespace().map(str::to_owned).collect();
    Ok(())
}

fn answer(
    question: &str,
    input: &mut dyn BufRead,
    screen: &mut dyn Write,
) -> Result<String, Failure> {
    let mut line = String::new();
    let asked = screen.write_all(question.as_bytes()).and_then(|()| screen.flush());
    let read = asked.and_then(|()| input.take(ANSWER_MAX).read_line(&mut line));
    match read {
        Ok(0) => Err(Failure::new(Exit::Failed, "nobody answers: nothing was changed")),
        Ok(_) => Ok(line.trim().to_owned()),
        Err(error) => Err(Failure::new(Exit::File, format!("cannot ask: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str) -> (Result<(), Failure>, Setup, String) {
        let (mut setup, mut screen) = (Setup::default(), Vec::new());
        let done = fill(&mut setup, &mut answers.as_bytes(), &mut screen);
        (done, setup, String::from_utf8(screen).unwrap())
    }

    #[test]
    fn empty_answers_leave_everything() {
        let (done, setup, _) = asked("\n\n\n");
        assert!(done.is_ok());
        assert_eq!(setup, Setup::default());
    }

    #[test]
    fn a_wrong_address_is_asked_for_again() {
        let (done, setup, screen) = asked("here\n127.0.0.1:1 [::1]:2\n/c.pem\n/k.pem\nit wheel\n");
        assert!(done.is_ok());
        assert_eq!(screen.matches("Listen where").count(), 2);
        assert_eq!(setup.listen.len(), 2);
        assert_eq!(setup.key.as_deref(), Some(std::path::Path::new("/k.pem")));
        assert_eq!(setup.admin_group, ["it", "wheel"]);
    }

    #[test]
    fn the_end_of_input_is_no_answer() {
        assert!(asked("\n").0.is_err());
    }
}
