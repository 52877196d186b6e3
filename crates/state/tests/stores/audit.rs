//! Records against lists against timers, in every store alike.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use longshore_core::{
    codec,
    index::{Changes, Index, Presence},
    names::{OperationId, Parent},
    record::{Done, Outcome, Payload, Queued, Record, State},
    time::Time,
};
use longshore_state::{
    audit::{Auditable, Difference, Place, Repair, Summary, audit},
    embedded::EmbeddedStore,
    redis::{RedisStore, Settings},
    store::{After, Change, Store, Verdict},
};
use longshore_testkit::{RedisCluster, RedisServer};

use crate::record;

/// Runs a case on every kind of store, each empty.
macro_rules! on_every_store {
    ($($case:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&super::EmbeddedStore::in_memory().unwrap()).await;
            })*
        }
        mod file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let directory = tempfile::tempdir().unwrap();
                super::$case(&super::EmbeddedStore::open(directory.path()).unwrap()).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let server = super::RedisServer::start().await;
                super::$case(&super::connect(server.url()).await).await;
            })*
        }
        mod cluster {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn all() {
                let cluster = super::RedisCluster::without_replicas().await;
                $(
                    super::$case(&super::connect(cluster.url()).await).await;
                    for server in &cluster.servers {
                        server.cli(&["FLUSHALL"]).await;
                    }
                )*
            }
        }
    };
}

on_every_store! {
    a_sound_store_has_no_differences
    what_is_missing_and_what_is_stray_is_told_and_mended
    whatever_is_wrong_is_right_after_a_repair
    a_store_in_use_has_no_differences
}

async fn connect(url: String) -> RedisStore {
    RedisStore::connect(&Settings { url, ..Settings::default() }).await.unwrap()
}

fn some(number: i64) -> Record {
    let mut record = record(OperationId::random());
    record.parent = Parent::parse(["", "a", "b/c"][usize::try_from(number % 3).unwrap()]).unwrap();
    record.create_time = Time::from_micros(1_000_000 + number / 2);
    record.job.works_on = (0..number % 3).map(|n| format!("things/{n} {{x}}:y")).collect();
    record.deleted = number % 11 == 0;
    record.state = if number % 4 == 0 {
        let expire_time = Time::from_micros(8_000_000_000_000_000 + number);
        let outcome = Outcome::Response(Payload::default());
        State::Done(Done { end_time: expire_time, expire_time, by_attempt: None, outcome })
    } else {
        let ready_time = Time::from_micros(9_000_000_000_000_000 + number);
        State::Queued(Queued { ready_time, hint: None, deadline: None })
    };
    record
}

/// The change from one record to another that leaves all as it should be.
fn change(before: Option<&Record>, after: Option<&Record>, revision: u64) -> Change {
    let of = |record: Option<&Record>| record.map_or(Presence::ABSENT, Presence::of);
    let record = after.or(before).unwrap();
    Change {
        id: record.id.clone(),
        expected: before.map(|_| revision),
        was_due: before.map(Record::next_wake),
        after: after.map_or(After::Nothing, |record| After::Record {
            revision: revision + 1,
            bytes: codec::encode(record),
            next_wake: record.next_wake(),
        }),
        create_time: record.create_time,
        lists: of(before).changes(of(after), record),
    }
}

async fn commit(store: &dyn Auditable, change: Change) {
    assert_eq!(store.commit(vec![change]).await.remove(0).unwrap(), Verdict::Committed);
}

async fn look(store: &dyn Auditable, repair: Repair) -> (Summary, Vec<(Difference, bool)>) {
    let mut told = Vec::new();
    let summary =
        audit(store, repair, |difference, mended| told.push((difference.clone(), mended)))
            .await
            .unwrap();
    assert_eq!(summary.differences, told.len() as u64);
    assert_eq!(summary.mended, told.iter().filter(|(_, mended)| *mended).count() as u64);
    (summary, told)
}

async fn a_sound_store_has_no_differences(store: &dyn Auditable) {
    assert_eq!(look(store, Repair::No).await, (Summary::default(), Vec::new()));
    let records: Vec<Record> = (0..700).map(some).collect();
    for record in &records {
        commit(store, change(None, Some(record), 0)).await;
    }
    for record in &records[..100] {
        commit(store, change(Some(record), None, 1)).await;
    }
    store.set_note("x", "y").await.unwrap();
    let (summary, told) = look(store, Repair::Yes).await;
    assert_eq!(told, []);
    assert_eq!(summary.records, 600);
    let places: usize = records[100..].iter().map(|record| Place::all_of(record).len()).sum();
    assert_eq!(summary.places, places as u64);
    assert_eq!(summary.restless, 0);
}

async fn what_is_missing_and_what_is_stray_is_told_and_mended(store: &dyn Auditable) {
    let (one, gone) = (some(1), some(2));
    let (id, create_time) = (one.id.clone(), one.create_time);
    let other = Index::Active(Parent::parse("elsewhere").unwrap());
    let mut wrong = change(None, Some(&one), 0);
    wrong.lists.add.retain(|index| *index != Index::AllActive);
    wrong.lists.add.push(other.clone());
    let late = Time::from_micros(9_900_000_000_000_000);
    if let After::Record { next_wake, .. } = &mut wrong.after {
        *next_wake = late;
    }
    commit(store, wrong).await;
    commit(store, change(None, Some(&gone), 0)).await;
    let left = Index::Active(gone.parent.clone());
    let mut wrong = change(Some(&gone), None, 1);
    wrong.lists.remove.retain(|index| *index != left);
    commit(store, wrong).await;

    let list = |index, create_time| Place::List { index, create_time };
    let missing = |place| Difference::Missing { id: id.clone(), place };
    let stray = |id: &OperationId, place| Difference::Stray { id: id.clone(), place };
    let expected = [
        missing(list(Index::AllActive, create_time)),
        missing(Place::Timer(one.next_wake())),
        stray(&id, list(other, create_time)),
        stray(&id, Place::Timer(late)),
        stray(&gone.id, list(left, gone.create_time)),
    ];
    // The same difference may come up at the record and at the place.
    let unique = |told: Vec<(Difference, bool)>, is_mended: bool| {
        assert!(
            told.iter()
                .all(|(difference, mended)| { *mended == is_mended && difference.can_be_mended() })
        );
        let unique: HashSet<String> = told.iter().map(|(it, _)| format!("{it:?}")).collect();
        unique
    };
    let expected: HashSet<String> = expected.iter().map(|it| format!("{it:?}")).collect();
    assert_eq!(unique(look(store, Repair::No).await.1, false), expected);
    assert_eq!(unique(look(store, Repair::Yes).await.1, true), expected);
    assert_eq!(look(store, Repair::No).await.1, []);

    // The record is as it was, and the next change finds all its places.
    let stored = store.read(&id).await.unwrap().unwrap();
    assert_eq!((stored.revision, &stored.record), (1, &one));
    commit(store, change(Some(&one), None, 1)).await;
    assert_eq!(look(store, Repair::No).await, (Summary::default(), Vec::new()));
}

async fn whatever_is_wrong_is_right_after_a_repair(store: &dyn Auditable) {
    let records: Vec<Record> = (0..300).map(some).collect();
    let all: Vec<Index> = ["", "a", "b/c", "d"]
        .iter()
        .map(|parent| Parent::parse(parent).unwrap())
        .flat_map(|parent| [Index::Active(parent.clone()), Index::Ended(parent)])
        .chain([Index::AllActive, Index::AllEnded, Index::On("things/0 {x}:y".into())])
        .collect();
    let any = |count| -> Vec<Index> {
        (0..fastrand::usize(..count)).map(|_| fastrand::choice(&all).unwrap().clone()).collect()
    };
    for record in &records {
        let mut wrong = change(None, Some(record), 0);
        if fastrand::bool() {
            wrong.lists = Changes { add: any(5), remove: Vec::new() };
            wrong.create_time = Time::from_micros(fastrand::i64(1..2_000_000));
        }
        if let After::Record { next_wake, .. } = &mut wrong.after
            && fastrand::bool()
        {
            *next_wake = Time::from_micros(fastrand::i64(1..9_000_000_000_000_000));
        }
        commit(store, wrong).await;
        if fastrand::u8(..) < 50 {
            let mut wrong = change(Some(record), None, 1);
            wrong.lists.remove = any(3);
            commit(store, wrong).await;
        }
    }
    let (first, told) = look(store, Repair::Yes).await;
    assert!(first.differences > 0 && told.iter().all(|(_, mended)| *mended), "{first:?}");
    let (second, told) = look(store, Repair::No).await;
    assert_eq!(told, []);
    assert_eq!(first.records, second.records);
}

/// Half of the records change all the time.
async fn a_store_in_use_has_no_differences(store: &dyn Auditable) {
    let records: Vec<Record> = (0..400).map(some).collect();
    for record in &records {
        commit(store, change(None, Some(record), 0)).await;
    }
    let over = AtomicBool::new(false);
    let using = async {
        let mut revision = 1;
        while !over.load(Ordering::SeqCst) {
            for record in &records[..200] {
                commit(store, change(Some(record), None, revision)).await;
                commit(store, change(None, Some(record), revision)).await;
                // A store in memory never waits.
                tokio::task::yield_now().await;
            }
            revision += 1;
        }
    };
    let looking = async {
        for _ in 0..5 {
            let (summary, told) = look(store, Repair::Yes).await;
            assert_eq!(told, []);
            assert!(summary.records >= 200, "{summary:?}");
        }
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(using, looking);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_mend_is_told_and_left() {
    let server = RedisServer::start().await;
    let store = connect(server.url()).await;
    let sound = some(1);
    commit(&store, change(None, Some(&sound), 0)).await;
    let key = |id: &OperationId| format!("ls:{{{}}}:{id}", id.partition(store.partitions()));
    let (damaged, short, list) =
        (OperationId::random(), OperationId::random(), OperationId::random());
    server.cli(&["SET", &key(&damaged), "12345678\u{7f}"]).await;
    server.cli(&["SET", &key(&short), "1"]).await;
    server.cli(&["LPUSH", &key(&list), "1"]).await;
    server.cli(&["SET", "ls:{99}:x", "1"]).await;
    server.cli(&["SET", "ls:what", "1"]).await;
    server.cli(&["SET", "ls:{0}:active:a", "1"]).await;
    server.cli(&["ZADD", "ls:timer:{0}", "1", "no id!"]).await;
    server.cli(&["SET", "others", "1"]).await;
    let (summary, told) = look(&store, Repair::Yes).await;
    assert_eq!((summary.differences, summary.mended), (8, 0), "{told:?}");
    let damaged_ones = |told: &[(Difference, bool)]| -> HashSet<OperationId> {
        let id = |difference: &Difference| match difference {
            Difference::Damaged { id, .. } => Some(id.clone()),
            _ => None,
        };
        told.iter().filter_map(|(difference, _)| id(difference)).collect()
    };
    // The sound one can't stand where it has to.
    assert_eq!(damaged_ones(&told), HashSet::from([damaged, short, list, sound.id.clone()]));
    let again = look(&store, Repair::No).await;
    assert_eq!(again.0.differences, 8);
    assert_eq!(store.read(&sound.id).await.unwrap().unwrap().record, sound);
}
