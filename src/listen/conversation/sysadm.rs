//! What is said in the `SysAdm` protocol, and its answers.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Fault, Filter, Json, Overflow, Request, Start};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Conversation, key};
use crate::bus::{Face, Standing};
use crate::dispatch::By;
use crate::wire::subscription::Asked;
use crate::wire::sysadm::{self, Classic, Said};

impl Conversation {
    /// Answers one message, or has it answered.
    pub(super) async fn hear_sysadm(&mut self, text: &str) {
        match sysadm::decode(text) {
            Ok(said) if said.is("rpc", "identify") => {
                self.say(sysadm::answer(&said, &self.dispatch.identify()));
            }
            Ok(said) if is_hello(&said) => self.greet(&said),
            Ok(said) if is_in_order(&said) => {
                Box::pin(self.answer(said)).await;
            }
            Ok(said) => self.call(&said),
            Err(garbled) => self.say(sysadm::refusal(&garbled.id, &garbled.fault)),
        }
    }

    /// What the client says of itself counts for everything behind it.
    fn greet(&mut self, said: &Said<'_>) {
        let answer = said.read_args().and_then(|args| self.session.hello(&args));
        self.say(match answer {
            Ok(args) => sysadm::answer(said, &args),
            Err(fault) => sysadm::refusal(&said.id, &fault),
        });
    }

    /// Answers what changes the connection itself, before anything behind it is looked at.
    async fn answer(&mut self, said: Said<'_>) {
        if said.name.starts_with("auth") {
            self.log_in_or_out(&said).await;
        } else {
            self.subscription(&said).await;
        }
    }

    /// Has a call answered by a task of its own, so that a slow one delays nobody.
    fn call(&mut self, said: &Said<'_>) {
        let args = match said.read_args() {
            Ok(args) => args,
            Err(fault) => return self.say(sysadm::refusal(&said.id, &fault)),
        };
        let request = Request::new(&said.namespace, &said.name, args);
        let id = said.id.clone().into_owned();
        let (origin, principal) = (self.session.origin(), self.session.principal().cloned());
        let client = Arc::clone(self.session.client());
        let (dispatch, outbox) = (self.dispatch.clone(), Arc::clone(&self.outbox));
        let permit = self.spare.take();
        self.tasks.spawn(async move {
            let by = By { origin, principal: principal.as_ref(), client: &client };
            let answer = dispatch.call_by(by, &request).await;
            // Only clients that opted in look for it.
            let ending = client.opted_in.then(|| dispatch.ending(&client, &request)).flatten();
            outbox.answer(match (answer, ending) {
                (Ok(args), Some(ending)) => sysadm::farewell_to(&request, &id, &args, &ending),
                (Ok(args), None) => {
                    sysadm::answer_to(&request.namespace, &request.name, &id, &args)
                }
                (Err(fault), _) => sysadm::refusal(&id, &fault),
            });
            drop(permit);
        });
    }

    async fn log_in_or_out(&mut self, said: &Said<'_>) {
        // Whatever comes with it, logging out is never refused.
        let args = if said.name == "auth_clear" { Ok(Value::Null) } else { said.read_args() };
        let answer = match args {
            Ok(args) => self.authenticate(&said.name, &args).await,
            Err(fault) => Err(fault),
        };
        match answer {
            // The original does not answer it.
            Ok(_) if said.name == "auth_clear" => {}
            Ok(args) => self.say(sysadm::answer(said, &args)),
            Err(fault) => self.say(sysadm::refusal(&said.id, &fault)),
        }
    }

    async fn subscription(&mut self, said: &Said<'_>) {
        let outcome = match said.read_args().and_then(|args| sysadm::subscription(&args)) {
            Ok(wanted) => self.subscribe_or_not(said, wanted).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = outcome {
            let anonymous = self.session.principal().is_none();
            let fault = if anonymous { crate::dispatch::not_logged_in() } else { fault };
            self.say(sysadm::refusal(&said.id, &fault));
        }
    }

    async fn subscribe_or_not(
        &mut self,
        said: &Said<'_>,
        wanted: sysadm::Wanted,
    ) -> Result<(), Fault> {
        if self.session.principal().is_none() {
            return Err(crate::dispatch::not_logged_in());
        }
        match (&*said.name, wanted) {
            ("subscribe", sysadm::Wanted::Classic(classes)) => {
                self.subscribe_classic(said, &classes).await
            }
            ("subscribe", sysadm::Wanted::OptedIn(sub, asked)) => {
                self.subscribe_opted_in(said, sub, asked).await
            }
            (_, sysadm::Wanted::Classic(classes)) => {
                for class in &classes {
                    self.session.unsubscribe(&classic_key(class));
                }
                self.say(sysadm::answer(said, &classic_answer("unsubscribe", &classes)));
                Ok(())
            }
            (_, sysadm::Wanted::OptedIn(sub, _)) => {
                self.timers.stop_beating(&sub);
                if !self.session.unsubscribe(&key(&sub)) {
                    return Err(Fault::not_found(format!("there is no subscription {sub:?}")));
                }
                let args = json!({"sub": sub, "unsubscribe": sub});
                self.say(sysadm::answer(said, &Json::from(args)));
                Ok(())
            }
        }
    }

    /// The last event of each class, then the answer, then what follows: as the original does it.
    async fn subscribe_classic(
        &mut self,
        said: &Said<'_>,
        classes: &[&'static Classic],
    ) -> Result<(), Fault> {
        let new = classes.iter().filter(|class| !self.session.is_subscribed(&classic_key(class)));
        self.session.check_room_for(new.count())?;
        let mut starts = Vec::new();
        for class in classes {
            let filter = Filter::classes(class.patterns.iter().copied());
            let subscribed = self.session.is_subscribed(&classic_key(class));
            let mut start = self.session.head();
            if let Some(last) = self.session.newest(&filter).await? {
                let mut frame = Vec::new();
                (class.wording.event)(&last, &start, "", &mut frame);
                self.say(frame);
                start.seq = start.seq.max(last.seq.unwrap_or_default());
            }
            // One that is live goes on: beginning it anew could repeat what it has delivered.
            if !subscribed {
                starts.push((*class, filter, start));
            }
        }
        self.say(sysadm::answer(said, &classic_answer("subscribe", classes)));
        for (class, filter, start) in starts {
            let face = Face::new(class.wording, "");
            let subscribe = self.wanted(filter, Start::After(start), Overflow::Lossless, face);
            let silent = Box::new(|_: &Standing| Vec::new());
            self.session.subscribe(classic_key(class), subscribe, silent).await?;
        }
        Ok(())
    }

    async fn subscribe_opted_in(
        &mut self,
        said: &Said<'_>,
        sub: String,
        asked: Asked,
    ) -> Result<(), Fault> {
        let Asked { filter, start, overflow, heartbeat_s, .. } = asked;
        let face = Face::new(&sysadm::OPTED_IN, &sub);
        let subscribe = self.wanted(filter, start, overflow, face);
        let (namespace, id) = (said.namespace.clone().into_owned(), said.id.clone().into_owned());
        let name = sub.clone();
        let answer = move |standing: &Standing| {
            sysadm::answer_to(&namespace, "subscribe", &id, &sysadm::standing(&name, standing))
        };
        self.session.subscribe(key(&sub), subscribe, Box::new(answer)).await?;
        self.timers.beat(&sub, Duration::from_secs(heartbeat_s), Instant::now());
        Ok(())
    }
}

/// Whether a client says who it is.
fn is_hello(said: &Said<'_>) -> bool {
    said.namespace.eq_ignore_ascii_case("rpc") && said.name.eq_ignore_ascii_case("hello")
}

/// Whether a request changes the connection it came on.
fn is_in_order(said: &Said<'_>) -> bool {
    let is_login = said.namespace.eq_ignore_ascii_case("rpc") && said.name.starts_with("auth");
    is_login || said.is("events", "subscribe") || said.is("events", "unsubscribe")
}

fn classic_answer(verb: &str, classes: &[&'static Classic]) -> Json {
    // The original keeps one key, so only the last class shows.
    Json::from(match classes.last() {
        Some(last) => json!({ verb: last.name }),
        None => json!({}),
    })
}

fn classic_key(class: &Classic) -> String {
    format!("classic/{}", class.name)
}
