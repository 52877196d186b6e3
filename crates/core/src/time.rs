//! Times by the store's clock.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use prost_types::Timestamp;

/// A moment by the store's clock, in microseconds since 1970-01-01T00:00:00Z.
///
/// The store's clock is the only one that decides anything, so there is no `now` here.
/// Microseconds fit the 53 bits that a Redis score holds exactly until the year 2255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// The latest moment that google.protobuf.Timestamp allows: 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The moment so many microseconds after 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The span from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment that a well-formed timestamp names, cut to microseconds.
    ///
    /// Returns `None` if it is outside the years 1970 to 9999 or its nanoseconds are out of range.
    pub fn from_timestamp(timestamp: &Timestamp) -> Option<Self> {
        if !(0..1_000_000_000).contains(&timestamp.nanos) || timestamp.seconds < 0 {
            return None;
        }
        let micros = timestamp.seconds.checked_mul(1_000_000)? + i64::from(timestamp.nanos / 1000);
        (micros <= Self::MAX.0).then_some(Self(micros))
    }
}

impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        let nanos = i32::try_from(time.0.rem_euclid(1_000_000) * 1000).unwrap_or(0);
        Self { seconds: time.0.div_euclid(1_000_000), nanos }
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Stops at [`Time::MAX`].
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)).min(Self::MAX.0))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }
}

/// A span in microseconds, as records and messages hold it.
pub fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The span of so many microseconds; zero if negative.
pub fn span(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_go_there_and_back() {
        for micros in [0, 1, 999_999, 1_000_000, 1_659_866_400_123_456, Time::MAX.as_micros()] {
            let time = Time::from_micros(micros);
            assert_eq!(Time::from_timestamp(&time.into()), Some(time));
        }
        assert_eq!(
            Timestamp::from(Time::from_micros(-1)),
            Timestamp { seconds: -1, nanos: 999_999_000 }
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (seconds, nanos) in
            [(-1, 0), (0, -1), (0, 1_000_000_000), (253_402_300_800, 0), (i64::MAX, 0)]
        {
            assert_eq!(Time::from_timestamp(&Timestamp { seconds, nanos }), None);
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Time::MAX + Duration::MAX, Time::MAX);
        assert_eq!(Time::from_micros(5) + Duration::from_micros(7), Time::from_micros(12));
        assert_eq!(Time::from_micros(5) - Duration::MAX, Time::from_micros(5 - i64::MAX));
        assert_eq!(Time::from_micros(5).since(Time::from_micros(7)), Duration::ZERO);
        assert_eq!(Time::from_micros(7).since(Time::from_micros(5)), Duration::from_micros(2));
        assert_eq!(span(-1), Duration::ZERO);
        assert_eq!(micros(Duration::MAX), i64::MAX);
    }
}
