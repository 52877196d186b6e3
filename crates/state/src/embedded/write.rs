//! Writing: several writes in one transaction.

use bytes::Bytes;
use longshore_core::names::{JobType, OperationId};
use redb::{ReadableTable, Table};

use super::tables::{LISTS, META, PAUSED, RECORDS, Row, TIMERS, list_key, timer_key};
use crate::{
    audit::Place,
    store::{After, Change, Position, Stored, Verdict, decode},
};

/// What is to be written.
pub(super) enum Write {
    Changes(Vec<Change>),
    /// One that is there already stays as it is, unless it is written `again`.
    Note {
        key: String,
        value: String,
        again: bool,
    },
    Pause {
        job_type: JobType,
        paused: bool,
    },
    Mend {
        id: OperationId,
        revision: Option<u64>,
        strays: Vec<Place>,
    },
}

/// Applies writes one after the other, all or none of them, and gives the verdicts on the changes
/// of each.
pub(super) fn apply(
    database: &redb::Database,
    writes: &[&Write],
) -> Result<Vec<Vec<Verdict>>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut tables = Tables {
        records: transaction.open_table(RECORDS)?,
        lists: transaction.open_table(LISTS)?,
        timers: transaction.open_table(TIMERS)?,
        meta: transaction.open_table(META)?,
    };
    let mut verdicts = Vec::with_capacity(writes.len());
    for write in writes {
        verdicts.push(tables.write(write)?);
    }
    drop(tables);
    transaction.commit()?;
    Ok(verdicts)
}

struct Tables<'t> {
    records: Table<'t, &'static str, &'static [u8]>,
    lists: Table<'t, &'static [u8], ()>,
    timers: Table<'t, &'static [u8], ()>,
    meta: Table<'t, &'static str, &'static str>,
}

impl Tables<'_> {
    fn write(&mut self, write: &Write) -> Result<Vec<Verdict>, redb::Error> {
        match write {
            Write::Changes(changes) => changes.iter().map(|change| self.change(change)).collect(),
            Write::Note { key, value, again } => {
                let key = format!("note:{key}");
                if *again || self.meta.get(key.as_str())?.is_none() {
                    self.meta.insert(key.as_str(), value.as_str())?;
                }
                Ok(Vec::new())
            }
            Write::Pause { job_type, paused } => {
                let key = format!("{PAUSED}{job_type}");
                if *paused {
                    self.meta.insert(key.as_str(), "")?;
                } else {
                    self.meta.remove(key.as_str())?;
                }
                Ok(Vec::new())
            }
            Write::Mend { id, revision, strays } => Ok(vec![self.mend(id, *revision, strays)?]),
        }
    }

    /// Puts an operation where its record says, and nowhere else.
    fn mend(
        &mut self,
        id: &OperationId,
        revision: Option<u64>,
        strays: &[Place],
    ) -> Result<Verdict, redb::Error> {
        let value = self.records.get(id.as_str())?.map(|value| value.value().to_vec());
        let row = value.as_deref().and_then(Row::take);
        if row.as_ref().map(|row| row.revision) != revision {
            return Ok(Verdict::Conflict);
        }
        for place in strays {
            self.stand(id, place, false)?;
        }
        if let Some(row) = row {
            let Ok(Stored { record, .. }) =
                decode(id, row.revision, Bytes::copy_from_slice(row.record))
            else {
                return Ok(Verdict::Conflict);
            };
            for place in Place::all_of(&record) {
                self.stand(id, &place, true)?;
            }
            let row = Row { next_wake: record.next_wake(), ..row }.to_value();
            self.records.insert(id.as_str(), row.as_slice())?;
        }
        Ok(Verdict::Committed)
    }

    fn stand(
        &mut self,
        id: &OperationId,
        place: &Place,
        is_there: bool,
    ) -> Result<(), redb::Error> {
        let (table, key) = match place {
            Place::Timer(time) => (&mut self.timers, timer_key(*time, id)),
            Place::List { index, create_time } => {
                let position = Position { create_time: *create_time, id: id.clone() };
                (&mut self.lists, list_key(index, &position))
            }
        };
        if is_there {
            table.insert(key.as_slice(), ())?;
        } else {
            table.remove(key.as_slice())?;
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<Verdict, redb::Error> {
        let before = match self.records.get(change.id.as_str())? {
            Some(value) => match Row::take(value.value()) {
                Some(row) => Some((row.revision, timer_key(row.next_wake, &change.id))),
                // Damaged: nobody can have loaded it.
                None => return Ok(Verdict::Conflict),
            },
            None => None,
        };
        if before.as_ref().map(|(revision, _)| *revision) != change.expected {
            return Ok(Verdict::Conflict);
        }
        let place = Position { create_time: change.create_time, id: change.id.clone() };
        for index in &change.lists.add {
            self.lists.insert(list_key(index, &place).as_slice(), ())?;
        }
        for index in &change.lists.remove {
            self.lists.remove(list_key(index, &place).as_slice())?;
        }
        if let Some((_, timer)) = before {
            self.timers.remove(timer.as_slice())?;
        }
        let id = change.id.as_str();
        match &change.after {
            After::Record { revision, bytes, next_wake } => {
                let row = Row { revision: *revision, next_wake: *next_wake, record: bytes };
                self.records.insert(id, row.to_value().as_slice())?;
                self.timers.insert(timer_key(*next_wake, &change.id).as_slice(), ())?;
            }
            After::Nothing => {
                self.records.remove(id)?;
            }
        }
        Ok(Verdict::Committed)
    }
}
