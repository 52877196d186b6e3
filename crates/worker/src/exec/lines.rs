//! Lines of bounded length from a child that need not keep to any bound.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// A line, or as much of it as there may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// All of it, without its end.
    Whole(&'a [u8]),
    /// The beginning of one that is too long; the rest follows as further lines or parts.
    Part(&'a [u8]),
}

/// Reads lines.
pub(super) struct Lines<R> {
    reader: R,
    limit: usize,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of at most so many bytes.
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, line: Vec::new() }
    }

    /// The next line; the last one may lack its end. Not cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        loop {
            let read = self.reader.fill_buf().await?;
            if read.is_empty() {
                return Ok((!self.line.is_empty()).then_some(Line::Whole(&self.line)));
            }
            let room = &read[..read.len().min(self.limit - self.line.len())];
            if let Some(end) = room.iter().position(|byte| *byte == b'\n') {
                self.line.extend_from_slice(&room[..end]);
                self.reader.consume(end + 1);
                return Ok(Some(Line::Whole(&self.line)));
            }
            let taken = room.len();
            self.line.extend_from_slice(room);
            self.reader.consume(taken);
            if self.line.len() == self.limit {
                return Ok(Some(Line::Part(&self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_the_limit() {
        let mut lines = Lines::new(&b"ab\n\nabcdefgh\nxy"[..], 4);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            seen.push(match line {
                Line::Whole(text) => format!("{}.", String::from_utf8_lossy(text)),
                Line::Part(text) => format!("{}+", String::from_utf8_lossy(text)),
            });
        }
        assert_eq!(seen, ["ab.", ".", "abcd+", "efgh+", ".", "xy."]);
    }
}
