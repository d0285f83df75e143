//! What a process says, line by line.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use jsonrpsee_types::Id;
use protocol::Json;
use protocol::link::{Frame, Log, Note, Progress, fault_of, method};
use tokio::time::Instant;
use tracing::Level;

use super::ending::Phase;
use super::{Instance, News, Terms};
use crate::host::confinement::Confinement;
use crate::host::health::Health;
use crate::host::lines::Line;
use crate::host::{handshake, launch, voice};

/// Lines that are no protocol: the last of so many ends the plugin.
const GARBAGE_MAX: u32 = 3;
/// How much of such a line the log shows, in bytes.
const GARBAGE_SHOWN: usize = 200;
/// From the end of standard output to that of the process.
const MUTE_GRACE: Duration = Duration::from_millis(500);

impl Instance {
    /// Takes in the lines that are here, as far as there is room for what they bring.
    pub(super) fn hear_lines(&mut self) {
        while self.has_room(Instant::now()) {
            let is_over = self.stdout.is_none();
            let line = self.said.next();
            match line.or_else(|| is_over.then(|| self.said.rest()).flatten()) {
                None => return,
                Some(Line::Whole(line)) => self.hear(&line),
                Some(Line::TooLong(beginning)) => {
                    self.note(&beginning);
                    let most = self.setup.spec.manifest.limits.line_bytes;
                    self.abort(format!("protocol error: a line of more than {most} bytes"));
                }
            }
        }
    }

    /// Standard output has ended. Usually its exit follows; without one the plugin is mute.
    pub(super) fn stdout_ended(&mut self, error: Option<io::Error>) {
        self.stdout = None;
        if let Some(error) = error {
            tracing::warn!(plugin = self.setup.spec.manifest.id, %error, "its output is lost");
        }
        self.mute_until = Some(Instant::now() + MUTE_GRACE);
    }

    /// Passes standard error on to the log.
    pub(super) fn relay_stderr(&mut self) {
        while let Some(line) = self.muttered.next() {
            let (Line::Whole(line) | Line::TooLong(line)) = line;
            let text = String::from_utf8_lossy(&line);
            if let Some(said) = text.strip_prefix(launch::PREFIX) {
                self.last_of_launcher = Some(said.trim_end().to_owned());
                self.voice.say(Level::WARN, "launch", said);
            } else {
                self.voice.say(Level::INFO, "stderr", &text);
            }
        }
    }

    fn hear(&mut self, line: &BytesMut) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let frame = std::str::from_utf8(line).ok().and_then(|text| Frame::parse(text).ok());
        let frame = frame.filter(|frame| frame.method.is_some() || frame.id.is_some());
        match frame {
            None => self.reject(line),
            Some(frame) if matches!(self.phase, Phase::Starting { .. }) => {
                self.hear_first(&frame, line);
            }
            Some(frame) => match frame.method.clone() {
                Some(method) => self.hear_asking(&method, frame),
                None => self.hear_answer(frame),
            },
        }
    }

    fn hear_first(&mut self, frame: &Frame, line: &[u8]) {
        let is_answer = frame.method.is_none() && frame.id == Some(Id::Number(handshake::NUMBER));
        if !is_answer {
            return self.reject(line);
        }
        let unavailable = match handshake::judge(frame, &self.setup.spec.manifest) {
            Ok(unavailable) => unavailable,
            Err(reason) => return self.abort(reason),
        };
        let now = Instant::now();
        self.phase = Phase::Serving;
        self.ready_since = Some(now);
        self.health = Health::new(&self.setup.spec.manifest.health, now);
        self.send(&Frame::notification(method::INITIALIZED, Json::default()));
        let is_confined = self.setup.context.settings.launcher.is_some();
        let pid = self.process.pid().filter(|_| is_confined);
        let confinement = pid.and_then(|pid| Confinement::of(pid, &self.policy));
        self.tell(News::Ready(Terms { confinement: confinement.map(Box::new), unavailable }));
    }

    fn hear_asking(&mut self, asked: &str, frame: Frame) {
        let now = Instant::now();
        match asked {
            method::PUBLISH => {
                let answers = self.publisher.publish(frame, now);
                self.send_all(&answers);
            }
            method::ALERT_RAISE | method::ALERT_CLEAR | method::ALERT_SYNC => {
                let answers = self.publisher.alert(asked, frame, now);
                self.send_all(&answers);
            }
            method::PROGRESS => match frame.read_params::<Progress>() {
                Ok(progress) => {
                    // A job says itself how far it is.
                    if let Some(call) = self.calls.progress(&progress) {
                        self.publisher.progress(&progress, &call, now);
                    }
                }
                Err(error) => self.voice.say(Level::WARN, "progress", &error.to_string()),
            },
            method::NOTE => match frame.read_params::<Note>() {
                Ok(note) => self.calls.note(&note.request_id, &note.text),
                Err(error) => self.voice.say(Level::WARN, "note", &error.to_string()),
            },
            method::LOG => match frame.read_params::<Log>() {
                Ok(log) => self.voice.say(voice::level_of(&log.level), "log", &log.message),
                Err(error) => self.voice.say(Level::WARN, "log", &error.to_string()),
            },
            unknown => {
                if let Some(id) = frame.id {
                    let name: String = unknown.chars().take(GARBAGE_SHOWN).collect();
                    self.send(&Frame::unknown_method(id, &name));
                }
            }
        }
    }

    fn hear_answer(&mut self, frame: Frame) {
        // An answer to a question we never asked is an answer to one we have given up.
        let Some(Id::Number(number)) = frame.id else { return };
        let answer = match frame.error {
            Some(error) => Err(fault_of(&error)),
            None => Ok(frame.result.unwrap_or_default()),
        };
        if self.calls.answer(number, answer) {
            return;
        }
        match self.health.answered(number) {
            Some(true) => self.tell(News::Recovered),
            Some(false) => {}
            None => self.answered_shutdown(number),
        }
    }

    /// A line that is no protocol, or comes before its time.
    fn reject(&mut self, line: &[u8]) {
        self.note(line);
        self.garbage += 1;
        if self.garbage >= GARBAGE_MAX {
            self.abort(format!("protocol error: {GARBAGE_MAX} lines that are not the protocol"));
        }
    }

    fn note(&mut self, line: &[u8]) {
        let shown = String::from_utf8_lossy(&line[..line.len().min(GARBAGE_SHOWN)]);
        self.voice.say(Level::WARN, "not the protocol", &shown);
    }
}
