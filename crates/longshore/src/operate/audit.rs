//! `longshore admin audit`.

use std::io::{self, Write};

use anyhow::Result;
use longshore_core::{index::Index, time::Time};
use longshore_state::audit::{self, Difference, Place, Repair, Summary};
use serde_json::{Value, json};

use super::stores::{self, Absent};
use crate::{
    cli::{Audit, ReportFormat},
    client::{say, time_text},
    exit::Exit,
};

/// Holds records, lists and timers against each other, and shows each difference as it comes up.
pub(super) async fn audit(args: &Audit) -> Result<Exit> {
    let store = stores::open(&args.records, Absent::Refuse).await?;
    let repair = if args.repair { Repair::Yes } else { Repair::No };
    let mut report = Report { format: args.format, lines: 0, trouble: Ok(()) };
    let summary = audit::audit(&*store, repair, |difference, mended| {
        report.add(difference, mended);
    })
    .await
    .map_err(|error| stores::failed(error, "the audit is not complete".to_owned()))?;
    report.end(&summary)?;
    Ok(if summary.mended == summary.differences { Exit::Fine } else { Exit::Failed })
}

/// The report, which is written while the audit goes on: nobody knows how long it gets.
struct Report {
    format: ReportFormat,
    lines: usize,
    /// The first line that could not be written.
    trouble: io::Result<()>,
}

impl Report {
    fn add(&mut self, difference: &Difference, mended: bool) {
        let first = self.lines == 0;
        self.lines += 1;
        if self.trouble.is_ok() {
            self.trouble = match self.format {
                ReportFormat::Table => say(&line(difference, mended)),
                ReportFormat::Json => {
                    let before = if first { "{\"differences\": [\n  " } else { ",\n  " };
                    write!(io::stdout().lock(), "{before}{}", to_json(difference, mended))
                }
            };
        }
    }

    fn end(self, summary: &Summary) -> io::Result<()> {
        self.trouble?;
        let Summary { records, places, differences, mended, restless } = *summary;
        if self.format == ReportFormat::Table {
            let busy = match restless {
                0 => String::new(),
                count => format!("; {count} operations change too fast to tell"),
            };
            return say(&format!(
                "{records} records, {places} places in lists and timers: \
                 {differences} differences, {mended} mended{busy}"
            ));
        }
        let head = if self.lines == 0 { "{\"differences\": [" } else { "\n" };
        let rest = json!({
            "records": records,
            "places": places,
            "found": differences,
            "mended": mended,
            "restless": restless,
        });
        say(&format!("{head}], {}", rest.to_string().trim_start_matches('{')))
    }
}

fn line(difference: &Difference, mended: bool) -> String {
    let (kind, rest) = match difference {
        Difference::Missing { id, place } => ("missing", format!("{id}: {}", place_text(place))),
        Difference::Stray { id, place } => ("stray", format!("{id}: {}", place_text(place))),
        Difference::Damaged { id, why } => ("damaged", format!("{id}: {why}")),
        Difference::Foreign { what } => ("foreign", what.clone()),
    };
    format!("{kind:<8} {}{rest}", if mended { "(mended) " } else { "" })
}

fn to_json(difference: &Difference, mended: bool) -> Value {
    match difference {
        Difference::Missing { id, place } => json!({
            "kind": "missing", "id": id.as_str(), "place": place_text(place), "mended": mended,
        }),
        Difference::Stray { id, place } => json!({
            "kind": "stray", "id": id.as_str(), "place": place_text(place), "mended": mended,
        }),
        Difference::Damaged { id, why } => json!({
            "kind": "damaged", "id": id.as_str(), "why": why, "mended": mended,
        }),
        Difference::Foreign { what } => {
            json!({ "kind": "foreign", "what": what, "mended": mended })
        }
    }
}

fn place_text(place: &Place) -> String {
    let at = |time: Time| time_text(time.as_micros());
    let (index, create_time) = match place {
        Place::Timer(time) => return format!("the timers, at {}", at(*time)),
        Place::List { index, create_time } => (index, at(*create_time)),
    };
    let list = match index {
        Index::In(parent) => format!("the list of `{parent}`"),
        Index::Active(parent) => format!("the active ones of `{parent}`"),
        Index::Ended(parent) => format!("the ended ones of `{parent}`"),
        Index::On(resource) => format!("the list of what works on `{resource}`"),
        Index::All => "the list of all".to_owned(),
        Index::AllActive => "the list of all active ones".to_owned(),
        Index::AllEnded => "the list of all ended ones".to_owned(),
    };
    format!("{list}, at {create_time}")
}
