//! Many operations in few round trips.

use longshore_core::time::Time;
use redis::{Cmd, Pipeline, RedisResult, Value, cmd};

use super::{
    RedisStore,
    error::{answer, senseless},
    scripts::{Known, Script, is_unknown},
};

/// The most commands in one pipeline, so that no batch holds up all others.
pub(super) const MAX: usize = 256;

/// The places of items that go together.
pub(super) struct Batches {
    count: usize,
    batches: Vec<Vec<usize>>,
}

impl Batches {
    /// Puts items together that have the same lane, at most so many.
    pub(super) fn new(lanes: impl Iterator<Item = u16>, most: usize) -> Self {
        let mut count = 0;
        let mut open: Vec<Vec<usize>> = Vec::new();
        let mut full: Vec<Vec<usize>> = Vec::new();
        for (place, lane) in lanes.enumerate() {
            count += 1;
            let lane = usize::from(lane);
            if open.len() <= lane {
                open.resize_with(lane + 1, Vec::new);
            }
            open[lane].push(place);
            if open[lane].len() == most {
                full.push(std::mem::take(&mut open[lane]));
            }
        }
        full.extend(open.into_iter().filter(|batch| !batch.is_empty()));
        Self { count, batches: full }
    }

    /// The places, batch by batch.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[usize]> {
        self.batches.iter().map(Vec::as_slice)
    }

    /// Puts each batch's answers where its items were.
    pub(super) fn in_order<T>(&self, answers: Vec<Vec<T>>) -> Vec<T> {
        let mut ordered: Vec<Option<T>> = (0..self.count).map(|_| None).collect();
        for (places, answers) in self.batches.iter().zip(answers) {
            for (place, answer) in places.iter().zip(answers) {
                ordered[*place] = Some(answer);
            }
        }
        ordered.into_iter().flatten().collect()
    }
}

/// What one partition answered, and the store's time when it did.
pub(super) struct Answers {
    pub(super) partition: u16,
    pub(super) now: Time,
    /// Or why one of its keys can't be used, which says nothing about the other partitions.
    pub(super) values: RedisResult<Vec<Value>>,
}

impl RedisStore {
    /// The partitions, those together that share a pipeline.
    pub(super) fn lanes(&self, partitions: impl IntoIterator<Item = u16>) -> Vec<Vec<u16>> {
        let partitions: Vec<u16> = partitions.into_iter().collect();
        let lanes = partitions.iter().map(|partition| self.connection.lane(*partition));
        let batches = Batches::new(lanes, MAX);
        batches
            .iter()
            .map(|places| places.iter().map(|place| partitions[*place]).collect())
            .collect()
    }

    /// Sends the same commands for each of some partitions that share a pipeline.
    pub(super) async fn ask(
        &self,
        partitions: &[u16],
        commands: impl Fn(u16) -> Vec<Cmd> + Sync,
    ) -> RedisResult<Vec<Answers>> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(cmd("TIME"));
        let mut counts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let commands = commands(*partition);
            counts.push((*partition, commands.len()));
            for command in commands {
                pipeline.add_command(command);
            }
        }
        let mut values = self.connection.pipeline(&pipeline).await?.into_iter();
        let now = time(values.next())?;
        let answers = counts.into_iter().map(|(partition, count)| {
            let values: Vec<Value> = values.by_ref().take(count).collect();
            Answers { partition, now, values: values.into_iter().map(answer).collect() }
        });
        Ok(answers.collect())
    }

    /// Runs the same script for each of some partitions that share a pipeline.
    pub(super) async fn run(
        &self,
        partitions: &[u16],
        script: &Script,
        arguments: impl Fn(u16, &mut Cmd) + Sync,
    ) -> RedisResult<Vec<Answers>> {
        let call = |known, partition| {
            let mut call = script.call(known);
            arguments(partition, &mut call);
            vec![call]
        };
        let answers = self.ask(partitions, |partition| call(Known::Yes, partition)).await?;
        let is_missed = |answers: &Answers| answers.values.as_ref().is_err_and(is_unknown);
        let (missed, mut answers): (Vec<_>, Vec<_>) = answers.into_iter().partition(is_missed);
        if !missed.is_empty() {
            let missed: Vec<u16> = missed.iter().map(|answers| answers.partition).collect();
            answers.extend(self.ask(&missed, |partition| call(Known::No, partition)).await?);
        }
        Ok(answers)
    }
}

impl Answers {
    /// The answer to the only command.
    pub(super) fn only(self) -> RedisResult<Value> {
        self.values?.into_iter().next().ok_or_else(senseless)
    }
}

/// What `TIME` answered.
pub(super) fn time(value: Option<Value>) -> RedisResult<Time> {
    let value = answer(value.ok_or_else(senseless)?)?;
    let (seconds, micros): (i64, i64) = redis::from_redis_value(value)?;
    Ok(Time::from_micros(seconds * 1_000_000 + micros))
}

/// Members of a sorted set with their scores.
pub(super) fn scored(value: Value) -> RedisResult<Vec<(String, i64)>> {
    let members: Vec<(String, f64)> = redis::from_redis_value(value)?;
    // Scores are times in microseconds: whole numbers far below the largest.
    Ok(members.into_iter().map(|(member, score)| (member, score as i64)).collect())
}
