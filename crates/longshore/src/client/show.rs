//! How operations look.

use std::io::{self, Write};

use comfy_table::{Table, presets};
use jiff::Timestamp;
use longshore_core::json::operation_to_json;
use longshore_proto::{
    longrunning::Operation,
    v1::{OperationMetadata, operation_metadata::State},
};
use prost::{Message, Name};

use super::progress;
use crate::cli::Format;

/// Writes a line to standard output.
///
/// # Errors
/// If nobody reads it.
pub(crate) fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Writes a line to standard error.
///
/// # Errors
/// If nobody reads it.
pub(crate) fn complain(line: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "longshore: {line}")
}

/// Shows one operation on standard output.
///
/// # Errors
/// If nobody reads it.
pub(crate) fn show(format: Format, operation: &Operation) -> io::Result<()> {
    match format {
        Format::Json => say(&format!("{:#}", operation_to_json(operation))),
        Format::Table => say(&table(std::slice::from_ref(operation), &COLUMNS)),
        Format::Wide => say(&table(std::slice::from_ref(operation), &WIDE)),
        Format::Name => say(&operation.name),
    }
}

/// The metadata, if they are of our type: a server may show others.
pub(super) fn metadata(operation: &Operation) -> Option<OperationMetadata> {
    let any = operation.metadata.as_ref()?;
    (any.type_url == OperationMetadata::type_url())
        .then(|| OperationMetadata::decode(any.value.as_slice()).ok())?
}

/// A table's columns.
pub(super) const COLUMNS: [&str; 6] = ["NAME", "TYPE", "STATE", "PROGRESS", "ATTEMPT", "CREATED"];
/// Those of a wide one, which begin with the others.
pub(super) const WIDE: [&str; 8] =
    ["NAME", "TYPE", "STATE", "PROGRESS", "ATTEMPT", "CREATED", "WORKER", "TRACE"];

/// Operations as a table: one line each, under a line of headings.
pub(super) fn table(operations: &[Operation], columns: &'static [&'static str]) -> String {
    let rows = operations.iter().map(|operation| {
        let metadata = metadata(operation).unwrap_or_default();
        let cells = [
            operation.name.clone(),
            metadata.job_type.clone(),
            state(operation, &metadata).to_owned(),
            progress::amount(&metadata).unwrap_or_default(),
            metadata.attempt.to_string(),
            metadata.create_time.as_ref().map(time).unwrap_or_default(),
            metadata.worker,
            metadata.trace_id,
        ];
        cells.into_iter().take(columns.len())
    });
    plain_table(columns.iter().copied(), rows)
}

/// A table of anything, under a line of headings.
pub(crate) fn plain_table<R: IntoIterator<Item = String>>(
    headings: impl IntoIterator<Item = &'static str>,
    rows: impl IntoIterator<Item = R>,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(headings);
    for row in rows {
        table.add_row(row);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n")
}

fn state(operation: &Operation, metadata: &OperationMetadata) -> &'static str {
    match metadata.state() {
        State::Unspecified if operation.done => "DONE",
        State::Unspecified => "NOT DONE",
        state => state.as_str_name(),
    }
}

/// A time in microseconds since 1970, for people.
pub(crate) fn time_text(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| "no time".to_owned(), |it| it.to_string())
}

fn time(time: &prost_types::Timestamp) -> String {
    // Whole seconds; what comes from a server may be anything.
    Timestamp::from_second(time.seconds).map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use longshore_proto::v1::Progress;
    use prost_types::Any;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each() {
        let metadata = OperationMetadata {
            state: State::Running.into(),
            job_type: "hash".into(),
            attempt: 2,
            worker: "w1".into(),
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            create_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
            progress: Some(Progress { percent: Some(12.5), ..Progress::default() }),
            ..OperationMetadata::default()
        };
        let any = Any { type_url: OperationMetadata::type_url(), value: metadata.encode_to_vec() };
        let ours =
            Operation { name: "operations/a".into(), metadata: Some(any), ..Operation::default() };
        let others = Operation { name: "operations/b".into(), done: true, ..Operation::default() };
        let operations = [ours, others];
        let words = |columns| -> Vec<Vec<String>> {
            let table = table(&operations, columns);
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
            table.lines().map(words).collect()
        };
        let wide = words(&WIDE);
        assert_eq!(wide[0][6..], ["WORKER", "TRACE"]);
        assert_eq!(wide[1][6..], ["w1", "0af7651916cd43dd8448eb211c80319c"]);
        let words = words(&COLUMNS);
        assert_eq!(words[0], ["NAME", "TYPE", "STATE", "PROGRESS", "ATTEMPT", "CREATED"]);
        assert_eq!(
            words[1],
            ["operations/a", "hash", "RUNNING", "12%", "2", "2023-11-14T22:13:20Z"]
        );
        assert_eq!(words[2], ["operations/b", "DONE", "0"]);
    }
}
