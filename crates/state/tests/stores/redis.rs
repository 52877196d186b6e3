use std::{collections::BTreeSet, time::Duration};

use longshore_core::{
    index::{Changes, Index},
    names::{OperationId, Parent},
    record::{Queued, Record, State},
    time::Time,
};
use longshore_state::{
    redis::{RedisStore, Settings},
    store::{After, Change, Error, Loaded, Store, Sweep, Verdict},
};
use longshore_testkit::{Proxy, RedisServer, eventually};

use crate::record;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

async fn single() -> (RedisStore, RedisServer) {
    let server = RedisServer::start().await;
    (connect(&server).await, server)
}

async fn connect(server: &RedisServer) -> RedisStore {
    RedisStore::connect(&settings(server)).await.unwrap()
}

fn settings(server: &RedisServer) -> Settings {
    Settings { url: server.url(), ..Settings::default() }
}

async fn refusal(settings: &Settings) -> Error {
    match RedisStore::connect(settings).await {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

/// As one has it who means to move to a cluster some day.
async fn with_partitions() -> (RedisStore, RedisServer) {
    let server = RedisServer::start().await;
    let settings = Settings { partitions: Some(16), ..settings(&server) };
    (RedisStore::connect(&settings).await.unwrap(), server)
}

mod single_server {
    use crate::{conforms, for_each_conformance_case};
    for_each_conformance_case!(conforms, single);
}

mod single_server_with_partitions {
    use crate::{conforms, for_each_conformance_case};
    for_each_conformance_case!(conforms, with_partitions);
}

/// A new operation, listed and with a timer.
fn creation(record: &Record) -> Change {
    Change {
        id: record.id.clone(),
        expected: None,
        was_due: None,
        after: After::Record {
            revision: 1,
            bytes: longshore_core::codec::encode(record),
            next_wake: record.next_wake(),
        },
        create_time: record.create_time,
        lists: Changes { add: vec![Index::Active(record.parent.clone())], remove: Vec::new() },
    }
}

pub(crate) async fn commit(store: &RedisStore, record: &Record) -> Result<Verdict, Error> {
    store.commit(vec![creation(record)]).await.remove(0)
}

pub(crate) async fn load(store: &RedisStore, id: &OperationId) -> Result<Loaded, Error> {
    store.load(std::slice::from_ref(id)).await.remove(0)
}

pub(crate) fn new() -> Record {
    record(OperationId::random())
}

#[tokio::test]
async fn a_lost_connection_is_found_again() {
    let mut server =
        RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let store = connect(&server).await;
    let before = new();
    assert_eq!(commit(&store, &before).await.unwrap(), Verdict::Committed);

    server.kill();
    let started = tokio::time::Instant::now();
    assert!(matches!(load(&store, &before.id).await, Err(Error::Unavailable { .. })));
    assert!(matches!(commit(&store, &new()).await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.check().await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.due(10).await, Err(Error::Unavailable { .. })));
    assert!(started.elapsed() < PATIENCE);

    server.restart().await;
    eventually(PATIENCE, || store.check()).await;
    assert_eq!(load(&store, &before.id).await.unwrap().stored.unwrap().record, before);
    // Redis has forgotten the script.
    assert_eq!(commit(&store, &new()).await.unwrap(), Verdict::Committed);
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let server = RedisServer::start().await;
    let timeout = Duration::from_millis(200);
    let settings = Settings { response_timeout: timeout, ..settings(&server) };
    let store = RedisStore::connect(&settings).await.unwrap();
    server.freeze();
    let calls = async { (store.check().await, load(&store, &new().id).await, store.due(1).await) };
    let (check, load, due) = tokio::time::timeout(PATIENCE, calls).await.unwrap();
    assert!(matches!(check, Err(Error::Unavailable { .. })));
    assert!(matches!(load, Err(Error::Unavailable { .. })));
    assert!(matches!(due, Err(Error::Unavailable { .. })));
    server.thaw();
    eventually(PATIENCE, || store.check()).await;
}

/// A connection that looks well and carries nothing is replaced, though nobody ends it.
#[tokio::test]
async fn a_connection_that_swallows_all_is_given_up() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port(), fastrand::u64(..)).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let timeout = Duration::from_millis(500);
    let settings = Settings { url, response_timeout: timeout, ..Settings::default() };
    let store = RedisStore::connect(&settings).await.unwrap();
    proxy.lose_server();
    assert!(matches!(load(&store, &new().id).await, Err(Error::Unavailable { .. })));
    eventually(PATIENCE, || store.check()).await;
    commit(&store, &new()).await.unwrap();
    assert!(proxy.accepted() > 1);
}

#[tokio::test]
async fn forgotten_scripts_are_brought_along() {
    let (store, server) = single().await;
    for _ in 0..3 {
        assert_eq!(server.cli(&["SCRIPT", "FLUSH"]).await, "OK");
        let changes = (0..100).map(|_| creation(&new())).collect();
        let verdicts = store.commit(changes).await;
        assert!(verdicts.into_iter().all(|verdict| verdict.unwrap() == Verdict::Committed));
    }
}

#[tokio::test]
async fn a_damaged_record_harms_no_other() {
    let (store, server) = single().await;
    let records: Vec<Record> = (0..40).map(|_| new()).collect();
    let changes = records.iter().map(creation).collect();
    assert!(store.commit(changes).await.iter().all(Result::is_ok));
    let key = |n: usize| format!("ls:{{0}}:{}", records[n].id);
    server.cli(&["DEL", &key(0)]).await;
    server.cli(&["ZADD", &key(0), "1", "of another type"]).await;
    server.cli(&["SET", &key(1), "short"]).await;
    server.cli(&["SET", &key(2), "12345678 but then no record"]).await;

    let ids: Vec<OperationId> = records.iter().map(|record| record.id.clone()).collect();
    for (n, loaded) in store.load(&ids).await.into_iter().enumerate() {
        match loaded {
            Err(Error::Damaged { id, .. }) => assert!(n < 3 && id == ids[n]),
            loaded => assert!(n >= 3 && loaded.unwrap().stored.is_some()),
        }
    }
    let listed = store.list(&Index::In(records[0].parent.clone()), None, 100).await.unwrap();
    let damaged =
        listed.iter().filter(|stored| matches!(stored, Err(Error::Damaged { .. }))).count();
    assert_eq!((listed.len(), damaged), (40, 3));

    let verdicts = store.commit(records.iter().map(creation).collect()).await;
    for (n, verdict) in verdicts.into_iter().enumerate() {
        match verdict {
            Err(Error::Damaged { .. }) => assert_eq!(n, 0),
            verdict => assert_eq!(verdict.unwrap(), Verdict::Conflict),
        }
    }
}

/// A planted key of another type stops what needs it, and nothing else.
#[tokio::test]
async fn a_key_of_another_type_stops_no_other_partition() {
    let (store, server) = with_partitions().await;
    for key in ["ls:timer:{3}", "ls:{3}:all:ended", "ls:{3}:active:tests/stores"] {
        server.cli(&["SET", key, "planted"]).await;
    }
    let (mut there, mut harmed) = (Vec::new(), 0);
    for _ in 0..100 {
        let mut record = new();
        record.state =
            State::Queued(Queued { ready_time: Time::from_micros(0), hint: None, deadline: None });
        match commit(&store, &record).await {
            Ok(_) => there.push(record.id),
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. }), "{error}");
                assert_eq!(record.id.partition(16), 3);
                harmed += 1;
            }
        }
    }
    assert!(harmed > 0 && !there.is_empty());
    let mut due = store.due(1000).await.unwrap().ids;
    let mut swept = store.sweep(&Sweep::default(), 1000).await.unwrap().0;
    for ids in [&mut due, &mut swept, &mut there] {
        ids.sort_unstable();
    }
    assert_eq!(due, there);
    assert_eq!(swept, there);
    let index = Index::In(new().parent);
    assert!(matches!(store.list(&index, None, 100).await, Err(Error::Misconfigured(_))));
    let mut lost = BTreeSet::new();
    let listed = store.list_reachable(&index, None, 1000, &mut lost).await.unwrap();
    assert_eq!((listed.len(), lost), (there.len(), BTreeSet::from([3])));
    connect(&server).await;
}

/// Changes that are made by one call stand each for itself.
#[tokio::test]
async fn one_that_can_not_be_committed_harms_none_beside_it() {
    let (store, server) = single().await;
    server.cli(&["SET", "ls:{0}:active:planted", "1"]).await;
    let records: Vec<Record> = (0..200)
        .map(|number| match number {
            77 => Record { parent: Parent::parse("planted").unwrap(), ..new() },
            _ => new(),
        })
        .collect();
    let mut changes: Vec<Change> = records.iter().map(creation).collect();
    changes[3].expected = Some(7);
    // Each call finds the script gone, and only the first brings it along.
    server.cli(&["SCRIPT", "FLUSH"]).await;
    for (number, verdict) in store.commit(changes).await.into_iter().enumerate() {
        let there = load(&store, &records[number].id).await.unwrap().stored.is_some();
        match number {
            3 => assert_eq!((verdict.unwrap(), there), (Verdict::Conflict, false)),
            77 => assert!(matches!(verdict, Err(Error::Damaged { .. })) && !there, "{verdict:?}"),
            _ => assert_eq!((verdict.unwrap(), there), (Verdict::Committed, true)),
        }
    }
}

/// Ids whose records are gone take no place on a page.
#[tokio::test]
async fn a_page_is_full_even_if_records_are_gone() {
    let (store, server) = single().await;
    let mut records: Vec<Record> = (0..200).map(|_| new()).collect();
    assert!(store.commit(records.iter().map(creation).collect()).await.iter().all(Result::is_ok));
    records.sort_by(|one, other| other.id.cmp(&one.id));
    for record in &records[..150] {
        server.cli(&["DEL", &format!("ls:{{0}}:{}", record.id)]).await;
    }
    let listed = store.list(&Index::In(records[0].parent.clone()), None, 40).await.unwrap();
    let listed: Vec<OperationId> =
        listed.into_iter().map(|stored| stored.unwrap().record.id).collect();
    assert!(listed.iter().eq(records[150..190].iter().map(|record| &record.id)));
}

#[tokio::test]
async fn a_full_server_says_so_and_can_be_read() {
    let (store, server) = single().await;
    let before = new();
    assert_eq!(commit(&store, &before).await.unwrap(), Verdict::Committed);
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = new();
    assert!(matches!(commit(&store, &refused).await, Err(Error::Full { .. })));
    assert!(load(&store, &refused.id).await.unwrap().stored.is_none());
    assert!(load(&store, &before.id).await.unwrap().stored.is_some());
    store.check().await.unwrap();
    // What is over can be removed.
    let removal = Change { expected: Some(1), after: After::Nothing, ..creation(&before) };
    let lists = Changes { add: Vec::new(), remove: removal.lists.add.clone() };
    let verdict = store.commit(vec![Change { lists, ..removal }]).await.remove(0);
    assert_eq!(verdict.unwrap(), Verdict::Committed);
}

#[tokio::test]
async fn a_server_that_cannot_persist_is_unavailable() {
    let server = RedisServer::start_with(&["--min-replicas-to-write", "1"]).await;
    let Err(error) = RedisStore::connect(&settings(&server)).await else {
        panic!("it was accepted")
    };
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    let store = connect(&server).await;
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    assert!(matches!(commit(&store, &new()).await, Err(Error::Unavailable { .. })));
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert!(matches!(commit(&store, &new()).await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn the_number_of_partitions_is_fixed() {
    let (store, server) = single().await;
    assert_eq!(store.partitions(), 1, "a server by itself shares its work with nobody");
    let (_store, server_with_more) = with_partitions().await;
    for (server, has) in [(&server, "1 partitions"), (&server_with_more, "16 partitions")] {
        let four = Settings { partitions: Some(4), ..settings(server) };
        let Error::Misconfigured(message) = refusal(&four).await else { panic!("it is not fixed") };
        assert!(message.contains(has) && message.contains("to 4"), "{message}");
        connect(server).await.check().await.unwrap();
    }
    // Who asks for nothing gets what is there.
    assert_eq!(connect(&server_with_more).await.partitions(), 16);
    for partitions in [0, 1025] {
        assert!(matches!(
            refusal(&Settings { partitions: Some(partitions), ..settings(&server) }).await,
            Error::Misconfigured(_)
        ));
    }
}

/// Lists of an earlier version would be taken for empty.
#[tokio::test]
async fn a_store_of_an_earlier_layout_is_refused() {
    let server = RedisServer::start().await;
    server.cli(&["HSET", "ls:meta", "partitions", "16"]).await;
    let error = refusal(&settings(&server)).await;
    let Error::Misconfigured(message) = error else { panic!("{error}") };
    assert!(message.contains("back it up"), "{message}");
    // Nor does an earlier version, which reads a number, take this one's for its own.
    server.cli(&["DEL", "ls:meta"]).await;
    connect(&server).await;
    let partitions = server.cli(&["HGET", "ls:meta", "partitions"]).await;
    assert!(partitions.starts_with("1 ") && partitions.parse::<i64>().is_err(), "{partitions}");
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let error = refusal(&settings(&server)).await;
    let Error::Misconfigured(message) = error else { panic!("{error}") };
    assert!(message.contains("maxmemory-policy") && message.contains("allkeys-lru"), "{message}");
}

#[tokio::test]
async fn a_password_is_used_and_never_told() {
    let server = RedisServer::start().await;
    server.cli(&["CONFIG", "SET", "requirepass", "right"]).await;
    let url = |user: &str| format!("redis://{user}127.0.0.1:{}", server.port());
    let settings = |user| Settings { url: url(user), ..Settings::default() };
    RedisStore::connect(&settings(":right@")).await.unwrap();
    assert!(!format!("{:?}", settings(":right@")).contains("right"));
    for user in [":wrong@", ""] {
        let error = refusal(&settings(user)).await;
        assert!(matches!(error, Error::Misconfigured(_)), "{error:?}");
        assert!(!format!("{error:?}").contains("wrong"));
    }
}

#[tokio::test]
async fn a_user_needs_few_permissions() {
    let server = RedisServer::start().await;
    let commands = [
        "+get",
        "+set",
        "+getrange",
        "+del",
        "+hget",
        "+hset",
        "+hsetnx",
        "+zadd",
        "+zrem",
        "+zcard",
    ];
    let more = [
        "+zrange",
        "+scan",
        "+exists",
        "+zremrangebyrank",
        "+zrangestore",
        "+incrby",
        "+time",
        "+eval",
        "+evalsha",
        "+client",
        "~ls:*",
    ];
    let user = ["ACL", "SETUSER", "joe", "on", ">secret"];
    server.cli(&[&user[..], &commands, &more].concat()).await;
    let url = format!("redis://joe:secret@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&Settings { url, ..Settings::default() }).await.unwrap();
    let record = new();
    assert_eq!(commit(&store, &record).await.unwrap(), Verdict::Committed);
    assert_eq!(load(&store, &record.id).await.unwrap().stored.unwrap().record, record);
    store.due(1).await.unwrap();
    store.sweep(&Sweep::default(), 1).await.unwrap();
    store.set_note("n", "kept").await.unwrap();
    assert_eq!(store.list(&Index::In(record.parent), None, 1).await.unwrap().len(), 1);
    store.check().await.unwrap();

    server.cli(&["ACL", "SETUSER", "joe", "-get"]).await;
    assert!(matches!(load(&store, &record.id).await, Err(Error::Misconfigured(_))));
}

#[tokio::test]
async fn an_unreachable_server_may_come_later() {
    let mut server = RedisServer::start().await;
    server.kill();
    assert!(matches!(refusal(&settings(&server)).await, Error::Unavailable { .. }));
    let mut wrong = settings(&server);
    wrong.url = "localhost".to_owned();
    assert!(matches!(refusal(&wrong).await, Error::Misconfigured(_)));
    server.restart().await;
    connect(&server).await;
}

/// No text of a client decides on a slot: all keys of an operation lie in its partition's.
#[tokio::test]
async fn clients_have_no_say_in_hash_tags() {
    let (store, server) = single().await;
    let mut change = creation(&new());
    change.lists.add.push(Index::On("{other} }{".into()));
    change.create_time = Time::from_micros(1);
    let partition = change.id.partition(store.partitions());
    assert_eq!(store.commit(vec![change]).await.remove(0).unwrap(), Verdict::Committed);
    let keys = server.cli(&["KEYS", "*"]).await;
    let slot = server.cli(&["KEYS", &format!("ls:*{{{partition}}}*")]).await;
    assert_eq!(keys.lines().count(), slot.lines().count() + 1, "{keys}");
    assert!(
        slot.lines().all(|key| key.find('{') == key.find(&format!("{{{partition}}}"))),
        "{slot}"
    );
}
