//! Finds the bytes that a test waits for, wherever the network happens to split them.

use tokio::sync::watch;

use super::{Direction, Then};

/// What a test watches for.
pub(super) struct Rule {
    direction: Direction,
    bytes: Vec<u8>,
    then: Then,
    count: watch::Sender<u64>,
}

/// Where something is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// How many of the new bytes come before the match; 0 if it began before them.
    pub(super) before: usize,
    /// What is to be done.
    pub(super) then: Then,
}

impl Rule {
    pub(super) fn new(
        direction: Direction,
        bytes: &[u8],
        then: Then,
    ) -> (Self, watch::Receiver<u64>) {
        assert!(!bytes.is_empty(), "nothing can't be waited for");
        let (count, seen) = watch::channel(0);
        (Self { direction, bytes: bytes.to_vec(), then, count }, seen)
    }

    /// Where the bytes begin in `all`, for those that end among the last `new`.
    fn places<'a>(&'a self, all: &'a [u8], new: usize) -> impl Iterator<Item = usize> + 'a {
        let from = (all.len() - new).saturating_sub(self.bytes.len() - 1);
        let windows = all[from..].windows(self.bytes.len());
        windows
            .enumerate()
            .filter(|(_, window)| *window == self.bytes)
            .map(move |(at, _)| from + at)
    }

    fn fire(&self, times: u64) {
        self.count.send_modify(|count| *count += times);
    }
}

/// What has passed lately in one direction of one connection.
#[derive(Default)]
pub(super) struct Passed {
    tail: Vec<u8>,
}

impl Passed {
    /// Counts what is only to be counted, and finds what is to be done first; its rule goes, and is
    /// fired once `prepare` is done.
    pub(super) fn look(
        &mut self,
        rules: &mut Vec<Rule>,
        direction: Direction,
        new: &[u8],
        prepare: impl FnOnce(Then),
    ) -> Option<Match> {
        self.tail.extend_from_slice(new);
        let all = &*self.tail;
        let old = all.len() - new.len();
        let here = || rules.iter().enumerate().filter(|(_, rule)| rule.direction == direction);
        let first = here()
            .filter(|(_, rule)| rule.then != Then::Tell)
            .filter_map(|(index, rule)| Some((rule.places(all, new.len()).next()?, index)))
            .min();
        // What comes behind the first is looked at once more.
        let end = first.map_or(usize::MAX, |(place, _)| place);
        for (_, rule) in here().filter(|(_, rule)| rule.then == Then::Tell) {
            match rule.places(all, new.len()).filter(|place| *place < end).count() as u64 {
                0 => {}
                times => rule.fire(times),
            }
        }
        let longest = rules.iter().map(|rule| rule.bytes.len()).max().unwrap_or(0);
        let found = first.map(|(place, index)| {
            let rule = rules.remove(index);
            prepare(rule.then);
            rule.fire(1);
            Match { before: place.saturating_sub(old), then: rule.then }
        });
        let keep = longest.max(LONGEST).min(self.tail.len());
        self.tail.drain(..self.tail.len() - keep);
        found
    }
}

/// How much is kept at least: a rule may come while its bytes are on their way.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(passed: &mut Passed, rules: &mut Vec<Rule>, new: &str) -> Option<Match> {
        passed.look(rules, Direction::ToServer, new.as_bytes(), |_| {})
    }

    #[test]
    fn finds_what_is_split() {
        let (rule, seen) = Rule::new(Direction::ToServer, b"PUB x", Then::Hold);
        let (mut rules, mut passed) = (vec![rule], Passed::default());
        for part in ["abPU", "B", " "] {
            assert_eq!(looked(&mut passed, &mut rules, part), None);
        }
        assert_eq!(*seen.borrow(), 0);
        let found = looked(&mut passed, &mut rules, "x rest").unwrap();
        assert_eq!(found, Match { before: 0, then: Then::Hold });
        assert_eq!((*seen.borrow(), rules.len()), (1, 0));
    }

    #[test]
    fn counts_each_once() {
        let (rule, seen) = Rule::new(Direction::ToServer, b"ab", Then::Tell);
        let (mut rules, mut passed) = (vec![rule], Passed::default());
        for part in ["ab", "aba", "b", "ab ab"] {
            assert_eq!(looked(&mut passed, &mut rules, part), None);
        }
        assert_eq!(*seen.borrow(), 5);
    }

    #[test]
    fn the_earliest_comes_first_and_directions_differ() {
        let (late, _) = Rule::new(Direction::ToServer, b"late", Then::CutBefore);
        let (early, _) = Rule::new(Direction::ToServer, b"early", Then::Hold);
        let (other, _) = Rule::new(Direction::ToClient, b"an", Then::CutAfter);
        let (mut rules, mut passed) = (vec![late, early, other], Passed::default());
        let found = looked(&mut passed, &mut rules, "an early and a late one").unwrap();
        assert_eq!(found, Match { before: 3, then: Then::Hold });
        assert_eq!(rules.len(), 2);
    }
}
