//! Timestamps in the form of RFC 3339 that proto3 JSON has: in UTC, with as many digits as need be,
//! by threes.

use prost_types::Timestamp;

/// 0001-01-01T00:00:00Z
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z
const LAST: i64 = 253_402_300_799;
const SECONDS_A_DAY: i64 = 86_400;
const LONGEST: usize = "9999-12-31T23:59:59.999999999Z".len();

/// A timestamp's text.
pub(super) struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    /// Whether it is a moment of the years 1 to 9999 in its regular form.
    pub(super) fn is_possible(time: &Timestamp) -> bool {
        (FIRST..=LAST).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos)
    }

    /// The text of a timestamp that has one: see [`Text::is_possible`].
    pub(super) fn new(time: &Timestamp) -> Self {
        let (year, month, day) = date(time.seconds.div_euclid(SECONDS_A_DAY));
        let second = time.seconds.rem_euclid(SECONDS_A_DAY);
        let mut text = Self { bytes: *b"0000-00-00T00:00:00.000000000Z", length: LONGEST };
        text.set(0..4, year);
        text.set(5..7, month);
        text.set(8..10, day);
        text.set(11..13, second / 3600);
        text.set(14..16, second / 60 % 60);
        text.set(17..19, second % 60);
        text.set(20..29, time.nanos.into());
        let end = match time.nanos {
            0 => 19,
            nanos if nanos % 1_000_000 == 0 => 23,
            nanos if nanos % 1000 == 0 => 26,
            _ => 29,
        };
        text.bytes[end] = b'Z';
        text.length = end + 1;
        text
    }

    pub(super) fn as_str(&self) -> &str {
        // It is all ASCII.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Writes a number, with zeros before it.
    fn set(&mut self, place: std::ops::Range<usize>, mut number: i64) {
        for digit in self.bytes[place].iter_mut().rev() {
            // A remainder of ten is one digit.
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// Year, month and day of so many days after 1970-01-01, counted in years that begin in March, so
/// that a leap day is the last of its year.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_BEFORE_1970: i64 = 719_468;
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let days = days + DAYS_BEFORE_1970;
    let day = days.rem_euclid(DAYS_IN_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // March to July and August to December are 31, 30, 31, 30, 31 days each.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year + 400 * days.div_euclid(DAYS_IN_400_YEARS);
    if month < 10 { (year, month + 3, day_of_month) } else { (year + 1, month - 9, day_of_month) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(seconds: i64, nanos: i32) {
        let time = Timestamp { seconds, nanos };
        assert!(Text::is_possible(&time));
        assert_eq!(Text::new(&time).as_str(), time.to_string());
    }

    #[test]
    fn all_days_are_right() {
        // All of 400 years, and the rest by steps that meet every day of a year.
        let days = FIRST / SECONDS_A_DAY..=LAST / SECONDS_A_DAY;
        for day in days.clone().take(146_097).chain(days.step_by(29)) {
            check(day * SECONDS_A_DAY, 0);
        }
        check(FIRST, 0);
        check(LAST, 999_999_999);
        for (seconds, nanos) in [(FIRST - 1, 0), (LAST + 1, 0), (0, -1), (0, 1_000_000_000)] {
            assert!(!Text::is_possible(&Timestamp { seconds, nanos }));
        }
    }

    proptest! {
        #[test]
        fn all_moments_are_right(
            seconds in FIRST..=LAST,
            nanos in 0..1000,
            scale in proptest::sample::select(vec![1, 1000, 1_000_000]),
        ) {
            check(seconds, nanos * scale);
        }
    }
}
