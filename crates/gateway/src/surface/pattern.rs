//! Patterns of operations' names: `projects/*/locations/*/operations/*`.

use std::fmt;

use longshore_core::names::Parent;

const OPERATIONS: &str = "operations/*";

/// Which names operations have, by what stands before `operations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    parent: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    /// `*`: any one segment.
    One,
    /// `**`: any number of segments, also none.
    Any,
}

impl Pattern {
    /// # Errors
    /// Says what is wrong with the pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let parent = match text.strip_suffix(OPERATIONS) {
            Some("") => return Ok(Self { parent: Vec::new() }),
            Some(parent) => parent.strip_suffix('/'),
            None => None,
        };
        let parent = parent.ok_or("must end in operations/*")?;
        let parent = parent.split('/').map(Segment::parse).collect::<Option<Vec<_>>>();
        let parent = parent.ok_or("must have names, * or ** between its slashes")?;
        if parent.iter().filter(|segment| **segment == Segment::Any).count() > 1 {
            return Err("must not have more than one **");
        }
        Ok(Self { parent })
    }

    /// What stands before `operations`.
    pub(crate) fn parent(&self) -> &[Segment] {
        &self.parent
    }

    /// Whether a parent has `**`, and so any depth.
    pub(crate) fn is_open(&self) -> bool {
        self.parent.contains(&Segment::Any)
    }

    /// Whether operations under this parent have such names.
    pub(crate) fn matches(&self, parent: &Parent) -> bool {
        let segments: Vec<&str> = match parent.as_str() {
            "" => Vec::new(),
            text => text.split('/').collect(),
        };
        let fits = |(pattern, segment): (&Segment, &&str)| match pattern {
            Segment::Literal(text) => text == segment,
            Segment::One | Segment::Any => true,
        };
        match self.parent.iter().position(|segment| *segment == Segment::Any) {
            None => {
                segments.len() == self.parent.len() && self.parent.iter().zip(&segments).all(fits)
            }
            Some(any) => {
                let behind = &self.parent[any + 1..];
                segments.len() + 1 >= self.parent.len()
                    && self.parent[..any].iter().zip(&segments).all(fits)
                    && behind.iter().rev().zip(segments.iter().rev()).all(fits)
            }
        }
    }
}

impl Segment {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::One),
            "**" => Some(Self::Any),
            "" | "-" => None,
            // What a name can be.
            text if Parent::parse(text).is_ok() => Some(Self::Literal(text.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Literal(text) => text,
            Self::One => "*",
            Self::Any => "**",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_some_parents() {
        for (pattern, parents, others) in [
            ("operations/*", &[""][..], &["a"][..]),
            (
                "projects/*/operations/*",
                &["projects/p", "projects/-"],
                &["", "projects", "a/p", "projects/p/q"],
            ),
            ("**/operations/*", &["", "a", "a/b/c"], &[]),
            ("a/**/operations/*", &["a", "a/b", "a/b/c"], &["", "b", "b/a"]),
            ("a/**/b/*/operations/*", &["a/b/1", "a/x/b/1"], &["a/b", "a/1", "b/1"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            let matches = |parent: &&str| parsed.matches(&Parent::parse(parent).unwrap());
            assert!(parents.iter().all(matches), "{pattern}");
            assert!(!others.iter().any(matches), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "operations",
            "projects/*",
            "projects/*/operations",
            "projects/*/jobs/*",
            "/operations/*",
            "a//operations/*",
            "xoperations/*",
            "a b/operations/*",
            "**/a/**/operations/*",
            "-/operations/*",
            "projects/{p}/operations/*",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
