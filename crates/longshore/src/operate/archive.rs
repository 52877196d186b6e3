//! How a backup looks: lines of JSON, which any tool can count and any compressor makes small.
//!
//! The first line says what it is, each further one has a record as the store encodes it, and the
//! last one has their number and a checksum of all lines before it. Without a last line it is cut
//! off.

mod reader;
mod writer;

use serde::{Deserialize, Serialize};

pub(super) use self::{reader::Reader, writer::Writer};

/// The format's version.
const VERSION: u32 = 1;

/// A line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Head(Head),
    Record(Entry),
    End(End),
}

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    longshore_backup: u32,
    /// When it began, by the clock of the machine that made it.
    created: String,
}

/// A record's line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    revision: u64,
    /// In base64.
    record: String,
}

/// The last line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    records: u64,
    /// In hexadecimal, of all lines before with their ends.
    sha256: String,
}

/// Why something is no backup.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It can't be read.
    #[error("can't read the backup")]
    Read(#[source] std::io::Error),
    /// It does not begin like one.
    #[error("it is no backup of Longshore")]
    Foreign,
    /// A later version made it.
    #[error("its format is {0}, and this version of longshore knows {VERSION}")]
    Version(u32),
    /// A line is not what it should be.
    #[error("line {line} is damaged")]
    Damaged {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The last line is missing.
    #[error("it is cut off after {0} records")]
    CutOff(u64),
    /// The checksum or the number of records is another one.
    #[error("it is damaged: its checksum is not that of its lines")]
    Checksum,
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use longshore_core::{codec, names::OperationId};
    use longshore_state::store::Stored;

    use super::*;

    fn some(number: u64) -> Stored {
        let message = longshore_proto::internal::Record {
            parent: format!("p/{number}"),
            job: Some(longshore_proto::internal::Job {
                job_type: "hash".to_owned(),
                retry: Some(Default::default()),
                ..Default::default()
            }),
            state: Some(longshore_proto::internal::record::State::Queued(Default::default())),
            ..Default::default()
        };
        let record = codec::from_message(OperationId::random(), message).unwrap();
        Stored { revision: number, record }
    }

    fn written(records: &[Stored]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new()).unwrap();
        for stored in records {
            writer.add(stored).unwrap();
        }
        writer.end().unwrap().0
    }

    fn read(bytes: &[u8]) -> Result<Vec<Stored>, Error> {
        let mut reader = Reader::begin(BufReader::new(bytes))?;
        let mut records = Vec::new();
        while let Some(stored) = reader.next()? {
            records.push(stored);
        }
        Ok(records)
    }

    #[test]
    fn what_is_written_can_be_read() {
        let records: Vec<Stored> = (0..20).map(some).collect();
        assert_eq!(read(&written(&records)).unwrap(), records);
        assert_eq!(read(&written(&[])).unwrap(), []);
    }

    #[test]
    fn a_backup_that_is_cut_off_is_known_at_every_byte() {
        let whole = written(&[some(1), some(2)]);
        for length in 0..whole.len() {
            let cut = read(&whole[..length]);
            // The last line end alone is no loss.
            assert!(cut.is_err() || length == whole.len() - 1, "at {length}: {cut:?}");
        }
    }

    #[test]
    fn every_changed_byte_is_known() {
        let whole = written(&[some(1)]);
        for place in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(read(&changed).is_err(), "at {place}");
        }
    }

    #[test]
    fn what_is_no_backup_is_named() {
        assert!(matches!(read(b""), Err(Error::Foreign)));
        assert!(matches!(read(b"{\"a\": 1}\n"), Err(Error::Foreign)));
        assert!(matches!(read(&[0xff, 0xfe, b'\n']), Err(Error::Foreign)));
        let later = b"{\"longshore_backup\":2,\"created\":\"x\"}\n";
        assert!(matches!(read(later), Err(Error::Version(2))));
        let mut more = written(&[some(1)]);
        more.extend(b"{}\n");
        assert!(matches!(read(&more), Err(Error::Damaged { line: 4, .. })));
    }
}
