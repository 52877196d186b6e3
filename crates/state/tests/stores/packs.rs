//! Places that are packed away in Redis: whatever is packed, nobody can tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ::redis::{AsyncCommands, aio::MultiplexedConnection};
use longshore_core::{
    codec,
    index::{Index, Presence},
    names::{OperationId, Parent},
    record::{Done, Outcome, Payload, Queued, Record, State},
    time::Time,
};
use longshore_state::{
    audit::{Difference, Repair, audit},
    redis::{RedisStore, Settings},
    store::{After, Change, Position, Store, Sweep, Verdict},
};
use longshore_testkit::RedisServer;
use tokio::task::AbortHandle;

use crate::record;

const PACK: &str =
    concat!(include_str!("../../lua/packs.lua"), "\n", include_str!("../../lua/pack.lua"));

/// Packs with other sizes than those that ship, so that few records do.
struct Packer {
    connection: MultiplexedConnection,
    script: String,
    stay: usize,
}

impl Packer {
    async fn new(server: &RedisServer, stay: usize, room: usize) -> Self {
        let client = ::redis::Client::open(server.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let script = PACK
            .replace("local SLACK = 128", "local SLACK = 0")
            .replace("local ROOM = 64", &format!("local ROOM = {room}"));
        assert_eq!(script.len(), PACK.len() - 5 + 1 + room.to_string().len());
        Self { connection, script, stay }
    }

    /// Packs all sets, and says how many places were moved.
    async fn pack(&mut self) -> usize {
        let keys: Vec<String> = self.connection.keys("ls:*").await.unwrap();
        let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in keys {
            let is_timers = key.starts_with("ls:timer:");
            let is_list = key.starts_with("ls:{") && key.matches(':').count() > 2;
            if is_timers || is_list {
                let tag = key[key.find('{').unwrap()..=key.find('}').unwrap()].to_owned();
                let sets = sets.entry(tag).or_default();
                sets.insert(if is_timers { 0 } else { sets.len() }, key);
            }
        }
        let mut moved = 0;
        for (tag, mut keys) in sets {
            let timers = format!("ls:timer:{tag}");
            if keys[0] != timers {
                keys.insert(0, timers);
            }
            let mut call = ::redis::cmd("EVAL");
            call.arg(&self.script).arg(keys.len()).arg(keys).arg(self.stay);
            moved += call.query_async::<usize>(&mut self.connection).await.unwrap();
        }
        moved
    }
}

/// Stops what runs when it goes.
struct Running(AbortHandle, #[expect(dead_code, reason = "it is kept")] RedisServer);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A store whose places are packed all the time, all of them.
async fn restless() -> (RedisStore, Running) {
    let server = RedisServer::start().await;
    let store =
        RedisStore::connect(&Settings { url: server.url(), ..Settings::default() }).await.unwrap();
    let mut packer = Packer::new(&server, 0, 1 + fastrand::usize(..5)).await;
    let packing = tokio::spawn(async move {
        loop {
            packer.pack().await;
        }
    });
    (store, Running(packing.abort_handle(), server))
}

mod packed_all_the_time {
    use crate::{conforms, for_each_conformance_case};
    for_each_conformance_case!(conforms, restless);
}

/// Some record: many have the same times.
fn some() -> Record {
    let mut record = record(OperationId::random());
    record.parent = Parent::parse(["", "a"][fastrand::usize(..2)]).unwrap();
    record.create_time = Time::from_micros(1_700_000_000_000_000 + fastrand::i64(0..60));
    record.job.works_on = vec!["thing".to_owned()];
    record.state = waiting();
    record
}

fn waiting() -> State {
    let ready_time = Time::from_micros(9_000_000_000_000_000 + 7 * fastrand::i64(0..40));
    State::Queued(Queued { ready_time, hint: None, deadline: None })
}

fn ended() -> State {
    let end_time = Time::from_micros(1_700_000_000_000_000);
    let expire_time = end_time + Duration::from_micros(fastrand::u64(0..50));
    let outcome = Outcome::Response(Payload::default());
    State::Done(Done { end_time, expire_time, by_attempt: None, outcome })
}

fn change(before: Option<&(u64, Record)>, after: Option<&Record>) -> Change {
    let of = |record: Option<&Record>| record.map_or(Presence::ABSENT, Presence::of);
    let (expected, old) = before.map(|(revision, record)| (*revision, record)).unzip();
    let any = after.or(old).unwrap();
    // What a version said that had another opinion on when timers are due.
    let was_due = old.map(|old| match fastrand::u8(..8) {
        0 => Time::from_micros(fastrand::i64(1..9_000_000_000_000_000)),
        _ => old.next_wake(),
    });
    Change {
        id: any.id.clone(),
        expected,
        was_due,
        after: after.map_or(After::Nothing, |record| After::Record {
            revision: expected.unwrap_or(0) + 1,
            bytes: codec::encode(record),
            next_wake: record.next_wake(),
        }),
        create_time: any.create_time,
        lists: of(old).changes(of(after), any),
    }
}

/// What has to be there.
#[derive(Default)]
struct Model(BTreeMap<OperationId, (u64, Record)>);

impl Model {
    async fn change(&mut self, store: &RedisStore, before: Option<OperationId>) {
        let before = before.and_then(|id| self.0.get(&id).cloned());
        let after = match (&before, fastrand::u8(..4)) {
            (None, _) => Some(some()),
            (Some(_), 0) => None,
            (Some((_, old)), 1 | 2) if !old.is_done() => {
                Some(Record { state: ended(), ..old.clone() })
            }
            (Some((_, old)), _) => Some(Record { state: waiting(), ..old.clone() }),
        };
        let change = change(before.as_ref(), after.as_ref());
        let id = change.id.clone();
        let verdict = store.commit(vec![change]).await.remove(0).unwrap();
        assert_eq!(verdict, Verdict::Committed);
        match after {
            Some(record) => {
                let revision = before.map_or(1, |(revision, _)| revision + 1);
                self.0.insert(id, (revision, record));
            }
            None => {
                self.0.remove(&id);
            }
        }
    }

    async fn agrees(&self, store: &RedisStore) {
        let parent = || Parent::parse("a").unwrap();
        type IsIn = fn(&Record) -> bool;
        let indexes: [(Index, IsIn); 8] = [
            (Index::All, |_| true),
            (Index::AllActive, |record| !record.is_done()),
            (Index::AllEnded, |record| record.is_done()),
            (Index::In(parent()), |record| record.parent.as_str() == "a"),
            (Index::Active(parent()), |it| it.parent.as_str() == "a" && !it.is_done()),
            (Index::Ended(parent()), |it| it.parent.as_str() == "a" && it.is_done()),
            (Index::On("thing".into()), |_| true),
            (Index::On("nothing".into()), |_| false),
        ];
        for (index, is_in) in indexes {
            let records = self.0.values().map(|(_, record)| record).filter(|it| is_in(it));
            let mut expected: Vec<_> =
                records.map(|record| (record.create_time, record.id.clone())).collect();
            expected.sort_by(|one, other| other.cmp(one));
            let limit = 1 + fastrand::usize(..60);
            assert_eq!(pages(store, &index, limit).await, expected, "{index:?} by {limit}");
        }
        assert_eq!(store.size().await.unwrap(), self.0.len() as u64);
        let due = store.due(10_000).await.unwrap().ids;
        let past = self.0.iter().filter(|(_, (_, record))| record.is_done());
        assert!(due.iter().collect::<BTreeSet<_>>().into_iter().eq(past.map(|(id, _)| id)));
        let mut differences: Vec<Difference> = Vec::new();
        let summary = audit(store, Repair::No, |it, _| differences.push(it.clone())).await.unwrap();
        assert_eq!(differences, []);
        assert_eq!((summary.records, summary.places), (self.0.len() as u64, 4 * summary.records));
        let (mut swept, mut from) = (BTreeSet::new(), Some(Sweep::default()));
        while let Some(place) = from {
            let (ids, next) = store.sweep(&place, 50).await.unwrap();
            swept.extend(ids);
            from = next;
        }
        assert!(swept.iter().eq(self.0.keys()));
    }
}

async fn pages(store: &RedisStore, index: &Index, limit: usize) -> Vec<(Time, OperationId)> {
    let (mut found, mut after): (Vec<(Time, OperationId)>, Option<Position>) = (Vec::new(), None);
    loop {
        let page = store.list(index, after.as_ref(), limit).await.unwrap();
        let ended = page.len() < limit;
        for stored in page {
            let record = stored.unwrap().record;
            found.push((record.create_time, record.id));
        }
        if ended {
            return found;
        }
        after = found
            .last()
            .map(|(create_time, id)| Position { create_time: *create_time, id: id.clone() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_packed_places() {
    for (stay, room) in [(0, 1), (0, 4), (3, 16), (20, 8)] {
        let server = RedisServer::start().await;
        let settings = Settings { url: server.url(), partitions: Some(2), ..Settings::default() };
        let store = RedisStore::connect(&settings).await.unwrap();
        let mut packer = Packer::new(&server, stay, room).await;
        let (mut model, mut moved) = (Model::default(), 0);
        for round in 0..8 {
            for _ in 0..100 {
                let known = fastrand::choice(model.0.keys()).cloned();
                let before = known.filter(|_| fastrand::u8(..5) < if round < 5 { 2 } else { 4 });
                model.change(&store, before).await;
                if fastrand::u8(..10) == 0 {
                    moved += packer.pack().await;
                }
            }
            model.agrees(&store).await;
            packer.pack().await;
            model.agrees(&store).await;
        }
        assert!(moved > 100, "{moved}");
        for (revision, record) in std::mem::take(&mut model.0).into_values() {
            let removal = change(Some(&(revision, record)), None);
            let verdict = store.commit(vec![removal]).await.remove(0).unwrap();
            assert_eq!(verdict, Verdict::Committed);
        }
        assert_eq!(server.cli(&["KEYS", "*"]).await, "ls:meta");
    }
}

/// What commits do by themselves: what stands in packs is compact, and only there are many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_are_packed_by_and_by() {
    let server = RedisServer::start().await;
    // So that little of one partition stays, to which all of these belong.
    let settings = Settings { url: server.url(), partitions: Some(128), ..Settings::default() };
    let store = RedisStore::connect(&settings).await.unwrap();
    let ids = std::iter::repeat_with(OperationId::random).filter(|id| id.partition(128) == 0);
    let mut changes = Vec::new();
    for (number, id) in (0..4_000).zip(ids) {
        let mut record = record(id);
        record.create_time = Time::from_micros(1_700_000_000_000_000 + 10 * number);
        let ready_time = Time::from_micros(1_800_000_000_000_000 + 3 * number);
        record.state = State::Queued(Queued { ready_time, hint: None, deadline: None });
        changes.push(change(None, Some(&record)));
    }
    for changes in changes.chunks(100) {
        assert!(store.commit(changes.to_vec()).await.iter().all(Result::is_ok));
    }
    for set in ["ls:timer:{0}", "ls:{0}:all:active", "ls:{0}:active:tests/stores"] {
        let left: usize = server.cli(&["ZCARD", set]).await.parse().unwrap();
        assert!(left < 1_500, "{left} stand in {set}");
        let packs = server.cli(&["KEYS", &format!("ls:pack:*:{set}")]).await;
        assert!(packs.lines().count() > 30, "{packs}");
        for pack in packs.lines() {
            assert_eq!(server.cli(&["OBJECT", "ENCODING", pack]).await, "listpack");
        }
    }
    let stats = server.cli(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_zrangestore"), "Redis copies none by itself:\n{stats}");
    assert_eq!(store.size().await.unwrap(), 4_000);
}

/// What is wrong within packs is found and put right like anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_in_packs_is_mended() {
    let server = RedisServer::start().await;
    let settings = Settings { url: server.url(), ..Settings::default() };
    let store = RedisStore::connect(&settings).await.unwrap();
    let mut model = Model::default();
    for _ in 0..100 {
        model.change(&store, None).await;
    }
    Packer::new(&server, 0, 10).await.pack().await;
    model.agrees(&store).await;
    let packs = server.cli(&["KEYS", "ls:pack:*"]).await;
    let ids: Vec<&OperationId> = model.0.keys().collect();
    for (pack, id) in packs.lines().zip(ids) {
        let first = server.cli(&["ZRANGE", pack, "0", "0", "WITHSCORES"]).await;
        let (member, score) = first.split_once('\n').unwrap();
        server.cli(&["ZREM", pack, member]).await;
        // One that belongs elsewhere, if not even there.
        server.cli(&["ZADD", pack, score, id.as_str()]).await;
    }
    let mut found = 0;
    for _ in 0..3 {
        let summary = audit(&store, Repair::Yes, |_, _| ()).await.unwrap();
        found += summary.mended;
    }
    assert!(found > 10, "{found}");
    let mut differences: Vec<Difference> = Vec::new();
    audit(&store, Repair::No, |it, _| differences.push(it.clone())).await.unwrap();
    assert_eq!(differences, []);
}
