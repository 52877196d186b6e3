//! What indexes can do for a filter.

use longshore_proto::v1::operation_metadata::State;

use super::{
    Expression,
    field::{Check, Field, Test},
    parse::Operator,
    value::Value,
};
use crate::time::Time;

/// What every record that matches has in common. Records that have it still need to be matched.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// All are done, or none.
    pub done: Option<bool>,
    /// All work on this resource.
    pub works_on: Option<String>,
    /// None was accepted before.
    pub created_from: Option<Time>,
    /// None was accepted after.
    pub created_to: Option<Time>,
}

impl Plan {
    /// What records have that have both.
    fn and(self, other: Self) -> Self {
        Self {
            done: self.done.or(other.done),
            works_on: self.works_on.or(other.works_on),
            created_from: self.created_from.max(other.created_from),
            created_to: [self.created_to, other.created_to].into_iter().flatten().min(),
        }
    }

    /// What records have that have the one or the other.
    fn or(self, other: &Self) -> Self {
        Self {
            done: self.done.filter(|done| other.done == Some(*done)),
            works_on: self.works_on.filter(|name| other.works_on.as_ref() == Some(name)),
            // None, which is no bound, is less than all.
            created_from: self.created_from.min(other.created_from),
            created_to: self.created_to.zip(other.created_to).map(|(one, other)| one.max(other)),
        }
    }
}

pub(super) fn of(expression: &Expression) -> Plan {
    match expression {
        Expression::And(all) => all.iter().map(of).fold(Plan::default(), Plan::and),
        Expression::Or(any) => {
            any.iter().map(of).reduce(|one, other| one.or(&other)).unwrap_or_default()
        }
        Expression::Not(one) => match &**one {
            Expression::Is(test) => of_opposite(test),
            Expression::And(_) | Expression::Or(_) | Expression::Not(_) => Plan::default(),
        },
        Expression::Is(test) => of_test(test),
    }
}

/// The negation of a condition on what is always set is its opposite.
fn of_opposite(test: &Test) -> Plan {
    match (&test.field, &test.check) {
        (Field::Done, Check::Compare(..)) => {
            Plan { done: of_test(test).done.map(|done| !done), ..Plan::default() }
        }
        (Field::CreateTime, Check::Compare(operator, value)) => created(opposite(*operator), value),
        _ => Plan::default(),
    }
}

fn opposite(operator: Operator) -> Operator {
    match operator {
        Operator::Equal | Operator::Has => Operator::NotEqual,
        Operator::NotEqual => Operator::Equal,
        Operator::Less => Operator::GreaterOrEqual,
        Operator::LessOrEqual => Operator::Greater,
        Operator::Greater => Operator::LessOrEqual,
        Operator::GreaterOrEqual => Operator::Less,
    }
}

/// The times between which records lie, rounded outwards to microseconds.
fn created(operator: Operator, value: &Value) -> Plan {
    let at = |nanos: i128| i64::try_from(nanos.div_euclid(1000)).ok().map(Time::from_micros);
    let (from, to) = match value.time {
        Some(nanos) => (at(nanos), at(nanos + 999)),
        None => (None, None),
    };
    let (created_from, created_to) = match operator {
        Operator::Equal | Operator::Has => (from, to),
        Operator::NotEqual => (None, None),
        Operator::Less | Operator::LessOrEqual => (None, to),
        Operator::Greater | Operator::GreaterOrEqual => (from, None),
    };
    Plan { created_from, created_to, ..Plan::default() }
}

fn of_test(test: &Test) -> Plan {
    let Check::Compare(operator, value) = &test.check else {
        // Only what is done has these.
        let has_ended = matches!(
            test.field,
            Field::Error
                | Field::ErrorCode
                | Field::ErrorMessage
                | Field::EndTime
                | Field::ExpireTime
                | Field::Response(_)
        );
        return Plan { done: has_ended.then_some(true), ..Plan::default() };
    };
    let is_equal = match operator {
        Operator::Equal | Operator::Has => true,
        Operator::NotEqual => false,
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            false
        }
    };
    match &test.field {
        Field::Done => Plan { done: value.bool.map(|bool| bool == is_equal), ..Plan::default() },
        Field::WorksOn if is_equal && value.is_exact() => {
            Plan { works_on: Some(value.text.clone()), ..Plan::default() }
        }
        Field::State if is_equal => {
            let done = State::from_str_name(&value.text).map(|state| match state {
                State::Succeeded | State::Failed | State::Cancelled => true,
                State::Unspecified | State::Pending | State::Running | State::Cancelling => false,
            });
            Plan { done, ..Plan::default() }
        }
        Field::CreateTime => created(*operator, value),
        Field::ErrorCode
        | Field::ErrorMessage
        | Field::EndTime
        | Field::ExpireTime
        | Field::Response(_) => Plan { done: Some(true), ..Plan::default() },
        Field::Name
        | Field::OperationId
        | Field::JobType
        | Field::Worker
        | Field::Label(_)
        | Field::WorksOn
        | Field::State
        | Field::Priority
        | Field::Attempt
        | Field::UpdateTime
        | Field::StartTime
        | Field::Error
        | Field::Metadata(_) => Plan::default(),
    }
}
