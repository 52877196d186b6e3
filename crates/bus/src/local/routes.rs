//! Who is subscribed to what.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::LocalReply;
use crate::{Incoming, Message, Reply};

/// How many messages wait for a subscriber that is slow; more are dropped.
const CAPACITY: usize = 4096;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// Nobody is subscribed.
    NobodyThere,
    /// Somebody is, even if too slow for this message.
    Sent,
}

#[derive(Default)]
pub(super) struct Routes {
    last_id: u64,
    patterns: HashMap<u64, String>,
    /// Subscribers to a subject without wildcards: there can be very many.
    exact: HashMap<String, Vec<Subscriber>>,
    wild: Vec<Subscriber>,
}

struct Subscriber {
    id: u64,
    pattern: String,
    group: Option<String>,
    sender: mpsc::Sender<Incoming>,
}

impl Routes {
    pub(super) fn add(
        &mut self,
        pattern: &str,
        group: Option<&str>,
    ) -> (u64, mpsc::Receiver<Incoming>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        self.last_id += 1;
        let id = self.last_id;
        let pattern = pattern.to_owned();
        self.patterns.insert(id, pattern.clone());
        let place = if is_wild(&pattern) {
            &mut self.wild
        } else {
            self.exact.entry(pattern.clone()).or_default()
        };
        place.push(Subscriber { id, pattern, group: group.map(str::to_owned), sender });
        (id, receiver)
    }

    pub(super) fn remove(&mut self, id: u64) {
        let Some(pattern) = self.patterns.remove(&id) else { return };
        if is_wild(&pattern) {
            self.wild.retain(|subscriber| subscriber.id != id);
        } else if let Some(place) = self.exact.get_mut(&pattern) {
            place.retain(|subscriber| subscriber.id != id);
            if place.is_empty() {
                self.exact.remove(&pattern);
            }
        }
    }

    /// Hands the message to all subscribers, and to one of each group.
    pub(super) fn deliver(
        &self,
        message: &Message,
        answer: Option<&mpsc::Sender<Bytes>>,
    ) -> Delivered {
        let mut groups: BTreeMap<&str, Vec<&Subscriber>> = BTreeMap::new();
        let mut delivered = Delivered::NobodyThere;
        let exact = self.exact.get(&message.subject).into_iter().flatten();
        let wild =
            self.wild.iter().filter(|subscriber| matches(&subscriber.pattern, &message.subject));
        for subscriber in exact.chain(wild) {
            delivered = Delivered::Sent;
            match &subscriber.group {
                Some(group) => groups.entry(group).or_default().push(subscriber),
                None => subscriber.offer(message, answer),
            }
        }
        for members in groups.values() {
            members[fastrand::usize(..members.len())].offer(message, answer);
        }
        delivered
    }
}

impl Subscriber {
    fn offer(&self, message: &Message, answer: Option<&mpsc::Sender<Bytes>>) {
        let reply = answer.map(|sender| Box::new(LocalReply(sender.clone())) as Box<dyn Reply>);
        if let Err(mpsc::error::TrySendError::Full(_)) =
            self.sender.try_send(Incoming { message: message.clone(), reply })
        {
            tracing::warn!(
                subject = message.subject,
                "a subscriber is too slow; a message is dropped"
            );
        }
    }
}

fn is_wild(pattern: &str) -> bool {
    pattern.split('.').any(|token| token == "*" || token == ">")
}

/// Whether a subject matches a pattern: `*` is one token, `>` at the end one or more.
fn matches(pattern: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in pattern.split('.') {
        match (token, subject.next()) {
            (">", rest) => return rest.is_some(),
            ("*", Some(_)) => {}
            (exact, Some(found)) if exact == found => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_tokens() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }
}
