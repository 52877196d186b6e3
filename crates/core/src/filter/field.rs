//! The fields that conditions speak of, and what each may be compared with.

use longshore_proto::{
    rpc::Code,
    v1::{Priority, operation_metadata::State},
};

use super::{
    Error,
    parse::{Operator, Restriction},
    value::Value,
};

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    pub(super) field: Field,
    pub(super) check: Check,
}

/// What a field is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Check {
    /// Is it set?
    IsSet,
    /// How does it compare?
    Compare(Operator, Value),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    OperationId,
    JobType,
    Worker,
    Label(String),
    WorksOn,
    Done,
    State,
    Priority,
    Attempt,
    CreateTime,
    UpdateTime,
    StartTime,
    EndTime,
    ExpireTime,
    Error,
    ErrorCode,
    ErrorMessage,
    Metadata(Vec<String>),
    Response(Vec<String>),
}

/// What kinds of values there are, and so what they compare with.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Texts, of which any may be meant.
    Texts,
    Bool,
    State,
    Priority,
    Number,
    Code,
    Time,
    /// It can only be there or not.
    Presence,
    /// What it is shows when it is met.
    Found,
}

/// Gives a restriction its meaning.
pub(super) fn test(restriction: Restriction) -> Result<Test, Error> {
    let Restriction { at, path, operator, argument } = restriction;
    let name = path.join(".");
    let asks_presence = matches!(operator, Operator::Has | Operator::Equal);
    if is_labels(&path) && operator == Operator::Has && !argument.is_any() {
        return Ok(Test { field: Field::Label(argument.text()), check: Check::IsSet });
    }
    let Some(field) = field(&path) else {
        return Err(Error::UnknownField { at, field: name });
    };
    if argument.is_any() && asks_presence {
        return Ok(Test { field, check: Check::IsSet });
    }

    let literal_at = argument.at;
    let mut value = Value::of(argument);
    let kind = kind(&field);
    check_operator(kind, operator, &field).map_err(|()| Error::Operator {
        at,
        field: name.clone(),
        operator: operator.symbol(),
    })?;
    if matches!(kind, Kind::Code) && value.number.is_none() {
        value.number = Code::from_str_name(&value.text).map(|code| f64::from(code as i32));
    }
    check_value(kind, &value).map_err(|expected| Error::Literal {
        at: literal_at,
        field: name,
        expected,
    })?;
    Ok(Test { field, check: Check::Compare(operator, value) })
}

/// The first part of a restriction's field, in snake_case.
pub(super) fn first(restriction: &Restriction) -> String {
    restriction.path.first().map(|first| snake_case(first)).unwrap_or_default()
}

fn is_labels(path: &[String]) -> bool {
    matches!(path, [only] if only == "labels")
}

fn field(path: &[String]) -> Option<Field> {
    let (first, rest) = path.split_first()?;
    let first = snake_case(first);
    match (first.as_str(), rest) {
        ("name", []) => Some(Field::Name),
        ("operation_id", []) => Some(Field::OperationId),
        ("job_type", []) => Some(Field::JobType),
        ("worker", []) => Some(Field::Worker),
        // A label's key may have dots of its own.
        ("labels", [_, ..]) => Some(Field::Label(rest.join("."))),
        ("works_on", []) => Some(Field::WorksOn),
        ("done", []) => Some(Field::Done),
        ("state", []) => Some(Field::State),
        ("priority", []) => Some(Field::Priority),
        ("attempt", []) => Some(Field::Attempt),
        ("create_time", []) => Some(Field::CreateTime),
        ("update_time", []) => Some(Field::UpdateTime),
        ("start_time", []) => Some(Field::StartTime),
        ("end_time", []) => Some(Field::EndTime),
        ("expire_time", []) => Some(Field::ExpireTime),
        ("error", []) => Some(Field::Error),
        ("error", [part]) if part == "code" => Some(Field::ErrorCode),
        ("error", [part]) if part == "message" => Some(Field::ErrorMessage),
        ("metadata", path) => Some(Field::Metadata(path.to_vec())),
        ("response", path) => Some(Field::Response(path.to_vec())),
        _ => None,
    }
}

fn snake_case(text: &str) -> String {
    let mut snake = String::with_capacity(text.len() + 2);
    for char in text.chars() {
        if char.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(char.to_ascii_lowercase());
    }
    snake
}

fn kind(field: &Field) -> Kind {
    match field {
        Field::Name | Field::OperationId | Field::JobType | Field::Worker => Kind::Text,
        Field::Label(_) | Field::ErrorMessage => Kind::Text,
        Field::WorksOn => Kind::Texts,
        Field::Done => Kind::Bool,
        Field::State => Kind::State,
        Field::Priority => Kind::Priority,
        Field::Attempt => Kind::Number,
        Field::ErrorCode => Kind::Code,
        Field::CreateTime | Field::UpdateTime | Field::StartTime => Kind::Time,
        Field::EndTime | Field::ExpireTime => Kind::Time,
        Field::Error => Kind::Presence,
        Field::Metadata(_) | Field::Response(_) => Kind::Found,
    }
}

fn check_operator(kind: Kind, operator: Operator, field: &Field) -> Result<(), ()> {
    let is_order = match operator {
        Operator::Equal | Operator::NotEqual | Operator::Has => false,
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            true
        }
    };
    match kind {
        Kind::Text | Kind::Number | Kind::Code | Kind::Time => Ok(()),
        Kind::Texts | Kind::Bool | Kind::State | Kind::Priority if is_order => Err(()),
        Kind::Texts | Kind::Bool | Kind::State | Kind::Priority => Ok(()),
        Kind::Presence => Err(()),
        Kind::Found => match field {
            // The message as a whole: `metadata:key` asks for a key, all else makes no sense.
            Field::Metadata(path) | Field::Response(path)
                if path.is_empty() && operator != Operator::Has =>
            {
                Err(())
            }
            _ => Ok(()),
        },
    }
}

fn check_value(kind: Kind, value: &Value) -> Result<(), &'static str> {
    let (fits, expected) = match kind {
        Kind::Text | Kind::Texts | Kind::Presence | Kind::Found => (true, ""),
        Kind::Bool => (value.bool.is_some(), "true or false"),
        Kind::State => (
            State::from_str_name(&value.text).is_some(),
            "one of PENDING, RUNNING, CANCELLING, SUCCEEDED, FAILED, CANCELLED",
        ),
        Kind::Priority => {
            (Priority::from_str_name(&value.text).is_some(), "one of LOW, NORMAL, HIGH")
        }
        Kind::Number => (value.number.is_some(), "a number"),
        Kind::Code => (value.number.is_some(), "a number or a name of google.rpc.Code"),
        Kind::Time => (value.time.is_some(), "a time like 2006-01-02T15:04:05Z or a date"),
    };
    if fits { Ok(()) } else { Err(expected) }
}
