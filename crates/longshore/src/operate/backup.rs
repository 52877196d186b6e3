//! `longshore admin backup`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use longshore_state::store::{Error, Store, Sweep};
use tempfile::NamedTempFile;

use super::{
    archive::Writer,
    stores::{self, Absent},
};
use crate::{cli::Backup, client::complain, exit::Exit};

/// How many records are read at a time.
const PAGE: usize = 256;

/// Writes all records into a file, which is there only once it is whole.
pub(super) async fn backup(args: &Backup) -> Result<Exit> {
    if args.file.as_os_str() == "-" {
        let store = stores::open(&args.records, Absent::Refuse).await?;
        let (_, written) = write(&*store, BufWriter::new(io::stdout())).await?;
        return end(&written, "standard output");
    }
    let shown = args.file.display().to_string();
    ensure!(!args.file.exists(), "{shown} is there already");
    let store = stores::open(&args.records, Absent::Refuse).await?;
    let directory = match args.file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let failed = || format!("can't write {shown}");
    let file = NamedTempFile::new_in(directory).with_context(failed)?;
    let (out, written) = write(&*store, BufWriter::new(file)).await.with_context(failed)?;
    let file = out.into_inner().with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    file.persist_noclobber(&args.file).with_context(failed)?;
    // The file's entry in its directory has to last as well.
    File::open(directory).and_then(|it| it.sync_all()).with_context(failed)?;
    end(&written, &shown)
}

/// What became of the records.
#[derive(Default)]
struct Written {
    records: u64,
    /// Those that are none.
    damaged: u64,
}

fn end(written: &Written, file: &str) -> Result<Exit> {
    complain(&format!("{} records are in {file}", written.records))?;
    if written.damaged == 0 {
        return Ok(Exit::Fine);
    }
    complain(&format!("{} are damaged and not in it", written.damaged))?;
    Ok(Exit::Failed)
}

/// Each record is as of one moment. Operations are independent of each other, so no more is needed.
async fn write<W: Write>(store: &(impl Store + ?Sized), out: W) -> Result<(W, Written)> {
    let failed = |error| stores::failed(error, "the backup is not complete".to_owned());
    let mut writer = Writer::begin(out)?;
    let mut damaged = 0;
    let mut from = Some(Sweep::default());
    while let Some(place) = from {
        let (ids, next) = store.sweep(&place, PAGE).await.map_err(failed)?;
        for loaded in store.load(&ids).await {
            match loaded {
                // It may have gone since.
                Ok(loaded) => {
                    if let Some(stored) = loaded.stored {
                        writer.add(&stored)?;
                    }
                }
                Err(Error::Damaged { id, source }) => {
                    damaged += 1;
                    complain(&format!("the record of {id} is damaged: {source}"))?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        from = next;
    }
    let (out, records) = writer.end()?;
    Ok((out, Written { records, damaged }))
}
