//! Standard output: what of it is the response.

use serde_json::Value;

/// The end of a stream, at most so many bytes of it.
pub(super) struct Tail {
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Tail {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, cut: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Twice the limit before anything moves: each byte is moved once at most on average.
        if self.bytes.len() > self.limit.saturating_mul(2) {
            self.trim();
        }
    }

    fn trim(&mut self) {
        let surplus = self.bytes.len().saturating_sub(self.limit);
        if surplus > 0 {
            self.bytes.drain(..surplus);
            self.cut = true;
        }
    }

    /// The bytes, and whether there were more before them.
    pub(super) fn finish(mut self) -> (Vec<u8>, bool) {
        self.trim();
        (self.bytes, self.cut)
    }
}

/// The response may have been on what was not kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The last JSON value; `None` if there is none.
///
/// The output is read from the top: where a line begins a JSON value that ends with a line, that
/// is a value; all other lines are passed over. If the beginning of the output is missing, only a
/// value at its very end is certain to be no part of a longer one.
pub(super) fn last_value(output: &[u8], cut: bool) -> Result<Option<Value>, TooLong> {
    let mut rest = output;
    if cut {
        rest = after_line(rest);
    }
    let mut last = None;
    let mut at_end = false;
    while !rest.is_empty() {
        if let Some((value, behind)) = leading_value(rest) {
            last = Some(value);
            at_end = true;
            rest = behind;
        } else {
            let behind = after_line(rest);
            let line = &rest[..rest.len() - behind.len()];
            at_end &= line.trim_ascii().is_empty();
            rest = behind;
        }
    }
    if cut && !(at_end && last.is_some()) { Err(TooLong) } else { Ok(last) }
}

/// A value that begins with the text and ends with a line, and what is behind that line.
fn leading_value(text: &[u8]) -> Option<(Value, &[u8])> {
    let start = text.trim_ascii_start();
    let blank = &text[..text.len() - start.len()];
    // Blank lines are passed over one by one, as lines without a value.
    if blank.contains(&b'\n') || !start.first().is_some_and(begins_value) {
        return None;
    }
    let mut values = serde_json::Deserializer::from_slice(start).into_iter::<Value>();
    let value = values.next()?.ok()?;
    let rest = &start[values.byte_offset()..];
    let behind = after_line(rest);
    let line = &rest[..rest.len() - behind.len()];
    line.trim_ascii().is_empty().then_some((value, behind))
}

fn begins_value(byte: &u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}

fn after_line(text: &[u8]) -> &[u8] {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => &text[end + 1..],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_value_counts() {
        for (output, expected) in [
            ("", None),
            ("hello\nworld\n", None),
            ("{\"a\": 1}", Some(json!({"a": 1}))),
            ("{\"a\": 1}\n{\"a\": 2}\n", Some(json!({"a": 2}))),
            ("starting\n{\n  \"a\": [\n 1\n ]\n}\n", Some(json!({"a": [1]}))),
            ("[\n 1,\n 2\n]\ndone.\n\n", Some(json!([1, 2]))),
            ("2024-01-01 started\n[info] x\n42\n", Some(json!(42))),
            ("null\n", Some(json!(null))),
            ("{\"a\": 1} trailing\n", None),
            ("  {\"a\": 1}  \r\n", Some(json!({"a": 1}))),
            ("{\"a\": 1}\n{\"broken\": \n", Some(json!({"a": 1}))),
            ("\"text\"\n", Some(json!("text"))),
        ] {
            assert_eq!(last_value(output.as_bytes(), false), Ok(expected), "{output:?}");
        }
    }

    #[test]
    fn a_part_of_a_value_is_none() {
        // The beginning of `[\n{"a": 1},\n{"b": 2}\n]` is missing.
        assert_eq!(last_value(b"a\": 1},\n{\"b\": 2}\n]\n", true), Err(TooLong));
        assert_eq!(last_value(b"noise\nnoise\n", true), Err(TooLong));
        assert_eq!(last_value(b"oise\nnoise\n{\"b\": 2}\n\n", true), Ok(Some(json!({"b": 2}))));
    }

    #[test]
    fn many_openings_are_no_trouble() {
        let output = "[\n".repeat(10_000);
        assert_eq!(last_value(output.as_bytes(), false), Ok(None));
    }

    #[test]
    fn a_flood_is_cut() {
        let mut tail = Tail::new(10);
        for _ in 0..1000 {
            tail.push(b"0123456");
            assert!(tail.bytes.len() <= 27);
        }
        assert_eq!(tail.finish(), (b"4560123456".to_vec(), true));
    }
}
