//! The grammar of AIP-160. What fields and literals mean is not known here.

use winnow::{
    ModalResult, Parser,
    combinator::{alt, eof, not, opt, peek, repeat},
    error::{ContextError, ErrMode, StrContext, StrContextValue},
    stream::{LocatingSlice, Location},
    token::{any, none_of, take_while},
};

use super::{Error, MAX_DEPTH};

type Input<'a> = LocatingSlice<&'a str>;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    /// A value without a field: only as a part of an argument in parentheses, or in error.
    Bare(Literal),
    Restriction(Restriction),
}

/// `field operator argument`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Restriction {
    /// Where it begins.
    pub(super) at: usize,
    /// The field's name, taken apart at its dots.
    pub(super) path: Vec<String>,
    pub(super) operator: Operator,
    pub(super) argument: Literal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Has,
}

impl Operator {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Has => ":",
        }
    }
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    /// Where it begins.
    pub(super) at: usize,
    /// The text between its wildcards: one piece if it has none.
    pub(super) pieces: Vec<String>,
    pub(super) is_quoted: bool,
}

impl Literal {
    /// As it was written, but for quotes and escapes.
    pub(super) fn text(&self) -> String {
        self.pieces.join("*")
    }

    /// Whether it is `*` alone.
    pub(super) fn is_any(&self) -> bool {
        !self.is_quoted && self.pieces.len() == 2 && self.pieces.iter().all(String::is_empty)
    }
}

/// `None` if there is nothing but white space.
pub(super) fn filter(text: &str) -> Result<Option<Tree>, Error> {
    check_depth(text)?;
    whole.parse(LocatingSlice::new(text)).map_err(|error| {
        let expected = error.inner().context().find_map(|context| match context {
            StrContext::Expected(value) => Some(value.to_string()),
            _ => None,
        });
        let expected = expected.unwrap_or_else(|| "the filter to end".to_owned());
        Error::Syntax { at: error.offset(), expected }
    })
}

/// Parentheses are the only thing that the parser recurses for.
fn check_depth(text: &str) -> Result<(), Error> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut is_escaped = false;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), char) if open == char => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '(') if depth == MAX_DEPTH => return Err(Error::TooDeep { at }),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    Ok(())
}

fn whole(input: &mut Input<'_>) -> ModalResult<Option<Tree>> {
    space(input)?;
    if opt(peek(eof)).parse_next(input)?.is_some() {
        return Ok(None);
    }
    let tree = expression(input)?;
    if opt(peek(eof)).parse_next(input)?.is_none() {
        return expected("`AND`, `OR` or the filter's end");
    }
    Ok(Some(tree))
}

/// Factors with `AND`, or only a space, in between.
fn expression(input: &mut Input<'_>) -> ModalResult<Tree> {
    let mut trees = vec![factor(input)?];
    loop {
        space(input)?;
        let has_and = opt(keyword("AND")).parse_next(input)?.is_some();
        if !has_and && opt(peek(alt((eof.void(), ')'.void())))).parse_next(input)?.is_some() {
            return Ok(one_or(trees, Tree::And));
        }
        space(input)?;
        trees.push(factor(input)?);
    }
}

fn factor(input: &mut Input<'_>) -> ModalResult<Tree> {
    let mut trees = vec![term(input)?];
    while opt((space, keyword("OR"))).parse_next(input)?.is_some() {
        space(input)?;
        trees.push(term(input)?);
    }
    Ok(one_or(trees, Tree::Or))
}

fn one_or(mut trees: Vec<Tree>, many: fn(Vec<Tree>) -> Tree) -> Tree {
    match trees.pop() {
        Some(only) if trees.is_empty() => only,
        Some(last) => {
            trees.push(last);
            many(trees)
        }
        None => many(trees),
    }
}

fn term(input: &mut Input<'_>) -> ModalResult<Tree> {
    let is_negated = opt(alt((keyword("NOT"), '-'.void()))).parse_next(input)?.is_some();
    if is_negated {
        space(input)?;
    }
    let simple = match opt('(').parse_next(input)? {
        Some(_) => composite(input)?,
        None => restriction(input)?,
    };
    Ok(if is_negated { Tree::Not(Box::new(simple)) } else { simple })
}

/// What follows an opening parenthesis.
fn composite(input: &mut Input<'_>) -> ModalResult<Tree> {
    space(input)?;
    let tree = expression(input)?;
    match opt(')').parse_next(input)? {
        Some(_) => Ok(tree),
        None => expected("`AND`, `OR` or `)`"),
    }
}

fn restriction(input: &mut Input<'_>) -> ModalResult<Tree> {
    let at = input.current_token_start();
    let path = member(input)?;
    if opt(peek('(')).parse_next(input)?.is_some() {
        return expected("an operator: functions are not supported");
    }
    let Some(operator) = opt((space, operator)).parse_next(input)?.map(|(_, operator)| operator)
    else {
        return Ok(Tree::Bare(bare(path, at)));
    };
    space(input)?;
    let path: Vec<String> = path.into_iter().map(|part| part.text()).collect();
    if opt('(').parse_next(input)?.is_some() {
        let argument = composite(input)?;
        return distribute(argument, at, &path, operator);
    }
    let Some(argument) = literal(is_argument_char).parse_next(input)? else {
        return expected("a value");
    };
    if opt(peek('(')).parse_next(input)?.is_some() {
        return expected("a value: functions are not supported");
    }
    Ok(Tree::Restriction(Restriction { at, path, operator, argument }))
}

fn bare(mut path: Vec<Literal>, at: usize) -> Literal {
    if path.len() == 1 {
        return path.remove(0);
    }
    let text = path.iter().map(Literal::text).collect::<Vec<_>>().join(".");
    Literal { at, pieces: text.split('*').map(str::to_owned).collect(), is_quoted: false }
}

/// `field:(a OR b)` is `field:a OR field:b`.
fn distribute(argument: Tree, at: usize, path: &[String], operator: Operator) -> ModalResult<Tree> {
    let all = |trees: Vec<Tree>| -> ModalResult<Vec<Tree>> {
        trees.into_iter().map(|tree| distribute(tree, at, path, operator)).collect()
    };
    match argument {
        Tree::And(trees) => Ok(Tree::And(all(trees)?)),
        Tree::Or(trees) => Ok(Tree::Or(all(trees)?)),
        Tree::Not(tree) => Ok(Tree::Not(Box::new(distribute(*tree, at, path, operator)?))),
        Tree::Bare(argument) => {
            Ok(Tree::Restriction(Restriction { at, path: path.to_vec(), operator, argument }))
        }
        Tree::Restriction(_) => expected("plain values within the parentheses before"),
    }
}

/// A field's name: values with dots in between.
fn member(input: &mut Input<'_>) -> ModalResult<Vec<Literal>> {
    let mut reserved = opt(peek(alt((keyword("AND"), keyword("OR"), keyword("NOT")))));
    if reserved.parse_next(input)?.is_some() {
        return expected("a condition");
    }
    let Some(first) = literal(is_field_char).parse_next(input)? else {
        return expected("a condition");
    };
    let mut path = vec![first];
    while opt('.').parse_next(input)?.is_some() {
        match literal(is_field_char).parse_next(input)? {
            Some(part) => path.push(part),
            None => return expected("the name of a field"),
        }
    }
    Ok(path)
}

fn operator(input: &mut Input<'_>) -> ModalResult<Operator> {
    alt((
        "<=".value(Operator::LessOrEqual),
        ">=".value(Operator::GreaterOrEqual),
        "!=".value(Operator::NotEqual),
        '<'.value(Operator::Less),
        '>'.value(Operator::Greater),
        '='.value(Operator::Equal),
        ':'.value(Operator::Has),
    ))
    .parse_next(input)
}

/// A quoted text, or as many characters as are legal without quotes; `None` if there are none.
fn literal<'a>(
    is_legal: fn(char) -> bool,
) -> impl Parser<Input<'a>, Option<Literal>, ErrMode<ContextError>> {
    move |input: &mut Input<'a>| {
        let at = input.current_token_start();
        if let Some(quote) = opt(alt(('"', '\''))).parse_next(input)? {
            let pieces = quoted(quote, input)?;
            return Ok(Some(Literal { at, pieces, is_quoted: true }));
        }
        let text: &str = take_while(0.., is_legal).parse_next(input)?;
        let pieces = text.split('*').map(str::to_owned).collect();
        Ok((!text.is_empty()).then_some(Literal { at, pieces, is_quoted: false }))
    }
}

/// What follows an opening quote. After a backslash each character stands for itself.
fn quoted(quote: char, input: &mut Input<'_>) -> ModalResult<Vec<String>> {
    let escaped = ('\\', any).map(|(_, char)| (char, true));
    let plain = none_of(['\\', quote]).map(|char| (char, false));
    let chars: Vec<(char, bool)> = repeat(0.., alt((escaped, plain))).parse_next(input)?;
    if opt(quote).parse_next(input)?.is_none() {
        return expected("a closing quote");
    }
    let mut pieces = vec![String::new()];
    for (char, is_escaped) in chars {
        match pieces.last_mut() {
            Some(piece) if char != '*' || is_escaped => piece.push(char),
            _ => pieces.push(String::new()),
        }
    }
    Ok(pieces)
}

fn is_field_char(char: char) -> bool {
    is_argument_char(char) && !matches!(char, ':' | '.')
}

fn is_argument_char(char: char) -> bool {
    let is_special = matches!(char, '(' | ')' | '"' | '\'' | ',' | '=' | '<' | '>' | '!' | '\\');
    !char.is_whitespace() && !char.is_control() && !is_special
}

fn keyword<'a>(word: &'static str) -> impl Parser<Input<'a>, (), ErrMode<ContextError>> {
    (word, not(any.verify(|char: &char| is_argument_char(*char) || is_operator_char(*char)))).void()
}

fn is_operator_char(char: char) -> bool {
    matches!(char, '=' | '<' | '>' | '!' | ':' | '.')
}

fn space(input: &mut Input<'_>) -> ModalResult<()> {
    take_while(0.., char::is_whitespace).void().parse_next(input)
}

fn expected<T>(what: &'static str) -> ModalResult<T> {
    let mut error = ContextError::new();
    error.push(StrContext::Expected(StrContextValue::Description(what)));
    Err(ErrMode::Cut(error))
}
