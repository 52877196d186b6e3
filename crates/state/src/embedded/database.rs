//! The database itself, which is closed and opened again after an error of the disk.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use redb::{Builder, DatabaseError, ReadableDatabase, TableError, backends::InMemoryBackend};

use super::{
    PARTITIONS,
    tables::{LISTS, META, RECORDS, TIMERS},
};
use crate::store::Error;

const FILE: &str = "longshore.redb";
/// 2: an operation stands among those that are done or among those that are not, and nowhere else.
const FORMAT: &str = "2";
/// How much of the file is kept in memory, in bytes.
const CACHE: usize = 256 << 20;

/// A database, open unless it could not be opened again.
pub(super) struct Database {
    open: RwLock<Option<redb::Database>>,
    /// None in memory.
    file: Option<PathBuf>,
}

impl Database {
    pub(super) fn in_memory() -> Result<Self, Error> {
        let database = Builder::new().create_with_backend(InMemoryBackend::new());
        let database = database.map_err(|error| unusable("memory", &error))?;
        prepare(&database).map_err(|error| unusable("memory", &error))?;
        Ok(Self { open: RwLock::new(Some(database)), file: None })
    }

    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let place = directory.display().to_string();
        fs::create_dir_all(directory).map_err(|error| unusable(&place, &error))?;
        let file = directory.join(FILE);
        let database = match builder().create(&file) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                let message = format!("the directory {place} is in use by another process");
                return Err(Error::Misconfigured(message));
            }
            Err(error) => return Err(unusable(&place, &error)),
        };
        // The file's entry in its directory has to last as well.
        fs::File::open(directory)
            .and_then(|it| it.sync_all())
            .map_err(|error| unusable(&place, &error))?;
        prepare(&database).map_err(|error| unusable(&place, &error))?;
        Ok(Self { open: RwLock::new(Some(database)), file: Some(file) })
    }

    /// Whether a directory has a database in it.
    pub(super) fn is_in(directory: &Path) -> bool {
        directory.join(FILE).is_file()
    }

    /// Does something with the open database.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(redb::Error::DatabaseClosed),
        }
    }

    /// Closes the file and opens it again: after a failed commit it takes no other before that.
    pub(super) fn reopen(&self) {
        let Some(file) = &self.file else { return };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // The old one has to go first: it holds the file's lock.
        drop(open.take());
        match builder().open(file) {
            Ok(database) => *open = Some(database),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "can't open the database again"
                );
            }
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_repair_callback(|session| {
        tracing::info!(progress = session.progress(), "checking the database after a crash");
    });
    builder
}

/// Makes the tables of a new database and looks whether those of an old one are ours.
fn prepare(database: &redb::Database) -> Result<(), redb::Error> {
    let expected = [("format", FORMAT.to_owned()), ("partitions", PARTITIONS.to_string())];
    match database.begin_read()?.open_table(META) {
        Ok(meta) => {
            for (key, expected) in expected {
                let found =
                    meta.get(key)?.map(|value| value.value().to_owned()).unwrap_or_default();
                if found != expected {
                    let message = format!("its {key} is `{found}` and should be `{expected}`");
                    return Err(redb::Error::Corrupted(message));
                }
            }
            Ok(())
        }
        Err(TableError::TableDoesNotExist(_)) => {
            let transaction = database.begin_write()?;
            transaction.open_table(RECORDS)?;
            transaction.open_table(LISTS)?;
            transaction.open_table(TIMERS)?;
            let mut meta = transaction.open_table(META)?;
            for (key, value) in &expected {
                meta.insert(*key, value.as_str())?;
            }
            drop(meta);
            Ok(transaction.commit()?)
        }
        Err(error) => Err(error.into()),
    }
}

fn unusable(place: &str, error: &dyn std::error::Error) -> Error {
    Error::Misconfigured(format!("the store in {place} can't be used: {error}"))
}
