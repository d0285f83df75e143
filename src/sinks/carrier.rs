//! How things get to one sink: over HTTP, through a program, into a socket of this machine.

use std::path::Path;
use std::time::Duration;

use protocol::Time;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::verdict::{Verdict, judge, judge_exit};
use super::{Ended, Ground, Program, post};
use crate::config::{Sink, SinkKind};
use crate::outbound::{Outbound, Reply};

/// Where the journal takes records (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where syslog(3) writes to.
const SYSLOG: &str = "/dev/log";

/// Carries to one sink.
pub(super) struct Carrier {
    settings: Sink,
    ground: Ground,
    sender: Option<Outbound>,
    /// Whether it was asked for its consent and has given it, or need not be asked.
    may_send: bool,
    /// Between two requests, as it wants it.
    pub(super) pace: Option<Duration>,
}

/// What a sink has answered.
#[derive(Debug)]
pub(super) enum Answer {
    Http(Reply),
    Exited(i32),
    /// It takes what comes and says nothing.
    Sent,
    /// It cannot take anything of that size.
    TooLong,
}

impl Carrier {
    pub(super) fn new(settings: &Sink, ground: &Ground) -> Self {
        Self {
            may_send: !settings.handshake,
            pace: None,
            settings: settings.clone(),
            ground: ground.clone(),
            sender: None,
        }
    }

    /// Asks for its consent again before the next request.
    pub(super) fn doubt(&mut self) {
        self.may_send = !self.settings.handshake;
    }

    /// Carries these there, once.
    ///
    /// # Errors
    /// The sentence, when there is no answer.
    pub(super) async fn carry(&mut self, items: &[&[u8]]) -> Result<Answer, String> {
        match self.settings.kind {
            SinkKind::CloudEvents | SinkKind::Webhook | SinkKind::Ntfy => self.post(items).await,
            SinkKind::Mail => {
                let mut argv = vec![self.settings.sendmail.display().to_string(), "-i".to_owned()];
                if let Some(sender) = &self.settings.sender {
                    argv.extend(["-f".to_owned(), sender.clone()]);
                }
                argv.extend(self.settings.to.iter().cloned());
                // Some mail systems go on in the background: what was taken must not be cut off.
                self.run((argv, true), items).await
            }
            SinkKind::Command => self.run((self.settings.command.clone(), false), items).await,
            SinkKind::Journal => self.drop_into(JOURNAL, items).await,
            SinkKind::Syslog => self.drop_into(SYSLOG, items).await,
        }
    }

    async fn post(&mut self, items: &[&[u8]]) -> Result<Answer, String> {
        let sender = match &self.sender {
            Some(sender) => sender.clone(),
            None => self.sender.insert(post::sender(&self.settings, &self.ground.tasks)?).clone(),
        };
        if !self.may_send {
            self.pace = post::ask(&sender, &self.settings, &self.ground.host).await?;
            self.may_send = true;
        }
        let request = post::request(&self.settings, self.ground.words, items).await?;
        sender.send(request).await.map(Answer::Http).map_err(|error| error.to_string())
    }

    async fn run(
        &self,
        (argv, spares_rest): (Vec<String>, bool),
        items: &[&[u8]],
    ) -> Result<Answer, String> {
        let name = argv.first().cloned().unwrap_or_default();
        let deadline = self.deadline();
        let program = Program { argv, input: items.concat(), spares_rest, deadline };
        match self.ground.programs.run(program).await {
            Ended::Exited(code) => Ok(Answer::Exited(code)),
            Ended::Signalled(signal) => Err(format!("{name} was ended by signal {signal}")),
            Ended::NotStarted(why) => Err(format!("{name} cannot be started: {why}")),
            Ended::Late => Err(format!("{name} had not ended after {} s", self.settings.timeout_s)),
        }
    }

    async fn drop_into(&self, path: &str, items: &[&[u8]]) -> Result<Answer, String> {
        let sending = send(Path::new(path), items);
        match timeout(self.deadline(), sending).await {
            Ok(Ok(())) => Ok(Answer::Sent),
            Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {
                Ok(Answer::TooLong)
            }
            Ok(Err(error)) => Err(format!("{path}: {error}")),
            Err(_) => Err(format!("{path} takes nothing")),
        }
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.settings.timeout_s)
    }
}

async fn send(path: &Path, items: &[&[u8]]) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    for item in items {
        socket.send_to(item, path).await?;
    }
    Ok(())
}

impl Answer {
    /// What it means.
    pub(super) fn verdict(&self, now: Time) -> Verdict {
        match self {
            Self::Http(reply) => judge(reply.status, &reply.headers, now),
            Self::Exited(code) => judge_exit(*code),
            Self::Sent => Verdict::Taken,
            Self::TooLong => Verdict::Refused("it is too long".to_owned()),
        }
    }

    /// The HTTP status, or that of the program.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Http(reply) => reply.status.as_u16(),
            Self::Exited(code) => u16::try_from(*code).unwrap_or(u16::MAX),
            Self::Sent => 0,
            Self::TooLong => 1,
        }
    }
}
