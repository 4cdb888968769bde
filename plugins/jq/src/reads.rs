//! What an expression reads of its input, so that no more of a document needs to be built for it.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Pattern, Term},
    },
    path::{Opt, Part, Path},
};

type T<'s> = Term<&'s str>;

/// The names from the input down to a value.
pub(crate) type Names = Vec<String>;

/// The paths of the input that an expression reads; `None` where it may read all of it.
pub(crate) fn reads(term: &T<'_>) -> Option<Vec<Names>> {
    let mut paths = Vec::new();
    collect(term, &mut paths).map(|()| paths)
}

fn collect(term: &T<'_>, paths: &mut Vec<Names>) -> Option<()> {
    match term {
        Term::Num(_) | Term::Var(_) | Term::Str(_, _) | Term::Arr(_) | Term::Neg(_) => inner(term, paths),
        Term::Obj(members) => members.iter().try_for_each(|(key, value)| {
            // `{a}` is `{a: .a}`.
            let value = value.as_ref()?;
            collect(key, paths)?;
            collect(value, paths)
        }),
        // What is behind a pipe reads what comes out of it.
        Term::BinOp(left, BinaryOp::Pipe(None), _) => collect(left, paths),
        Term::BinOp(
            left,
            BinaryOp::Pipe(Some(Pattern::Var(_)))
            | BinaryOp::Comma
            | BinaryOp::Alt
            | BinaryOp::Or
            | BinaryOp::And
            | BinaryOp::Math(_)
            | BinaryOp::Cmp(_),
            right,
        ) => {
            collect(left, paths)?;
            collect(right, paths)
        }
        // The update reads what has been accumulated.
        Term::Fold(_, values, Pattern::Var(_), bodies) => {
            collect(values, paths)?;
            collect(bodies.first()?, paths)
        }
        // What catches reads the error.
        Term::TryCatch(body, _) => collect(body, paths),
        Term::IfThenElse(branches, Some(otherwise)) => {
            for (test, then) in branches {
                collect(test, paths)?;
                collect(then, paths)?;
            }
            collect(otherwise, paths)
        }
        Term::Call(name, arguments) => match (*name, &**arguments) {
            ("empty" | "null" | "true" | "false" | "now" | "env", []) => Some(()),
            ("first" | "last" | "isempty" | "error", [of]) | ("any" | "all", [of, _]) => collect(of, paths),
            _ => None,
        },
        Term::Path(from, Path(parts)) if matches!(**from, Term::Id) => path(parts, paths),
        Term::Path(from, Path(parts)) => {
            collect(from, paths)?;
            parts.iter().try_for_each(|(part, _)| in_part(part, paths))
        }
        _ => None,
    }
}

/// Terms whose parts read the same input.
fn inner(term: &T<'_>, paths: &mut Vec<Names>) -> Option<()> {
    match term {
        Term::Str(_, parts) => parts.iter().try_for_each(|part| match part {
            StrPart::Term(term) => collect(term, paths),
            _ => Some(()),
        }),
        Term::Arr(Some(of)) | Term::Neg(of) => collect(of, paths),
        _ => Some(()),
    }
}

fn path(parts: &[(Part<T<'_>>, Opt)], paths: &mut Vec<Names>) -> Option<()> {
    let mut names = Names::new();
    let mut rest = parts.iter();
    for (part, opt) in rest.by_ref() {
        let Some(name) = name(part).filter(|_| matches!(opt, Opt::Essential)) else {
            in_part(part, paths)?;
            break;
        };
        names.push(name.to_owned());
    }
    rest.try_for_each(|(part, _)| in_part(part, paths))?;
    paths.push(names);
    Some(())
}

/// The name of `.a` or `["a"]`.
fn name<'s>(part: &Part<T<'s>>) -> Option<&'s str> {
    let Part::Index(Term::Str(None, text)) = part else { return None };
    match &**text {
        [StrPart::Str(name)] => Some(name),
        _ => None,
    }
}

/// What stands between brackets is on the input of the whole path.
fn in_part(part: &Part<T<'_>>, paths: &mut Vec<Names>) -> Option<()> {
    match part {
        Part::Index(index) => collect(index, paths),
        Part::Range(from, to) => from.iter().chain(to).try_for_each(|term| collect(term, paths)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_known_or_all() {
        for (code, expected) in [
            (".a.b | map(.c)", Some(vec!["a.b"])),
            (".a[].b", Some(vec!["a"])),
            (".a[.i].b", Some(vec!["i", "a"])),
            (".a?.b", Some(vec![""])),
            (".a as $x | .b + $x", Some(vec!["a", "b"])),
            ("reduce .a[] as $x (.b; . + $x)", Some(vec!["a", "b"])),
            ("if .a then .b else \"\\(.c)\" end", Some(vec!["a", "b", "c"])),
            ("{a: .b, (.c): 1}", Some(vec!["b", "c"])),
            ("first(.a[] | select(.b)) // .c", Some(vec!["a", "c"])),
            ("[.a, -.b]", Some(vec!["a", "b"])),
            ("try error(.a) catch .b", Some(vec!["a"])),
            (".", None),
            ("if .a then .b end", None),
            ("to_entries", None),
            ("{a}", None),
            ("..", None),
            ("del(.a)", None),
            (".a |= 1", None),
            ("def f: .; f", None),
            (". as {a: $x} | $x", None),
        ] {
            let term = jaq_core::load::parse(code, |parser| parser.term()).unwrap();
            let found: Option<Vec<String>> =
                reads(&term).map(|paths| paths.iter().map(|names| names.join(".")).collect());
            let expected = expected.map(|paths| paths.into_iter().map(String::from).collect());
            assert_eq!(found, expected, "{code}");
        }
    }
}
