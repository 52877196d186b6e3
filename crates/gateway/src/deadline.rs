//! How much time a client gives a call: the `grpc-timeout` header.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// How much of its time a call leaves for the answer's way back, at most.
const WAY_BACK: Duration = Duration::from_millis(250);

/// For how long a call may wait so that its answer arrives before the client gives up: the time
/// that the client gives it less a twentieth, or less a quarter of a second for long ones. `None` if the
/// client sets no bound.
pub(crate) fn time_to_wait(metadata: &MetadataMap) -> Option<Duration> {
    let timeout = parse(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    Some(timeout - (timeout / 20).min(WAY_BACK))
}

/// One to eight digits and a unit, as gRPC's wire protocol has it. Anything else sets no bound.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_and_nothing_else() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parse("10m"), Some(Duration::from_millis(10)));
        assert_eq!(parse("10u"), Some(Duration::from_micros(10)));
        assert_eq!(parse("10n"), Some(Duration::from_nanos(10)));
        for bad in ["", "S", "1", "-1S", "+1S", "123456789S", "1x", "1é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn leaves_time_for_the_way_back() {
        let wait = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            time_to_wait(&metadata)
        };
        assert_eq!(wait("1S"), Some(Duration::from_millis(950)));
        assert_eq!(wait("1M"), Some(Duration::from_millis(59_750)));
        assert_eq!(time_to_wait(&MetadataMap::new()), None);
    }
}
