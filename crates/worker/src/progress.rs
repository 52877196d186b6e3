//! How far a job has come.

use longshore_core::record::{self, Payload};
use prost::{Message, Name};

/// How far a job has come. Jobs set what they know; each report replaces the one before.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Progress {
    /// 0 to 100; what is beyond is cut.
    pub percent: Option<f64>,
    /// How many units are done.
    pub completed_units: i64,
    /// Of how many; 0 if not known.
    pub total_units: i64,
    /// What is counted: `bytes`, `files`, `rows`, …
    pub unit: String,
    /// In words.
    pub message: String,
    /// What the job reports in a type of its own.
    pub details: Option<Payload>,
}

impl Progress {
    /// So many units of so many. A total of 0 is not known; else the percentage follows from it.
    pub fn units(completed: i64, total: i64, unit: impl Into<String>) -> Self {
        // Counts beyond 2^53 lose digits that no percentage shows.
        let percent = (total > 0).then(|| completed as f64 * 100.0 / total as f64);
        Self {
            percent,
            completed_units: completed,
            total_units: total,
            unit: unit.into(),
            ..Self::default()
        }
    }

    /// So many percent.
    pub fn percent(percent: f64) -> Self {
        Self { percent: Some(percent), ..Self::default() }
    }

    /// Adds words.
    #[must_use]
    pub fn message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// Adds a message of a type of one's own.
    #[must_use]
    pub fn details<M: Message + Name>(self, details: &M) -> Self {
        let value = details.encode_to_vec().into();
        Self { details: Some(Payload { type_url: M::type_url(), value }), ..self }
    }

    /// As the record holds it.
    pub(crate) fn into_record(self, sequence: u64) -> record::Progress {
        let percent = self.percent.filter(|percent| !percent.is_nan());
        record::Progress {
            sequence,
            percent: percent.map(|percent| percent.clamp(0.0, 100.0)),
            completed_units: self.completed_units,
            total_units: self.total_units,
            unit: self.unit,
            message: self.message,
            details: self.details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_always_one() {
        let of = |percent| {
            Progress { percent: Some(percent), ..Progress::default() }.into_record(1).percent
        };
        assert_eq!(of(f64::NAN), None);
        assert_eq!(of(f64::INFINITY), Some(100.0));
        assert_eq!(of(-1.0), Some(0.0));
        assert_eq!(Progress::units(1, 4, "files").percent, Some(25.0));
        assert_eq!(Progress::units(1, 0, "files").percent, None);
    }
}
