//! Partial answers: the `fields` parameter, such as `name,metadata(state,progress/percent)`.

use std::borrow::Cow;

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;

use super::bind::field;
use crate::errors::{Reason, Refusal, echo};

/// The longest mask in bytes.
const MAX_LENGTH: usize = 4096;
/// How deep a mask may go.
const MAX_DEPTH: usize = 32;

/// The fields of an answer that a client wants, and what of them; all if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask(Vec<(String, Self)>);

impl Mask {
    /// Reads a mask for answers of a type.
    ///
    /// # Errors
    /// If it is none, or names a field that the type does not have. What is in an Any or a Struct
    /// may be named freely.
    pub(crate) fn parse(text: &str, descriptor: &MessageDescriptor) -> Result<Self, Refusal> {
        let invalid = |why: &str| {
            Refusal::field(
                Reason::InvalidFieldMask,
                "fields",
                format!("Invalid field selection {}: {why}", echo(text)),
            )
        };
        if text.len() > MAX_LENGTH {
            return Err(invalid("it is too long"));
        }
        let mut parser = Parser { rest: text };
        let mask = parser.list(MAX_DEPTH).map_err(invalid)?;
        if !parser.rest.is_empty() {
            return Err(invalid("a parenthesis is not open"));
        }
        mask.check(Some(descriptor), "").map_err(|path| {
            let path = echo(&path);
            let why = format!(
                "Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'."
            );
            Refusal::field(Reason::InvalidFieldMask, "fields", why)
        })?;
        Ok(mask)
    }

    /// Removes all else.
    pub(crate) fn apply(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::Object(object) => object.retain(|key, value| match self.within(key) {
                Some(inner) => {
                    inner.apply(value);
                    true
                }
                None => false,
            }),
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Whether there are such fields, or the path of the first that there is not. Without a
    /// descriptor anything may be there.
    fn check(&self, descriptor: Option<&MessageDescriptor>, place: &str) -> Result<(), String> {
        let Some(descriptor) = descriptor else { return Ok(()) };
        for (name, inner) in &self.0 {
            if name == "*" {
                continue;
            }
            let slash = if place.is_empty() { "" } else { "/" };
            let place = format!("{place}{slash}{name}");
            let field = field(descriptor, name).ok_or_else(|| place.clone())?;
            match field.kind() {
                Kind::Message(message) => {
                    let is_closed = message.package_name() != "google.protobuf" && !field.is_map();
                    inner.check(is_closed.then_some(&message), &place)?;
                }
                _ if inner.0.is_empty() => {}
                _ => return Err(format!("{place}/{}", inner.0[0].0)),
            }
        }
        Ok(())
    }

    /// What is wanted of the value under a key. Names may come twice, and `*` beside others.
    fn within(&self, key: &str) -> Option<Cow<'_, Self>> {
        let mut wanted = self.0.iter().filter(|(name, _)| name == "*" || is_name_of(name, key));
        let mut all = Cow::Borrowed(&wanted.next()?.1);
        for (_, more) in wanted {
            if all.0.is_empty() || more.0.is_empty() {
                return Some(Cow::Owned(Self::default()));
            }
            all.to_mut().0.extend_from_slice(&more.0);
        }
        Some(all)
    }
}

/// Whether a key of an answer is meant: `page_token` is `pageToken` too.
fn is_name_of(name: &str, key: &str) -> bool {
    let camel = || {
        let mut words = name.split('_');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            let mut letters = word.chars();
            camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
            camel.push_str(letters.as_str());
        }
        camel
    };
    name == key || (name.contains('_') && camel() == key)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    /// `path,path,…` up to a closing parenthesis or the end.
    fn list(&mut self, depth: usize) -> Result<Mask, &'static str> {
        let mut mask = Mask::default();
        loop {
            let (name, inner) = self.path(depth)?;
            mask.0.push((name, inner));
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None => return Ok(mask),
            }
        }
    }

    /// `name`, `name/path`, `name.path` or `name(list)`.
    fn path(&mut self, depth: usize) -> Result<(String, Mask), &'static str> {
        let depth = depth.checked_sub(1).ok_or("it goes too deep")?;
        let rest = self.rest.trim_start();
        let end =
            rest.find(|c: char| !c.is_alphanumeric() && !"_-@*$".contains(c)).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        if name.is_empty() {
            return Err("a name is missing");
        }
        self.rest = rest[end..].trim_start();
        if let Some(inner) = self.rest.strip_prefix(['/', '.']) {
            self.rest = inner;
            let (inner, innermost) = self.path(depth)?;
            return Ok((name, Mask(vec![(inner, innermost)])));
        }
        let Some(inner) = self.rest.strip_prefix('(') else {
            return Ok((name, Mask::default()));
        };
        self.rest = inner;
        let inner = self.list(depth)?;
        self.rest = self.rest.strip_prefix(')').ok_or("a parenthesis is not closed")?.trim_start();
        Ok((name, inner))
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::json::pool;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Mask, Refusal> {
        Mask::parse(
            text,
            &pool().get_message_by_name("google.longrunning.ListOperationsResponse").unwrap(),
        )
    }

    #[test]
    fn keeps_what_is_named() {
        let page = json!({
            "operations": [
                {"name": "a", "done": true, "metadata": {"@type": "t", "state": "RUNNING", "jobType": "j", "progress": {"percent": 1, "unit": "u"}}},
                {"name": "b", "response": {"@type": "s", "value": {"a_b": 1}}},
            ],
            "nextPageToken": "t",
        });
        for (text, expected) in [
            ("*", page.clone()),
            ("nextPageToken", json!({"nextPageToken": "t"})),
            ("next_page_token", json!({"nextPageToken": "t"})),
            (
                "operations/name,nextPageToken",
                json!({"operations": [{"name": "a"}, {"name": "b"}], "nextPageToken": "t"}),
            ),
            (
                "operations(name, done)",
                json!({"operations": [{"name": "a", "done": true}, {"name": "b"}]}),
            ),
            (
                "operations.name,operations.done",
                json!({"operations": [{"name": "a", "done": true}, {"name": "b"}]}),
            ),
            (
                "operations/metadata(job_type,progress/percent)",
                json!({"operations": [{"metadata": {"jobType": "j", "progress": {"percent": 1}}}, {}]}),
            ),
            (
                "operations/*/a_b,operations/response/value/a_b",
                json!({"operations": [{"metadata": {}, "name": "a", "done": true}, {"name": "b", "response": {"value": {"a_b": 1}}}]}),
            ),
            ("operations/name,operations", json!({"operations": page["operations"]})),
            ("unreachable", json!({})),
        ] {
            let mut value = page.clone();
            parse(text).unwrap().apply(&mut value);
            assert_eq!(value, expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_field() {
        for (text, path) in [
            ("kind", "kind"),
            ("operations/kind", "operations/kind"),
            ("operations(name/x)", "operations/name/x"),
            ("operations/error/details/x,operations/error/x", "operations/error/x"),
        ] {
            let message = tonic::Status::from(parse(text).unwrap_err()).message().to_owned();
            let expected = format!(
                "Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'."
            );
            assert!(message.ends_with(&expected), "{message}");
        }
        for text in [
            ",",
            "a,",
            "operations(",
            "operations(name",
            "operations)",
            "operations/",
            "(name)",
            "a b",
            &"*/".repeat(2000),
            &"*(".repeat(40),
            &"x".repeat(5000),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_spellings_are_the_same_name() {
        for (name, key) in [
            ("page_token", "pageToken"),
            ("pageToken", "pageToken"),
            ("a_b", "a_b"),
            ("@type", "@type"),
            ("_", "_"),
        ] {
            assert!(is_name_of(name, key), "{name} {key}");
        }
        for (name, key) in [
            ("page", "pageToken"),
            ("pageToken", "page"),
            ("page_token", "pagetoken"),
            ("a__b", "aB2"),
        ] {
            assert!(!is_name_of(name, key), "{name} {key}");
        }
    }
}
