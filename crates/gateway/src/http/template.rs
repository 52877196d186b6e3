//! Path templates as `google.api.http` has them: `/v1/{name=**/operations/*}:cancel`.

use std::{borrow::Cow, fmt, ops::Range};

use percent_encoding::percent_decode_str;

/// A path template.
///
/// Its first segment, if it is a version like `v1`, stands for *every* version: Google's clients
/// address the same methods under `v1`, `v1beta1`, `v2`, `ui`, and what is served does not differ.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    text: Box<str>,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    verb: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `v1` at the beginning: any version.
    Version,
    Literal(Box<str>),
    /// `*`
    One,
    /// `**`: any number, also none.
    Any,
}

#[derive(Clone, Debug)]
struct Variable {
    field: Box<str>,
    /// Which of the template's segments it stands for.
    segments: Range<usize>,
    /// Whether it is one segment, and so is decoded wholly.
    is_single: bool,
}

/// What a path says by a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match<'a> {
    /// The request's fields and their values.
    pub(crate) fields: Vec<(&'a str, String)>,
    /// Whether a value has an encoded slash that was left as it is.
    pub(crate) keeps_slash: bool,
}

/// The path of a request, taken apart but not decoded.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    segments: Vec<&'a str>,
    verb: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// The version that it begins with.
    pub(crate) fn version(text: &str) -> Option<&str> {
        let first = text.strip_prefix('/')?.split('/').next()?;
        is_version(first).then_some(first)
    }

    /// `None` if it is relative or has an empty segment: no template means such paths.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut segments: Vec<_> = text.strip_prefix('/')?.split('/').collect();
        let last = segments.last_mut()?;
        let verb = last.rsplit_once(':').map(|(segment, verb)| {
            *last = segment;
            verb
        });
        segments.iter().all(|segment| !segment.is_empty()).then_some(Self { segments, verb })
    }
}

impl Template {
    /// # Errors
    /// Says what is wrong with the template.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_prefix('/').ok_or("it must begin with a slash")?;
        let (mut rest, verb) = match path.rfind(':') {
            Some(at) if !path[at..].contains(['/', '}']) => {
                (&path[..at], Some(path[at + 1..].into()))
            }
            _ => (path, None),
        };
        let mut segments = Vec::new();
        let mut variables = Vec::new();
        loop {
            let begin = segments.len();
            if let Some(variable) = rest.strip_prefix('{') {
                let (variable, behind) = variable.split_once('}').ok_or("a brace is open")?;
                let (field, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
                segments.extend(pattern.split('/').map(Segment::parse));
                let is_single = pattern == "*";
                variables.push(Variable {
                    field: field.into(),
                    segments: begin..segments.len(),
                    is_single,
                });
                rest = behind;
            } else {
                let end = rest.find('/').unwrap_or(rest.len());
                segments.push(Segment::parse(&rest[..end]));
                rest = &rest[end..];
            }
            match rest.strip_prefix('/') {
                Some(more) => rest = more,
                None if rest.is_empty() => break,
                None => return Err("a slash must follow a variable"),
            }
        }
        if segments
            .iter()
            .any(|segment| matches!(segment, Segment::Literal(text) if !is_literal(text)))
        {
            return Err("a segment is empty or has characters that segments don't have");
        }
        if segments.iter().filter(|segment| **segment == Segment::Any).count() > 1 {
            return Err("there is more than one `**`");
        }
        if let Some(Segment::Literal(first)) = segments.first()
            && is_version(first)
        {
            segments[0] = Segment::Version;
        }
        Ok(Self { text: text.into(), segments, variables, verb })
    }

    /// What the path says, if the template means it.
    pub(crate) fn matches(&self, path: &Path<'_>) -> Option<Match<'_>> {
        if self.verb.as_deref() != path.verb {
            return None;
        }
        let fixed = self.segments.iter().filter(|segment| **segment != Segment::Any).count();
        let spread = path.segments.len().checked_sub(fixed)?;
        let any = self.segments.iter().position(|segment| *segment == Segment::Any);
        if any.is_none() && spread > 0 {
            return None;
        }
        // Where the path has what stands behind so many of the template's segments.
        let place = |segments: usize| match any {
            Some(any) if segments > any => segments - 1 + spread,
            _ => segments,
        };
        let fits = |(at, segment): (usize, &Segment)| match segment {
            Segment::Version => is_version(path.segments[place(at)]),
            Segment::Literal(text) => path.segments[place(at)] == &**text,
            Segment::One | Segment::Any => true,
        };
        if !self.segments.iter().enumerate().all(fits) {
            return None;
        }
        let mut keeps_slash = false;
        let fields = self.variables.iter().map(|variable| {
            let raw = path.segments[place(variable.segments.start)..place(variable.segments.end)]
                .join("/");
            if variable.is_single {
                return (&*variable.field, decode(&raw).into_owned());
            }
            let (value, has_slash) = decode_all_but_slashes(&raw);
            keeps_slash |= has_slash;
            (&*variable.field, value)
        });
        let fields = fields.collect();
        Some(Match { fields, keeps_slash })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(text: &str) -> Self {
        match text {
            "*" => Self::One,
            "**" => Self::Any,
            literal => Self::Literal(literal.into()),
        }
    }
}

fn is_literal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~$".contains(&b))
}

/// `v` and a number, then perhaps words with numbers: `v1`, `v2`, `v1beta1`, `v1p1beta1`, `v1alpha`.
/// And `ui`, which some of Google's APIs have beside them.
pub(crate) fn is_version(text: &str) -> bool {
    let is_numbered = || {
        let mut rest = text.strip_prefix('v')?.as_bytes();
        rest.first().filter(|b| b.is_ascii_digit())?;
        while let [b'0'..=b'9' | b'a'..=b'z', behind @ ..] = rest {
            rest = behind;
        }
        rest.is_empty().then_some(())
    };
    text == "ui" || is_numbered().is_some()
}

fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Leaves `%2F` as it is, so that it differs from the slashes between segments.
fn decode_all_but_slashes(text: &str) -> (String, bool) {
    let mut decoded = String::with_capacity(text.len());
    let mut has_slash = false;
    let mut rest = text;
    while let Some(at) = rest.find("%2F").into_iter().chain(rest.find("%2f")).min() {
        decoded.push_str(&decode(&rest[..at]));
        decoded.push_str(&rest[at..at + 3]);
        rest = &rest[at + 3..];
        has_slash = true;
    }
    decoded.push_str(&decode(rest));
    (decoded, has_slash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(template: &str, path: &str) -> Option<String> {
        let template = Template::parse(template).unwrap();
        let found = template.matches(&Path::parse(path)?)?;
        Some(
            found
                .fields
                .into_iter()
                .map(|(field, value)| format!("{field}={value}"))
                .collect::<Vec<_>>()
                .join(","),
        )
    }

    #[test]
    fn finds_what_a_path_says() {
        for (template, path, expected) in [
            ("/v1/{name=operations}", "/v1/operations", "name=operations"),
            ("/v1/{name=**}/operations", "/v1/operations", "name="),
            ("/v1/{name=**}/operations", "/v1/a/b/operations", "name=a/b"),
            ("/v1/{name=operations/**}", "/v1/operations/a/b", "name=operations/a/b"),
            ("/v1/{name=**/operations/*}", "/v1/operations/x", "name=operations/x"),
            ("/v1/{name=**/operations/*}", "/v2/p/q/operations/x", "name=p/q/operations/x"),
            ("/v1/{name=**/operations/*}:wait", "/v1/p/operations/x:wait", "name=p/operations/x"),
            ("/v1/{name=**}/operations", "/v1/example.com:p/operations", "name=example.com:p"),
            ("/v1/operations/{name}", "/v1/operations/operations%2Fabc", "name=operations/abc"),
            (
                "/v1/{name=**}/operations",
                "/v1/a%20b%25c%3Dd%3Ae%2Bf+g/operations",
                "name=a b%c=d:e+f+g",
            ),
            ("/v1/{name=**}/operations", "/v1/a%2Fb%2fc%20/operations", "name=a%2Fb%2fc "),
            ("/v1/jobs:run", "/v1/jobs:run", ""),
            ("/v1/{parent=**}/jobs:run", "/v1/a/jobs:run", "parent=a"),
            ("/v1/{a.b}/x/{c=y/*}", "/v1/1/x/y/2", "a.b=1,c=y/2"),
            ("/v1/{name=**}/operations", "/v1/%FF/operations", "name=\u{fffd}"),
        ] {
            assert_eq!(value(template, path).as_deref(), Some(expected), "{template} {path}");
        }
    }

    #[test]
    fn passes_over_other_paths() {
        for (template, path) in [
            ("/v1/{name=operations}", "/v1/operations/x"),
            ("/v1/{name=operations}", "/v1/operations/"),
            ("/v1/{name=operations}", "/v1//operations"),
            ("/v1/{name=operations}", "v1/operations"),
            ("/v1/{name=operations}", "*"),
            ("/v1/{name=**}/operations", "/v1//operations"),
            ("/v1/{name=**/operations/*}", "/v1/operations"),
            ("/v1/{name=**/operations/*}", "/v1/operations/x:wait"),
            ("/v1/{name=**/operations/*}:wait", "/v1/operations/x"),
            ("/v1/{name=**/operations/*}:wait", "/v1/operations/x:wai"),
            ("/v1/operations/{name}", "/v1/operations/a/b"),
            ("/v1/operations/{name}", "/v1/operations"),
        ] {
            assert_eq!(value(template, path), None, "{template} {path}");
        }
    }

    #[test]
    fn the_version_stands_for_any() {
        for version in ["v1", "v2", "v10", "v1beta1", "v1alpha", "v1p1beta1", "v1p4beta1", "ui"] {
            assert!(value("/v1/jobs:run", &format!("/{version}/jobs:run")).is_some(), "{version}");
        }
        for other in ["v", "vx", "x1", "1", "V1", "v1_", "v1.", "uid", "operations"] {
            assert!(value("/v1/jobs:run", &format!("/{other}/jobs:run")).is_none(), "{other}");
        }
        assert!(value("/x/v1", "/x/v2").is_none());
    }

    #[test]
    fn refuses_what_is_no_template() {
        for text in [
            "v1",
            "/",
            "/v1//x",
            "/v1/{name",
            "/v1/{name}x",
            "/{a=**}/{b=**}",
            "/v1/{a={b}}",
            "/a b",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
