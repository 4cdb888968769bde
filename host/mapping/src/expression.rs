//! Expressions, and their evaluation.

mod function;

use std::{borrow::Cow, cmp::Ordering};

pub(crate) use function::Function;

use crate::{
    paths::{Found, Slot, State},
    value::{Stop, Value, ValueView},
};

/// An expression that is evaluated on a document's text.
#[derive(Debug)]
pub struct Expression {
    pub(crate) term: Term,
    /// The paths of the document that it reads.
    pub(crate) slots: Vec<Slot>,
}

/// What an expression gives.
#[derive(Debug)]
pub enum EvaluationResult<'a> {
    /// Its first value.
    Value(Value<'a>),
    /// No value.
    Nothing,
    /// JQ fails, with an error whose text is not known here.
    Failed,
    /// It is not known here what JQ gives.
    Deferred,
}

/// A part of an expression.
#[derive(Debug)]
pub(crate) enum Term {
    Null,
    Bool(bool),
    Integer(i64),
    Text(String),
    /// A path of the document, by its position in [`Expression::slots`].
    Root(usize),
    /// `.`
    Input,
    Field(Box<Term>, String),
    Index(Box<Term>, i64),
    /// `.[]`, and `.[]?`, which takes what is no list for an empty one.
    Each(Box<Term>, bool),
    Pipe(Box<Term>, Box<Term>),
    Alternative(Box<Term>, Box<Term>),
    Add(Box<Term>, Box<Term>),
    Compare(Box<Term>, Comparison, Box<Term>),
    And(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
    If(Box<[Term; 3]>),
    /// A text with values in it.
    Template(Vec<Term>),
    Collect(Box<Term>),
    EmptyList,
    Call(Function),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// What terms are evaluated on, beside their input.
#[derive(Clone, Copy)]
pub(crate) struct PathScope<'v, 'f> {
    slots: &'v [Slot],
    found: &'f Found<'v>,
}

impl Expression {
    /// The first value on what was found in a document.
    pub fn evaluate<'v>(&'v self, found: &Found<'v>) -> EvaluationResult<'v> {
        let scope = PathScope { slots: &self.slots, found };
        // Nothing at the outset reads its input: paths are those of the document.
        let first = if self.term.is_single() {
            self.term.one(scope, &Value::Null).map(Some)
        } else {
            self.term.first(scope, &Value::Null)
        };
        match first {
            Ok(Some(value)) => EvaluationResult::Value(value),
            Ok(None) => EvaluationResult::Nothing,
            Err(Stop::Fail) => EvaluationResult::Failed,
            Err(Stop::Defer | Stop::Enough) => EvaluationResult::Deferred,
        }
    }
}

impl Term {
    /// Whether it always gives exactly one value, or fails.
    pub(crate) fn is_single(&self) -> bool {
        match self {
            Self::Field(of, _) | Self::Index(of, _) => of.is_single(),
            Self::Each(..) => false,
            Self::Pipe(left, right) | Self::Alternative(left, right) => left.is_single() && right.is_single(),
            Self::If(parts) => parts[1].is_single() && parts[2].is_single(),
            Self::Call(function) => function.is_single(),
            _ => true,
        }
    }

    /// The one value of a term that [is single](Self::is_single).
    pub(crate) fn one<'v>(&'v self, scope: PathScope<'v, '_>, input: &Value<'v>) -> Result<Value<'v>, Stop> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(is) => Value::Bool(*is),
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Root(path) => match scope.slots.get(*path).map(|slot| scope.found.state(*slot)) {
                Some(State::Text(text)) => Value::Json(text),
                Some(State::Missing) => Value::Null,
                Some(State::Blocked) => return Err(Stop::Fail),
                Some(State::Object) | None => return Err(Stop::Defer),
            },
            Self::Input => input.clone(),
            Self::Field(of, name) => of.one(scope, input)?.field(name)?,
            Self::Index(of, position) => of.one(scope, input)?.index(*position)?,
            Self::Pipe(left, right) => {
                let value = left.one(scope, input)?;
                right.one(scope, &value)?
            }
            Self::Alternative(left, right) => {
                let value = left.one(scope, input)?;
                if value.is_true() { value } else { right.one(scope, input)? }
            }
            Self::Add(left, right) => add(left.one(scope, input)?, right.one(scope, input)?)?,
            Self::Compare(left, comparison, right) => {
                let order = left.one(scope, input)?.compare(&right.one(scope, input)?)?;
                Value::Bool(comparison.holds(order))
            }
            Self::And(left, right) => {
                Value::Bool(left.one(scope, input)?.is_true() && right.one(scope, input)?.is_true())
            }
            Self::Or(left, right) => {
                Value::Bool(left.one(scope, input)?.is_true() || right.one(scope, input)?.is_true())
            }
            Self::If(parts) => {
                let [condition, yes, no] = &**parts;
                if condition.one(scope, input)?.is_true() {
                    yes.one(scope, input)?
                } else {
                    no.one(scope, input)?
                }
            }
            Self::Template(parts) => {
                let mut text = String::new();
                for part in parts {
                    text.push_str(&part.one(scope, input)?.to_text()?);
                }
                Value::Text(text.into())
            }
            Self::Collect(of) => {
                let mut list = Vec::new();
                of.run(scope, input, &mut |value| {
                    list.push(value);
                    Ok(())
                })?;
                Value::List(list)
            }
            Self::EmptyList => Value::List(Vec::new()),
            Self::Call(function) => function.one(scope, input)?,
            Self::Each(..) => return Err(Stop::Defer),
        })
    }

    /// Gives all values, one after the other.
    pub(crate) fn run<'v>(
        &'v self,
        scope: PathScope<'v, '_>,
        input: &Value<'v>,
        emit: &mut dyn FnMut(Value<'v>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        match self {
            Self::Each(of, lenient) => of.run(scope, input, &mut |value| value.each(*lenient, &mut *emit)),
            Self::Field(of, name) if !of.is_single() => {
                of.run(scope, input, &mut |value| emit(value.field(name)?))
            }
            Self::Index(of, position) if !of.is_single() => {
                of.run(scope, input, &mut |value| emit(value.index(*position)?))
            }
            Self::Pipe(left, right) => {
                left.run(scope, input, &mut |value| right.run(scope, &value, &mut *emit))
            }
            Self::Alternative(left, right) if !left.is_single() => {
                let mut any = false;
                left.run(scope, input, &mut |value| {
                    if !value.is_true() {
                        return Ok(());
                    }
                    any = true;
                    emit(value)
                })?;
                if any { Ok(()) } else { right.run(scope, input, emit) }
            }
            Self::Alternative(left, right) => {
                let value = left.one(scope, input)?;
                if value.is_true() { emit(value) } else { right.run(scope, input, emit) }
            }
            Self::If(parts) => {
                let [condition, yes, no] = &**parts;
                let chosen = if condition.one(scope, input)?.is_true() { yes } else { no };
                chosen.run(scope, input, emit)
            }
            Self::Call(function) => function.run(scope, input, emit),
            _ => emit(self.one(scope, input)?),
        }
    }

    /// The first value.
    pub(crate) fn first<'v>(
        &'v self,
        scope: PathScope<'v, '_>,
        input: &Value<'v>,
    ) -> Result<Option<Value<'v>>, Stop> {
        let mut first = None;
        let ran = self.run(scope, input, &mut |value| {
            first = Some(value);
            Err(Stop::Enough)
        });
        match ran {
            Ok(()) | Err(Stop::Enough) => Ok(first),
            Err(stop) => Err(stop),
        }
    }
}

/// `left + right`.
fn add<'v>(left: Value<'v>, right: Value<'v>) -> Result<Value<'v>, Stop> {
    /// Every JSON parser reads whole numbers up to here alike.
    const LARGEST: i64 = 999_999_999_999_999;
    if left.is_null() {
        return Ok(right);
    }
    if right.is_null() {
        return Ok(left);
    }
    match (left.view()?, right.view()?) {
        (ValueView::Text(left), ValueView::Text(right)) => {
            let mut text = left.into_owned();
            text.push_str(&right);
            Ok(Value::Text(text.into()))
        }
        (ValueView::Integer(left), ValueView::Integer(right)) => {
            let sum = left + right;
            if sum.abs() <= LARGEST { Ok(Value::Integer(sum)) } else { Err(Stop::Defer) }
        }
        _ => Err(Stop::Defer),
    }
}
