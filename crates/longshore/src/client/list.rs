//! `longshore list`.

use std::io::{self, Write};

use anyhow::Result;
use longshore_core::json::operation_to_json;
use longshore_proto::longrunning::{ListOperationsRequest, ListOperationsResponse, Operation};

use super::{
    Client,
    connection::brief,
    failure::Refused,
    say,
    show::{COLUMNS, WIDE, table},
};
use crate::{
    cli::{Format, List},
    exit::Exit,
};

/// Lists operations, page after page.
pub(crate) async fn list(args: &List) -> Result<Exit> {
    let client = Client::connect(&args.connection).await?;
    let mut output = Lines::new(args.format);
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut page_token = String::new();
    while left > 0 {
        let page = client.list(args, page_size(args.page_size, left), &page_token).await?;
        let taken = page.operations.into_iter().take(left).collect::<Vec<_>>();
        left -= taken.len();
        output.add(taken)?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.end()?;
    Ok(Exit::Fine)
}

/// Asks for no more than is to be shown.
fn page_size(asked: i32, left: usize) -> i32 {
    let left = i32::try_from(left).unwrap_or(0);
    if asked == 0 || left == 0 { asked.max(left) } else { asked.min(left) }
}

impl Client {
    async fn list(
        &self,
        args: &List,
        page_size: i32,
        page_token: &str,
    ) -> Result<ListOperationsResponse, Refused> {
        let request = || ListOperationsRequest {
            name: args.parent.clone(),
            filter: args.filter.clone(),
            page_size,
            page_token: page_token.to_owned(),
            ..ListOperationsRequest::default()
        };
        self.call(
            |mut client| async move { client.operations.list_operations(brief(request())).await },
        )
        .await
    }
}

/// What a list looks like. JSON and names are written as they come; a table's columns need it all.
enum Lines {
    Json { first: bool },
    Names,
    Table(&'static [&'static str], Vec<Operation>),
}

impl Lines {
    fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json { first: true },
            Format::Name => Self::Names,
            Format::Table => Self::Table(&COLUMNS, Vec::new()),
            Format::Wide => Self::Table(&WIDE, Vec::new()),
        }
    }

    fn add(&mut self, page: Vec<Operation>) -> io::Result<()> {
        match self {
            Self::Json { first } => {
                let mut out = io::stdout().lock();
                for operation in page {
                    let before = if std::mem::take(first) { "[\n  " } else { ",\n  " };
                    let json = format!("{:#}", operation_to_json(&operation));
                    write!(out, "{before}{}", json.replace('\n', "\n  "))?;
                }
                out.flush()
            }
            Self::Names => page.iter().try_for_each(|operation| say(&operation.name)),
            Self::Table(_, rows) => {
                rows.extend(page);
                Ok(())
            }
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Json { first: true } => say("[]"),
            Self::Json { first: false } => say("\n]"),
            Self::Names => Ok(()),
            Self::Table(columns, rows) => say(&table(&rows, columns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::page_size;

    #[test]
    fn asks_for_no_more_than_is_to_be_shown() {
        assert_eq!(page_size(0, usize::MAX), 0);
        assert_eq!(page_size(0, 5), 5);
        assert_eq!(page_size(10, 5), 5);
        assert_eq!(page_size(3, 5), 3);
        assert_eq!(page_size(3, usize::MAX), 3);
    }
}
