//! Operators in which jaq and libjq differ, turned into calls of definitions in `prelude.jq`.
//!
//! jaq's own operators cannot be redefined, its functions can: `l % r` becomes `_mod(l; r)`.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Def, Pattern, Term},
    },
    ops::Math,
    path::{Opt, Part, Path},
};

/// What an update such as `.a += 1` adds.
const OPERAND: &str = "$_operand";

type T<'s> = Term<&'s str>;

/// Rewrites an expression.
pub(crate) fn rewrite(term: T<'_>) -> T<'_> {
    match term {
        Term::Str(format, parts) => Term::Str(format, parts.into_iter().map(part).collect()),
        Term::Arr(elements) => Term::Arr(elements.map(|all| rewrite(*all).into())),
        Term::Obj(members) => {
            Term::Obj(members.into_iter().map(|(k, v)| (rewrite(k), v.map(rewrite))).collect())
        }
        Term::Neg(value) => Term::Neg(rewrite(*value).into()),
        Term::BinOp(l, op, r) => operation(rewrite(*l), op, rewrite(*r)),
        Term::Label(name, body) => Term::Label(name, rewrite(*body).into()),
        Term::Fold(name, values, pattern, bodies) => Term::Fold(
            name,
            rewrite(*values).into(),
            in_pattern(pattern),
            bodies.into_iter().map(rewrite).collect(),
        ),
        Term::TryCatch(body, catch) => {
            Term::TryCatch(rewrite(*body).into(), catch.map(|term| rewrite(*term).into()))
        }
        Term::IfThenElse(branches, otherwise) => Term::IfThenElse(
            branches.into_iter().map(|(test, then)| (rewrite(test), rewrite(then))).collect(),
            otherwise.map(|term| rewrite(*term).into()),
        ),
        Term::Def(definitions, body) => Term::Def(
            definitions.into_iter().map(|def| Def { body: rewrite(def.body), ..def }).collect(),
            rewrite(*body).into(),
        ),
        Term::Call(name, arguments) => Term::Call(name, arguments.into_iter().map(rewrite).collect()),
        Term::Path(from, Path(parts)) => path(rewrite(*from), parts),
        other @ (Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_)) => other,
    }
}

fn part<'s>(part: StrPart<&'s str, T<'s>>) -> StrPart<&'s str, T<'s>> {
    match part {
        StrPart::Term(term) => StrPart::Term(rewrite(term)),
        other => other,
    }
}

fn in_pattern(pattern: Pattern<&str>) -> Pattern<&str> {
    match pattern {
        Pattern::Arr(elements) => Pattern::Arr(elements.into_iter().map(in_pattern).collect()),
        Pattern::Obj(members) => Pattern::Obj(
            members.into_iter().map(|(key, member)| (rewrite(key), in_pattern(member))).collect(),
        ),
        variable @ Pattern::Var(_) => variable,
    }
}

fn operation<'s>(l: T<'s>, op: BinaryOp<&'s str>, r: T<'s>) -> T<'s> {
    let call = |name, l, r| Term::Call(name, vec![l, r]);
    match op {
        BinaryOp::Math(Math::Mul) => call("_mul", l, r),
        BinaryOp::Math(Math::Div) => call("_div", l, r),
        BinaryOp::Math(Math::Rem) => call("_mod", l, r),
        BinaryOp::Assign => call("_assign", l, r),
        BinaryOp::Update => call("_modify", l, r),
        BinaryOp::UpdateMath(math) => update(l, BinaryOp::Math(math), r),
        BinaryOp::UpdateAlt => update(l, BinaryOp::Alt, r),
        BinaryOp::Pipe(pattern) => Term::BinOp(l.into(), BinaryOp::Pipe(pattern.map(in_pattern)), r.into()),
        other => Term::BinOp(l.into(), other, r.into()),
    }
}

/// `l op= r` is `r as $x | l |= . op $x`.
fn update<'s>(l: T<'s>, op: BinaryOp<&'s str>, r: T<'s>) -> T<'s> {
    let new = operation(Term::Id, op, Term::Var(OPERAND));
    let modify = Term::Call("_modify", vec![l, new]);
    Term::BinOp(r.into(), BinaryOp::Pipe(Some(Pattern::Var(OPERAND))), modify.into())
}

/// A slice of null is null. Only where all that is between brackets is constant: anything else is
/// meant on the input of the whole path, and must not be moved behind a pipe.
fn path<'s>(from: T<'s>, parts: Vec<(Part<T<'s>>, Opt)>) -> T<'s> {
    let parts = parts.into_iter().map(|(part, opt)| match part {
        Part::Index(index) => (Part::Index(rewrite(index)), opt),
        Part::Range(start, end) => (Part::Range(start.map(rewrite), end.map(rewrite)), opt),
    });
    let parts: Vec<_> = parts.collect();
    let constant = parts.iter().all(|(part, _)| match part {
        Part::Index(index) => is_constant(index),
        Part::Range(start, end) => start.iter().chain(end).all(is_constant),
    });
    if !constant {
        return joined(from, parts);
    }
    let mut term = from;
    let mut before = Vec::new();
    for (part, opt) in parts {
        if matches!(part, Part::Range(Some(_), _) | Part::Range(_, Some(_))) {
            let slice = Term::Path(Term::Id.into(), Path(vec![(part, opt)]));
            let whole = joined(term, std::mem::take(&mut before));
            let pipe = BinaryOp::Pipe(None);
            term = Term::BinOp(whole.into(), pipe, Term::Call("_slice", vec![slice]).into());
        } else {
            before.push((part, opt));
        }
    }
    joined(term, before)
}

fn joined<'s>(from: T<'s>, parts: Vec<(Part<T<'s>>, Opt)>) -> T<'s> {
    if parts.is_empty() { from } else { Term::Path(from.into(), Path(parts)) }
}

fn is_constant(term: &T<'_>) -> bool {
    match term {
        Term::Num(_) | Term::Var(_) => true,
        Term::Neg(value) => is_constant(value),
        Term::Str(None, parts) => !parts.iter().any(|part| matches!(part, StrPart::Term(_))),
        Term::Call(name, arguments) => *name == "null" && arguments.is_empty(),
        _ => false,
    }
}
