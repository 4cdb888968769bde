//! Functions that jaq's standard library defines by chains of comparisons, and that nearly every mapping calls. What
//! they give is the same.

use jaq_core::{
    Cv,
    data::JustLut,
    native::{Fun, bome, run, v},
};
use jaq_json::Val;

/// The functions below, of which none has arguments.
pub(crate) const NAMES: [&str; 10] =
    ["true", "false", "null", "not", "type", "isboolean", "isnumber", "isstring", "isarray", "isobject"];

type Data = JustLut<Val>;

pub(crate) fn functions() -> [Fun<Data>; 10] {
    [
        run(("true", v(0), |_| bome(Ok(Val::Bool(true))))),
        run(("false", v(0), |_| bome(Ok(Val::Bool(false))))),
        run(("null", v(0), |_| bome(Ok(Val::Null)))),
        run(("not", v(0), |(_, value): Cv<'_, Data>| {
            bome(Ok(Val::Bool(matches!(value, Val::Null | Val::Bool(false)))))
        })),
        run(("type", v(0), |(_, value): Cv<'_, Data>| bome(Ok(Val::utf8_str(type_of(&value)))))),
        run(("isboolean", v(0), |cv| bome(Ok(is("boolean", &cv))))),
        run(("isnumber", v(0), |cv| bome(Ok(is("number", &cv))))),
        run(("isstring", v(0), |cv| bome(Ok(is("string", &cv))))),
        run(("isarray", v(0), |cv| bome(Ok(is("array", &cv))))),
        run(("isobject", v(0), |cv| bome(Ok(is("object", &cv))))),
    ]
}

fn is(name: &str, (_, value): &Cv<'_, Data>) -> Val {
    Val::Bool(type_of(value) == name)
}

fn type_of(value: &Val) -> &'static str {
    match value {
        Val::Null => "null",
        Val::Bool(_) => "boolean",
        Val::Num(_) => "number",
        Val::TStr(_) | Val::BStr(_) => "string",
        Val::Arr(_) => "array",
        Val::Obj(_) => "object",
    }
}
