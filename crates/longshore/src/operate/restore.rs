//! `longshore admin restore`.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Seek},
};

use anyhow::{Context, Result, bail};
use longshore_core::{
    codec, index::Presence, lifecycle, names::OperationId, record::Record, time::Time,
};
use longshore_state::store::{self, After, Change, Store, Stored, Verdict};

use super::{
    archive::{Error, Reader},
    stores::{self, Absent},
};
use crate::{
    cli::Restore,
    client::{complain, say},
    exit::{BadInput, Exit},
};

/// How many records are written at a time.
const PAGE: usize = 256;
/// How often a record is written that others change meanwhile.
const TRIES: usize = 16;
/// How many of the records that are in the way are named.
const NAMED: usize = 5;

/// Takes records from a backup. Nothing is written before all of it was read and found whole.
pub(super) async fn restore(args: &Restore) -> Result<Exit> {
    let mut file = open(args)?;
    let store = stores::open(&args.records, Absent::Create).await?;
    let look = look(&*store, &mut file, &args.file.display().to_string()).await?;
    if look.there > 0 && !args.overwrite {
        let named: Vec<&str> = look.first.iter().map(OperationId::as_str).collect();
        complain(&format!(
            "{} of {} records are there already, such as {}; --overwrite replaces them",
            look.there,
            look.records,
            named.join(", ")
        ))?;
        return Ok(Exit::Conflict);
    }
    if args.dry_run {
        say(&format!("{} records could be restored, {} replaced", look.records, look.there))?;
        return Ok(Exit::Fine);
    }
    write(&*store, &mut file).await?;
    say(&format!("{} records are restored, {} replaced", look.records, look.there))?;
    Ok(Exit::Fine)
}

/// The backup as a file, as it is read twice.
fn open(args: &Restore) -> Result<File> {
    let shown = args.file.display().to_string();
    if args.file.as_os_str() != "-" {
        return File::open(&args.file).with_context(|| format!("can't read {shown}"));
    }
    let mut file = tempfile::tempfile().context("can't keep the backup")?;
    io::copy(&mut io::stdin().lock(), &mut file).context("can't keep the backup")?;
    Ok(file)
}

/// What a backup holds, and what of it is there already.
#[derive(Default)]
struct Look {
    records: u64,
    there: u64,
    first: Vec<OperationId>,
}

async fn look(store: &(impl Store + ?Sized), file: &mut File, shown: &str) -> Result<Look> {
    let mut look = Look::default();
    let mut pages = Pages::of(file)?;
    loop {
        let page = pages.next();
        // With what is no backup nothing is wrong but the input.
        let page = page.map_err(BadInput::from).with_context(|| shown.to_owned())?;
        let ids: Vec<OperationId> = page.into_keys().collect();
        if ids.is_empty() {
            return Ok(look);
        }
        look.records += ids.len() as u64;
        for (id, loaded) in ids.iter().zip(store.load(&ids).await) {
            let is_there = match loaded {
                Ok(loaded) => loaded.stored.is_some(),
                Err(store::Error::Damaged { .. }) => bail!(
                    "the record of {id} is there, but damaged: remove its key, then audit and try again"
                ),
                Err(error) => return Err(stores::failed(error, "nothing is restored".to_owned())),
            };
            if is_there {
                look.there += 1;
                if look.first.len() < NAMED {
                    look.first.push(id.clone());
                }
            }
        }
    }
}

async fn write(store: &(impl Store + ?Sized), file: &mut File) -> Result<()> {
    let failed = |error| {
        stores::failed(error, "not all is restored; it can be repeated with --overwrite".to_owned())
    };
    let mut pages = Pages::of(file)?;
    loop {
        let mut open = pages.next()?;
        if open.is_empty() {
            return Ok(());
        }
        let mut tries = 0;
        while !open.is_empty() {
            if tries == TRIES {
                bail!("not all is restored: others change the same operations all the time");
            }
            tries += 1;
            open = put(store, open).await.map_err(failed)?;
        }
    }
}

type Page = HashMap<OperationId, Stored>;

/// Puts records where there are none, and takes away what is in the way of others, which come back.
async fn put(store: &(impl Store + ?Sized), page: Page) -> Result<Page, store::Error> {
    let ids: Vec<OperationId> = page.keys().cloned().collect();
    let mut changes = Vec::with_capacity(ids.len());
    let mut places = Vec::with_capacity(ids.len());
    for (id, loaded) in ids.iter().zip(store.load(&ids).await) {
        let loaded = loaded?;
        let (change, is_last) = match loaded.stored {
            Some(old) => (removal(&old), false),
            None => (creation(&page[id], loaded.now), true),
        };
        changes.push(change);
        places.push((id, is_last));
    }
    let mut left = page.clone();
    for ((id, is_last), verdict) in places.into_iter().zip(store.commit(changes).await) {
        if verdict? == Verdict::Committed && is_last {
            left.remove(id);
        }
    }
    Ok(left)
}

fn removal(old: &Stored) -> Change {
    Change {
        id: old.record.id.clone(),
        expected: Some(old.revision),
        was_due: Some(old.record.next_wake()),
        after: After::Nothing,
        create_time: old.record.create_time,
        lists: Presence::of(&old.record).changes(Presence::ABSENT, &old.record),
    }
}

/// The revision goes on above all that were ever there: those begin with the time at which the
/// record was made, too.
fn creation(stored: &Stored, now: Time) -> Change {
    let record: Record = lifecycle::restored(stored.record.clone());
    let revision = u64::try_from(now.as_micros()).unwrap_or(0).max(stored.revision + 1);
    let after =
        After::Record { revision, bytes: codec::encode(&record), next_wake: record.next_wake() };
    Change {
        id: record.id.clone(),
        expected: None,
        was_due: None,
        after,
        create_time: record.create_time,
        lists: Presence::ABSENT.changes(Presence::of(&record), &record),
    }
}

/// A backup, page by page. Of an operation that is in it twice, the later record counts.
struct Pages<'a>(Reader<BufReader<&'a mut File>>);

impl<'a> Pages<'a> {
    fn of(file: &'a mut File) -> Result<Self> {
        file.rewind().context("can't read the backup")?;
        Ok(Self(Reader::begin(BufReader::new(file)).map_err(BadInput::from)?))
    }

    fn next(&mut self) -> Result<Page, Error> {
        let mut page = Page::new();
        while page.len() < PAGE
            && let Some(stored) = self.0.next()?
        {
            page.insert(stored.record.id.clone(), stored);
        }
        Ok(page)
    }
}
