//! What a literal may mean: text with wildcards, and whatever else it can be read as.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::parse::Literal;

/// A literal in all its readings.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    /// The text between its wildcards.
    pieces: Vec<String>,
    pub(super) text: String,
    pub(super) bool: Option<bool>,
    pub(super) number: Option<f64>,
    /// Nanoseconds since 1970.
    pub(super) time: Option<i128>,
    /// Seconds.
    pub(super) duration: Option<f64>,
}

impl Value {
    pub(super) fn of(literal: Literal) -> Self {
        let text = literal.text();
        Self {
            bool: bool(&text),
            number: number(&text),
            time: time(&text),
            duration: duration(&text),
            pieces: literal.pieces,
            text,
        }
    }

    /// Whether the text is this one, with `*` standing for any characters.
    pub(super) fn equals(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return text.is_empty();
        };
        let Some((last, between)) = rest.split_last() else {
            return text == first;
        };
        let inner =
            text.strip_prefix(first.as_str()).and_then(|text| text.strip_suffix(last.as_str()));
        inner.is_some_and(|inner| holds_in_order(inner, between))
    }

    /// Whether this is a part of the text, in any case.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let pieces: Vec<String> = self.pieces.iter().map(|piece| piece.to_lowercase()).collect();
        holds_in_order(&text.to_lowercase(), &pieces)
    }

    /// Whether it has no wildcard.
    pub(super) fn is_exact(&self) -> bool {
        self.pieces.len() == 1
    }
}

/// Taking each piece where it first occurs leaves the most for the others.
fn holds_in_order(text: &str, pieces: &[String]) -> bool {
    let mut rest = text;
    for piece in pieces {
        match rest.split_once(piece.as_str()) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}

fn bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

pub(super) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// An RFC 3339 time, or a date, which is its first moment in UTC.
pub(super) fn time(text: &str) -> Option<i128> {
    if text.len() == "2006-01-02".len() {
        let date: Date = text.parse().ok()?;
        return Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond());
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_nanosecond)
}

pub(super) fn duration(text: &str) -> Option<f64> {
    text.strip_suffix('s').and_then(number)
}
