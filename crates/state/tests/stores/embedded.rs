use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
};

use futures::future::join_all;
use longshore_core::{
    codec,
    index::{Changes, Index},
    names::OperationId,
    time::Time,
};
use longshore_state::{
    embedded::EmbeddedStore,
    store::{After, Change, Error, Store, Verdict},
};
use tempfile::TempDir;

async fn memory() -> (EmbeddedStore, ()) {
    (EmbeddedStore::in_memory().unwrap(), ())
}

async fn file() -> (EmbeddedStore, TempDir) {
    let directory = TempDir::new().unwrap();
    (EmbeddedStore::open(directory.path()).unwrap(), directory)
}

mod in_memory_store {
    use crate::{conforms, for_each_conformance_case};
    for_each_conformance_case!(conforms, memory);
}

mod file_store {
    use crate::{conforms, for_each_conformance_case};
    for_each_conformance_case!(conforms, file);
}

/// A new operation.
fn creation() -> Change {
    let record = crate::record(OperationId::random());
    Change {
        id: record.id.clone(),
        expected: None,
        was_due: None,
        after: After::Record {
            revision: 1,
            bytes: codec::encode(&record),
            next_wake: record.next_wake(),
        },
        create_time: record.create_time,
        lists: Changes { add: vec![Index::Active(record.parent)], remove: Vec::new() },
    }
}

async fn commit(store: &EmbeddedStore, change: Change) {
    assert_eq!(store.commit(vec![change]).await.remove(0).unwrap(), Verdict::Committed);
}

async fn missing(store: &EmbeddedStore, ids: &[OperationId]) -> usize {
    let loaded = store.load(ids).await;
    loaded.into_iter().filter(|loaded| loaded.as_ref().unwrap().stored.is_none()).count()
}

const CHILD: &str = "LONGSHORE_TEST_STORE_OF_CHILD";

/// The test runs itself once more as a child that commits until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return commit_and_tell(directory.as_ref()).await;
    }
    let directory = TempDir::new().unwrap();
    let mut acknowledged: Vec<OperationId> = Vec::new();
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::what_was_acknowledged_survives_kill_9", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = 0;
        for line in lines {
            // Whatever came through the pipe before it broke counts.
            let Ok(line) = line else { break };
            let Some(id) = line.strip_prefix("committed ") else { continue };
            acknowledged.push(OperationId::parse(id).unwrap());
            told += 1;
            if told == 200 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        assert_eq!(missing(&store, &acknowledged).await, 0);
        let index = Index::In(crate::record(OperationId::random()).parent);
        assert!(store.list(&index, None, 100_000).await.unwrap().len() >= acknowledged.len());
    }
    assert!(acknowledged.len() >= 600, "{}", acknowledged.len());
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn commit_and_tell(directory: &std::path::Path) {
    let store = Arc::new(EmbeddedStore::open(directory).unwrap());
    let tell = async || {
        loop {
            let change = creation();
            let id = change.id.clone();
            commit(&store, change).await;
            println!("\ncommitted {id}");
        }
    };
    join_all((0..4).map(|_| tell())).await;
}

const LIMITED: &str = "LONGSHORE_TEST_STORE_OF_LIMITED_CHILD";

/// A disk that is full is no reason to stop: what is there can be read, and once there is room the
/// store goes on. The test runs itself as a child that may write files of some megabytes only.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_outlived() {
    if let Some(directory) = std::env::var_os(LIMITED) {
        return fill_up(directory.as_ref()).await;
    }
    let directory = TempDir::new().unwrap();
    let output = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -S -f 8192; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::a_full_disk_is_told_and_outlived"])
        .env(LIMITED, directory.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    let kept = EmbeddedStore::open(directory.path()).unwrap();
    kept.check().await.unwrap();
    commit(&kept, creation()).await;
}

async fn fill_up(directory: &std::path::Path) {
    let store = EmbeddedStore::open(directory).unwrap();
    let large = || {
        let mut change = creation();
        let mut record = crate::record(change.id.clone());
        record.job.fingerprint = vec![7; 100_000].into();
        let bytes = codec::encode(&record);
        change.after = After::Record { revision: 1, bytes, next_wake: Time::MAX };
        change
    };
    let mut ids = Vec::new();
    let error = loop {
        let change = large();
        let id = change.id.clone();
        match store.commit(vec![change]).await.remove(0) {
            Ok(_) => ids.push(id),
            Err(error) => break error,
        }
        assert!(ids.len() < 1000, "there is no limit");
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    for _ in 0..3 {
        let error = store.commit(vec![large()]).await.remove(0).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        assert_eq!(missing(&store, &ids).await, 0);
    }
    let soft = nix::sys::resource::Resource::RLIMIT_FSIZE;
    let (_, hard) = nix::sys::resource::getrlimit(soft).unwrap();
    nix::sys::resource::setrlimit(soft, hard, hard).unwrap();
    commit(&store, large()).await;
    drop(store);
    assert_eq!(missing(&EmbeddedStore::open(directory).unwrap(), &ids).await, 0);
}

#[tokio::test]
async fn a_clean_end_keeps_everything() {
    let directory = TempDir::new().unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let store = EmbeddedStore::open(&directory.path().join("made/for/it")).unwrap();
        assert_eq!(missing(&store, &ids).await, 0);
        let changes: Vec<Change> = (0..50).map(|_| creation()).collect();
        ids.extend(changes.iter().map(|change| change.id.clone()));
        join_all(changes.into_iter().map(|change| commit(&store, change))).await;
        store.set_note("n", "kept").await.unwrap();
        drop(store);
    }
    let store = EmbeddedStore::open(&directory.path().join("made/for/it")).unwrap();
    assert_eq!(missing(&store, &ids).await, 0);
    assert_eq!(store.note("n").await.unwrap().as_deref(), Some("kept"));
}

/// A caller that goes away does not take the others' commits with it.
#[tokio::test]
async fn a_dropped_commit_harms_no_other() {
    let (store, _directory) = file().await;
    let changes: Vec<Change> = (0..100).map(|_| creation()).collect();
    let ids: Vec<OperationId> = changes.iter().map(|change| change.id.clone()).collect();
    let commits = changes.into_iter().enumerate().map(async |(n, change)| {
        tokio::select! {
            biased;
            () = commit(&store, change) => (),
            () = tokio::task::yield_now(), if n % 2 == 0 => (),
        }
    });
    join_all(commits).await;
    let odd: Vec<OperationId> = ids.into_iter().skip(1).step_by(2).collect();
    assert_eq!(missing(&store, &odd).await, 0);
}

#[tokio::test]
async fn a_directory_has_one_user() {
    let (_store, directory) = file().await;
    let Err(Error::Misconfigured(message)) = EmbeddedStore::open(directory.path()) else {
        panic!("it was opened twice")
    };
    assert!(message.contains("in use by another process"), "{message}");
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("longshore.redb"), "something else".repeat(1000)).unwrap();
    assert!(matches!(EmbeddedStore::open(directory.path()), Err(Error::Misconfigured(_))));
    let file = directory.path().join("longshore.redb");
    assert!(matches!(EmbeddedStore::open(&file), Err(Error::Misconfigured(_))));
}

#[tokio::test(start_paused = true)]
async fn memory_can_follow_a_simulated_clock() {
    let start = tokio::time::Instant::now();
    let store = EmbeddedStore::in_memory_with_clock(move || Time::from_micros(7) + start.elapsed())
        .unwrap();
    let now = async || store.load(&[OperationId::random()]).await.remove(0).unwrap().now;
    assert_eq!(now().await, Time::from_micros(7));
    tokio::time::advance(std::time::Duration::from_micros(5)).await;
    assert_eq!(now().await, Time::from_micros(12));
}
