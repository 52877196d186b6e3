//! Filters over operations: AIP-160 in full, but for functions.
//!
//! `OR` binds tighter than `AND`, and a space between two conditions is an `AND`. Field names may
//! be in snake_case or camelCase. A field that is not set matches no condition, not even `!=`.
//!
//! | field | conditions |
//! |---|---|
//! | `name`, `operation_id`, `job_type`, `worker`, `labels.KEY`, `error.message` | text: `=` and `!=` with `*` as a wildcard, `<` and its like, `:` for a part in any case |
//! | `works_on` | `=` or `:` if any of the resources is it, `!=` if none is |
//! | `done` | `=`, `!=`, `:` with `true` or `false` |
//! | `state`, `priority` | `=`, `!=`, `:` with a value of `OperationMetadata.State` or `Priority` |
//! | `attempt`, `error.code` | a number (or, for the code, its name), all operators |
//! | `create_time`, `update_time`, `start_time`, `end_time`, `expire_time` | an RFC 3339 time or a date, all operators |
//! | `metadata.PATH`, `response.PATH`, with `@type` among the paths | by what is found there: text, number, bool, time, or duration |
//!
//! `FIELD:*` and `FIELD=*` ask whether it is set at all; so do `error:*` and `labels:KEY`.

mod field;
mod matching;
mod parse;
mod plan;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeSet;

use field::Test;
pub use plan::Plan;

use crate::record::Record;

/// The longest filter, in bytes.
pub const MAX_LENGTH: usize = 2048;
/// How deep parentheses may be nested.
pub const MAX_DEPTH: usize = 20;
/// How many conditions there may be.
pub const MAX_CONDITIONS: usize = 50;

/// The fields that filters may speak of, each with all that lies in it.
pub const FIELDS: [&str; 18] = [
    "name",
    "operation_id",
    "job_type",
    "worker",
    "labels",
    "works_on",
    "done",
    "state",
    "priority",
    "attempt",
    "create_time",
    "update_time",
    "start_time",
    "end_time",
    "expire_time",
    "error",
    "metadata",
    "response",
];

/// Why a text is no filter. Places are in bytes from the filter's start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is longer than [`MAX_LENGTH`].
    #[error("must be at most {MAX_LENGTH} bytes")]
    TooLong,
    /// Parentheses are nested deeper than [`MAX_DEPTH`].
    #[error("at byte {at}: must not be nested deeper than {MAX_DEPTH} parentheses")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// There are more conditions than [`MAX_CONDITIONS`].
    #[error("must have at most {MAX_CONDITIONS} conditions")]
    TooMany,
    /// Something else is there than should be.
    #[error("at byte {at}: expected {expected}")]
    Syntax {
        /// Where.
        at: usize,
        /// What should be there.
        expected: String,
    },
    /// There is no such field.
    #[error("at byte {at}: there is no field `{field}`")]
    UnknownField {
        /// Where.
        at: usize,
        /// Which.
        field: String,
    },
    /// The field can't be compared with this.
    #[error("at byte {at}: `{field}` is compared with {expected}")]
    Literal {
        /// Where.
        at: usize,
        /// Which field.
        field: String,
        /// What it is compared with.
        expected: &'static str,
    },
    /// The field has no such operator.
    #[error("at byte {at}: `{field}` has no `{operator}`")]
    Operator {
        /// Where.
        at: usize,
        /// Which field.
        field: String,
        /// Which operator.
        operator: &'static str,
    },
}

/// Which operations are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    condition: Expression,
}

/// Conditions and how they are put together.
#[derive(Clone, Debug, PartialEq)]
enum Expression {
    /// All of them; true if there are none.
    And(Vec<Self>),
    /// Any of them.
    Or(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
    /// One condition.
    Is(Test),
}

impl Filter {
    /// Reads a filter; an empty one matches all.
    ///
    /// One that stands in quotes as a whole is taken as what the quotes hold, because the examples
    /// of Google's own documentation send it so.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_with(text, None)
    }

    /// Reads a filter that may speak of some fields only, named as in [`FIELDS`]; of any if there
    /// is no such set.
    ///
    /// # Errors
    /// As [`Filter::parse`]; a field that is not in the set is an unknown one.
    pub fn parse_with(text: &str, fields: Option<&BTreeSet<String>>) -> Result<Self, Error> {
        if text.len() > MAX_LENGTH {
            return Err(Error::TooLong);
        }
        let mut rules = Rules { fields, count: 0 };
        let condition = match parse::filter(text)? {
            None => Expression::And(Vec::new()),
            Some(parse::Tree::Bare(quoted)) if quoted.is_quoted => {
                match parse::filter(&quoted.text())? {
                    None => Expression::And(Vec::new()),
                    Some(tree) => resolve(tree, &mut rules)?,
                }
            }
            Some(tree) => resolve(tree, &mut rules)?,
        };
        Ok(Self { condition })
    }

    /// Whether the record is asked for.
    pub fn matches(&self, record: &Record) -> bool {
        matching::matches(&self.condition, &matching::Subject::new(record))
    }

    /// What every record that matches has in common, as far as indexes can use it.
    pub fn plan(&self) -> Plan {
        plan::of(&self.condition)
    }
}

/// What filters may have.
struct Rules<'a> {
    fields: Option<&'a BTreeSet<String>>,
    /// How many conditions there have been.
    count: usize,
}

/// Gives fields and literals their meaning.
fn resolve(tree: parse::Tree, rules: &mut Rules<'_>) -> Result<Expression, Error> {
    let mut all = |trees: Vec<parse::Tree>| -> Result<Vec<Expression>, Error> {
        trees.into_iter().map(|tree| resolve(tree, rules)).collect()
    };
    match tree {
        parse::Tree::And(trees) => Ok(Expression::And(all(trees)?)),
        parse::Tree::Or(trees) => Ok(Expression::Or(all(trees)?)),
        parse::Tree::Not(tree) => Ok(Expression::Not(Box::new(resolve(*tree, rules)?))),
        parse::Tree::Bare(literal) => Err(Error::Syntax {
            at: literal.at + literal.text().len(),
            expected: "one of `=`, `!=`, `<`, `<=`, `>`, `>=`, `:` after the field".to_owned(),
        }),
        parse::Tree::Restriction(restriction) => {
            rules.count += 1;
            if rules.count > MAX_CONDITIONS {
                return Err(Error::TooMany);
            }
            if !rules.fields.is_none_or(|fields| fields.contains(&field::first(&restriction))) {
                let field = restriction.path.join(".");
                return Err(Error::UnknownField { at: restriction.at, field });
            }
            field::test(restriction).map(Expression::Is)
        }
    }
}
