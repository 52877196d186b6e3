//! Writing a backup.

use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use longshore_core::codec;
use longshore_state::store::Stored;
use prost::Message;
use sha2::{Digest, Sha256};

use super::{End, Entry, Head, Line, VERSION};

/// A backup that is being written.
pub(in super::super) struct Writer<W> {
    out: W,
    checksum: Sha256,
    records: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the first line.
    pub(in super::super) fn begin(out: W) -> io::Result<Self> {
        let mut writer = Self { out, checksum: Sha256::new(), records: 0 };
        let created = Timestamp::now().to_string();
        writer.line(&Line::Head(Head { longshore_backup: VERSION, created }))?;
        Ok(writer)
    }

    /// Writes a record.
    pub(in super::super) fn add(&mut self, stored: &Stored) -> io::Result<()> {
        self.records += 1;
        // Written out, as any version can read it.
        let record = codec::to_message(&stored.record).encode_to_vec();
        let record = BASE64_STANDARD.encode(record);
        let id = stored.record.id.to_string();
        self.line(&Line::Record(Entry { id, revision: stored.revision, record }))
    }

    /// Writes the last line, and gives back where all of it went and the number of records.
    pub(in super::super) fn end(mut self) -> io::Result<(W, u64)> {
        let sha256 = hex::encode(self.checksum.clone().finalize());
        self.line(&Line::End(End { records: self.records, sha256 }))?;
        self.out.flush()?;
        Ok((self.out, self.records))
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.checksum.update(&text);
        self.out.write_all(&text)
    }
}
