//! The calls one plugin process works on, and those that wait for their turn.
//!
//! A caller who gives up drops its end of the reply; that is the only form in which deadlines,
//! closed connections and cancelled requests arrive here.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};

use protocol::{Fault, Json};
use tokio::sync::oneshot;

/// A call on its way to a plugin.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Names it in `cancel` and `progress`.
    pub(crate) request_id: String,
    /// The parameters of `call`.
    pub(crate) params: Json,
    /// Where the answer goes; closed when nobody waits for it any more.
    pub(crate) reply: oneshot::Sender<Result<Json, Fault>>,
}

#[derive(Debug)]
struct InFlight {
    request_id: String,
    reply: oneshot::Sender<Result<Json, Fault>>,
}

/// Calls in flight by the number of their request, and those that wait. The waiting ones are
/// bounded by the places callers have to take before they may ask (see `instance::Link`).
#[derive(Debug)]
pub(crate) struct Calls {
    most: usize,
    in_flight: BTreeMap<u64, InFlight>,
    waiting: VecDeque<Ask>,
}

impl Calls {
    /// At most `most` in flight.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, in_flight: BTreeMap::new(), waiting: VecDeque::new() }
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
        let Ask { request_id, reply, params: _ } = ask;
        self.in_flight.insert(number, InFlight { request_id, reply });
    }

    /// Hands the answer to whoever asked; false when the number is no call in flight.
    pub(crate) fn answer(&mut self, number: u64, answer: Result<Json, Fault>) -> bool {
        let Some(call) = self.in_flight.remove(&number) else { return false };
        // Its caller may have given up at this very moment; then nobody misses the answer.
        drop(call.reply.send(answer));
        true
    }

    /// Whether a call of this name is in flight.
    pub(crate) fn is_in_flight(&self, request_id: &str) -> bool {
        self.in_flight.values().any(|call| call.request_id == request_id)
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
        for call in std::mem::take(&mut self.in_flight).into_values() {
            drop(call.reply.send(Err(fault.clone())));
        }
    }

    /// Waits until the callers of calls in flight have given up, forgets these calls and names
    /// them. Waiting calls without a caller are forgotten on the way.
    pub(crate) fn poll_abandoned(&mut self, context: &mut Context<'_>) -> Poll<Vec<String>> {
        self.waiting.retain_mut(|ask| ask.reply.poll_closed(context).is_pending());
        let abandoned: Vec<String> = self
            .in_flight
            .extract_if(.., |_, call| call.reply.poll_closed(context).is_ready())
            .map(|(_, call)| call.request_id)
            .collect();
        if abandoned.is_empty() { Poll::Pending } else { Poll::Ready(abandoned) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn ask(name: &str) -> (Ask, oneshot::Receiver<Result<Json, Fault>>) {
        let (reply, answer) = oneshot::channel();
        (Ask { request_id: name.to_owned(), params: Json::default(), reply }, answer)
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
        assert!(calls.is_in_flight("a"));
        drop(answer);
        assert_eq!(poll_fn(|context| calls.poll_abandoned(context)).await, ["a"]);
        assert!(!calls.answer(7, Ok(Json::default())));
    }
}
