//! Reading a backup.

use std::io::BufRead;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use longshore_core::{codec, names::OperationId};
use longshore_state::store::Stored;
use sha2::{Digest, Sha256};

use super::{Entry, Error, Head, Line, VERSION};

/// A backup that is being read.
pub(in super::super) struct Reader<R> {
    input: R,
    checksum: Sha256,
    line: u64,
    records: u64,
    over: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// If it is no backup, or one of a later format.
    pub(in super::super) fn begin(input: R) -> Result<Self, Error> {
        let mut reader = Self { input, checksum: Sha256::new(), line: 0, records: 0, over: false };
        match reader.read() {
            Ok(Some(Line::Head(Head { longshore_backup: VERSION, .. }))) => Ok(reader),
            Ok(Some(Line::Head(head))) => Err(Error::Version(head.longshore_backup)),
            Err(Error::Read(source)) => Err(Error::Read(source)),
            Ok(_) | Err(_) => Err(Error::Foreign),
        }
    }

    /// The next record; `None` once all were read, and are what was written.
    ///
    /// # Errors
    /// If something is missing or damaged.
    pub(in super::super) fn next(&mut self) -> Result<Option<Stored>, Error> {
        if self.over {
            return Ok(None);
        }
        let checksum = self.checksum.clone();
        match self.read()? {
            Some(Line::Record(entry)) => {
                self.records += 1;
                stored(entry).map(Some).map_err(|source| self.damaged(source))
            }
            Some(Line::End(end)) => {
                let sha256 = hex::encode(checksum.finalize());
                if end.records != self.records || end.sha256 != sha256 {
                    return Err(Error::Checksum);
                }
                match self.read()? {
                    None => {
                        self.over = true;
                        Ok(None)
                    }
                    Some(_) => Err(self.damaged("there is more behind the end")),
                }
            }
            Some(Line::Head(_)) => Err(self.damaged("another backup begins here")),
            None => Err(Error::CutOff(self.records)),
        }
    }

    fn read(&mut self) -> Result<Option<Line>, Error> {
        let mut text = Vec::new();
        self.input.read_until(b'\n', &mut text).map_err(Error::Read)?;
        if text.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        self.checksum.update(&text);
        serde_json::from_slice(&text).map(Some).map_err(|source| self.damaged(source))
    }

    fn damaged(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Damaged { line: self.line, source: source.into() }
    }
}

fn stored(entry: Entry) -> Result<Stored, Box<dyn std::error::Error + Send + Sync>> {
    let id = OperationId::parse(&entry.id)?;
    let bytes = Bytes::from(BASE64_STANDARD.decode(entry.record)?);
    Ok(Stored { revision: entry.revision, record: codec::decode(id, bytes)? })
}
