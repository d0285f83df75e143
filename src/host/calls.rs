//! The calls one plugin process works on, and those that wait for their turn.
//!
//! A caller who gives up drops its end of the reply and rings a bell (see `call`); that is the only
//! form in which deadlines, closed connections and cancelled requests arrive here.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use protocol::link::Progress;
use protocol::{Fault, Json};
use tokio::sync::oneshot;

use super::{Follower, Watch};
use crate::sight::Call;

/// A call on its way to a plugin.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Names it in `cancel` and `progress`.
    pub(crate) request_id: String,
    /// Says who may hear how far it is.
    pub(crate) call: Arc<Call>,
    /// The parameters of `call`.
    pub(crate) params: Json,
    /// Where the answer goes; closed when nobody waits for it any more.
    pub(crate) reply: oneshot::Sender<Result<Json, Fault>>,
    /// Who follows it, if it is a job.
    pub(crate) watch: Option<Watch>,
}

#[derive(Debug)]
struct InFlight {
    request_id: String,
    call: Arc<Call>,
    reply: oneshot::Sender<Result<Json, Fault>>,
    follower: Option<Arc<dyn Follower>>,
}

/// Calls in flight by the number of their request, and those that wait. The waiting ones are
/// bounded by the places callers have to take before they may ask (see `instance::Link`).
#[derive(Debug)]
pub(crate) struct Calls {
    most: usize,
    in_flight: BTreeMap<u64, InFlight>,
    /// Rung when a call in flight is to end while its answer is still waited for; by its number.
    ends: BTreeMap<u64, oneshot::Receiver<()>>,
    waiting: VecDeque<Ask>,
}

impl Calls {
    /// At most `most` in flight.
    pub(crate) fn new(most: usize) -> Self {
        let (in_flight, ends) = (BTreeMap::new(), BTreeMap::new());
        Self { most, in_flight, ends, waiting: VecDeque::new() }
    }

    /// Puts a call at the end of the line.
    pub(crate) fn push(&mut self, ask: Ask) {
        self.waiting.push_back(ask);
    }

    /// The next call that may begin and that somebody still waits for.
    pub(crate) fn next(&mut self) -> Option<Ask> {
        if self.in_flight.len() >= self.most {
            return None;
        }
        while let Some(ask) = self.waiting.pop_front() {
            if !ask.reply.is_closed() {
                return Some(ask);
            }
        }
        None
    }

    /// The call has been sent to the plugin under this number.
    pub(crate) fn sent(&mut self, number: u64, ask: Ask) {
        let Ask { request_id, call, reply, watch, params: _ } = ask;
        let (follower, end) = watch.map(|watch| (watch.follower, watch.end)).unzip();
        self.in_flight.insert(number, InFlight { request_id, call, reply, follower });
        self.ends.extend(end.flatten().map(|end| (number, end)));
    }

    /// Hands the answer to whoever asked; false when the number is no call in flight.
    pub(crate) fn answer(&mut self, number: u64, answer: Result<Json, Fault>) -> bool {
        let Some(call) = self.in_flight.remove(&number) else { return false };
        self.ends.remove(&number);
        // Its caller may have given up at this very moment; then nobody misses the answer.
        drop(call.reply.send(answer));
        true
    }

    /// Passes progress on to whoever follows the call; where nobody does, the call that is to be told
    /// of, if it is in flight.
    pub(crate) fn progress(&self, progress: &Progress) -> Option<Arc<Call>> {
        let call = self.in_flight(&progress.request_id)?;
        match &call.follower {
            Some(follower) => follower.progress(progress),
            None => return Some(Arc::clone(&call.call)),
        }
        None
    }

    /// Passes a line on to whoever follows the call.
    pub(crate) fn note(&self, request_id: &str, text: &str) {
        let call = self.in_flight(request_id);
        if let Some(follower) = call.and_then(|call| call.follower.as_ref()) {
            follower.note(text);
        }
    }

    fn in_flight(&self, request_id: &str) -> Option<&InFlight> {
        self.in_flight.values().find(|call| call.request_id == request_id)
    }

    /// Whether nothing is in flight or waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// Refuses those that have not begun.
    pub(crate) fn refuse_waiting(&mut self, fault: &Fault) {
        for ask in self.waiting.drain(..) {
            drop(ask.reply.send(Err(fault.clone())));
        }
    }

    /// Ends all of them with this fault.
    pub(crate) fn fail(&mut self, fault: &Fault) {
        self.refuse_waiting(fault);
        self.ends.clear();
        for call in std::mem::take(&mut self.in_flight).into_values() {
            drop(call.reply.send(Err(fault.clone())));
        }
    }

    /// Forgets the calls whose callers have given up, and names those in flight among them.
    pub(crate) fn given_up(&mut self) -> Vec<String> {
        self.waiting.retain(|ask| !ask.reply.is_closed());
        let gone = self.in_flight.extract_if(.., |_, call| call.reply.is_closed());
        gone.inspect(|(number, _)| drop(self.ends.remove(number)))
            .map(|(_, call)| call.request_id)
            .collect()
    }

    /// Waits until an end is asked for of calls whose answers are still waited for, and names them.
    pub(crate) fn poll_asked_to_end(&mut self, context: &mut Context<'_>) -> Poll<Vec<String>> {
        let mut asked = Vec::new();
        self.ends.retain(|number, end| {
            let Poll::Ready(rung) = Pin::new(end).poll(context) else { return true };
            let call = self.in_flight.get(number).filter(|_| rung.is_ok());
            asked.extend(call.map(|call| call.request_id.clone()));
            false
        });
        if asked.is_empty() { Poll::Pending } else { Poll::Ready(asked) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    fn ask(name: &str) -> (Ask, oneshot::Receiver<Result<Json, Fault>>) {
        let (reply, answer) = oneshot::channel();
        let (request_id, params) = (name.to_owned(), Json::default());
        let call = Arc::new(crate::sight::tests::call(name));
        (Ask { request_id, call, params, reply, watch: None }, answer)
    }

    #[tokio::test]
    async fn only_so_many_are_in_flight_and_the_rest_keeps_its_order() {
        let mut calls = Calls::new(1);
        let (first, _first) = ask("a");
        let (second, second_answer) = ask("b");
        let (third, _third) = ask("c");
        for ask in [first, second, third] {
            calls.push(ask);
        }
        let first = calls.next().unwrap();
        calls.sent(1, first);
        assert!(calls.next().is_none());
        drop(second_answer);
        assert!(calls.answer(1, Ok(Json::default())));
        assert_eq!(calls.next().unwrap().request_id, "c");
    }

    #[tokio::test]
    async fn a_caller_who_gives_up_is_noticed_and_a_late_answer_is_nobodys() {
        let mut calls = Calls::new(4);
        let (asked, answer) = ask("a");
        calls.sent(7, asked);
        let far = Progress { request_id: "a".to_owned(), ..Progress::default() };
        assert!(calls.progress(&far).is_some());
        assert!(calls.given_up().is_empty());
        drop(answer);
        assert_eq!(calls.given_up(), ["a"]);
        assert!(!calls.answer(7, Ok(Json::default())));
    }

    #[derive(Debug, Default)]
    struct Ear(Mutex<Vec<String>>);

    impl Follower for Ear {
        fn progress(&self, progress: &Progress) {
            self.0.lock().unwrap().push(progress.done.to_string());
        }

        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[tokio::test]
    async fn a_followed_call_is_asked_to_end_once_and_still_answered() {
        let mut calls = Calls::new(4);
        let (mut asked, answer) = ask("a");
        let ear = Arc::new(Ear::default());
        let (end, asks) = oneshot::channel();
        let follower = Arc::clone(&ear) as Arc<dyn Follower>;
        asked.watch = Some(Watch { follower, end: Some(asks), timeout: Duration::from_secs(1) });
        calls.sent(7, asked);
        let of_it = Progress { request_id: "a".to_owned(), done: 5, ..Progress::default() };
        assert!(calls.progress(&of_it).is_none(), "whoever follows it tells of it");
        assert!(calls.progress(&Progress { request_id: "b".to_owned(), ..of_it }).is_none());
        calls.note("a", "said");
        calls.note("b", "unheard");
        assert_eq!(*ear.0.lock().unwrap(), ["5", "said"]);
        end.send(()).unwrap();
        let asked = poll_fn(|context| calls.poll_asked_to_end(context)).await;
        assert_eq!(asked, ["a"]);
        assert!(
            poll_fn(|context| Poll::Ready(calls.poll_asked_to_end(context))).await.is_pending()
        );
        assert!(calls.answer(7, Ok(Json::default())));
        assert_eq!(answer.await.unwrap(), Ok(Json::default()));
    }
}
