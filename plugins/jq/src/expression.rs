//! One JQ expression.

use std::cell::{Cell, OnceCell, RefCell};

use berth_mapping::EvaluationResult;
use jaq_core::{
    Compiler, Ctx, Exn, Vars,
    data::JustLut,
    load::{self, Arena, File, Loader, parse::Def},
    native::{bome, run, v},
};
use jaq_json::Val;

use crate::{
    document::{Document, Output, Paths},
    fromjson, natives,
    reads::{Names, reads},
    regex,
    rewrite::rewrite,
};

/// Definitions in which jaq and libjq differ, as libjq has them.
const PRELUDE: &str = include_str!("prelude.jq");

/// The definition whose body the expression is.
const MAIN: &str = "_main";

/// A compiled expression.
pub(crate) struct Expression {
    /// It as a form that is evaluated on the document's text, if it has one.
    fast: Option<berth_mapping::Expression>,
    /// What is asked where there is no such form, or where it does not know what JQ gives.
    whole: OnceCell<Result<Whole, String>>,
    /// Its first error in a batch, with the batch: errors are known without asking what gives their texts.
    failed: RefCell<Option<(u64, String)>>,
    /// Whether each error is wanted with its own text.
    reports_each_error: bool,
    /// In the form that is compiled.
    code: String,
    /// Whether it reads no more of a document than was named beforehand.
    is_pruned: bool,
}

/// An expression that is evaluated on values.
enum Whole {
    /// A plain path, `.Properties.State.Name`, looked up much faster than the interpreter can.
    Path(Vec<Val>),
    /// Anything else.
    Filter(Box<Filter>),
}

type Filter = jaq_core::Filter<JustLut<Val>>;

thread_local! {
    /// The batch that is evaluated.
    static BATCH: Cell<u64> = const { Cell::new(0) };
    /// What `now` gives, in milliseconds since 1970. A guest has no clock.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// What `env` and `$ENV` give: the variables that the host was told to show, most often none.
    static ENVIRONMENT: RefCell<Val> = const { RefCell::new(Val::Null) };
}

/// Begins a batch: sets what `now`, `env` and `$ENV` give.
pub(crate) fn begin_batch(now: u64, environment: Val) {
    BATCH.set(BATCH.get().wrapping_add(1));
    NOW.set(now);
    ENVIRONMENT.set(environment);
}

fn environment() -> Val {
    ENVIRONMENT.with_borrow(Val::clone)
}

impl Expression {
    /// Compiles an expression. What it reads of a document is added to the paths.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn compile(text: &str, paths: &mut Paths) -> Result<Self, String> {
        let code = joined_surrogates(&double_quotes(text));
        let parsed = berth_mapping::Expression::parse(&code);
        let fast = parsed.map(|parsed| paths.place(parsed)).transpose()?;
        let whole = OnceCell::new();
        let mut is_pruned = false;
        if fast.is_none() {
            let (filter, reads) = compile(&code)?;
            is_pruned = reads.is_some();
            reads.iter().flatten().for_each(|path| paths.keep(path));
            if reads.is_none() {
                paths.keep_all();
            }
            // It was empty.
            let _ = whole.set(Ok(Whole::Filter(filter)));
        }
        Ok(Self { fast, whole, failed: RefCell::default(), reports_each_error: false, code, is_pruned })
    }

    /// The expression, with the text of each of its errors instead of the first one of a batch.
    pub(crate) fn reporting_each_error(self) -> Self {
        Self { reports_each_error: true, ..self }
    }

    /// The first output on a document; none when there is no output.
    ///
    /// # Errors
    /// What the expression raised.
    pub(crate) fn evaluate<'v>(&'v self, document: &Document<'v, '_>) -> Result<Option<Output<'v>>, String> {
        let mut has_failed = false;
        if let Some(fast) = &self.fast {
            match fast.evaluate(document.found) {
                EvaluationResult::Value(value) => return Ok(Some(Output::Text(value))),
                EvaluationResult::Nothing => return Ok(None),
                EvaluationResult::Failed => match &*self.failed.borrow() {
                    Some((batch, reason)) if *batch == BATCH.get() && !self.reports_each_error => {
                        return Err(reason.clone());
                    }
                    _ => has_failed = true,
                },
                EvaluationResult::Deferred => {}
            }
        }
        let value = if self.is_pruned { document.pruned() } else { document.whole() };
        let output = self.evaluate_on(value);
        if let (true, Err(reason)) = (has_failed, &output) {
            self.failed.replace(Some((BATCH.get(), reason.clone())));
        }
        Ok(output?.map(Output::Value))
    }

    /// The same on a value.
    ///
    /// # Errors
    /// What the expression raised.
    pub(crate) fn evaluate_on(&self, input: &Val) -> Result<Option<Val>, String> {
        let compiled = self.whole.get_or_init(|| match plain_path(&self.code) {
            Some(path) => Ok(Whole::Path(path)),
            None => compile(&self.code).map(|(filter, _)| Whole::Filter(filter)),
        });
        match compiled {
            Ok(Whole::Path(path)) => look_up(path, input).map(Some),
            Ok(Whole::Filter(filter)) => {
                let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([environment()]));
                match filter.id.run((context, input.clone())).next() {
                    None => Ok(None),
                    Some(Ok(value)) => Ok(Some(value)),
                    Some(Err(exception)) => Err(raised(exception)),
                }
            }
            Err(reason) => Err(reason.clone()),
        }
    }
}

/// Compiles an expression for jaq, and tells what it reads of its input, if not all.
fn compile(code: &str) -> Result<(Box<Filter>, Option<Vec<Names>>), String> {
    let arena = Arena::default();
    let prelude = load::parse(PRELUDE, |parser| parser.defs()).unwrap_or_default();
    let is_native = |def: &Def<&str>| def.args.is_empty() && natives::NAMES.contains(&def.name);
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(prelude);
    let definitions = definitions.filter(|def| !is_native(def));
    let load = |definitions: Vec<Def<_>>, code| {
        Loader::new(definitions)
            .load(&arena, File { code, path: () })
            .map_err(|errors| first(errors.iter().map(|(_, error)| load_error(error))))
    };
    let mut read = None;
    let modules = match load::parse(code, |parser| parser.term()) {
        Some(term) => {
            read = reads(&term);
            let main = Def { name: MAIN, args: Vec::new(), body: rewrite(term) };
            #[expect(clippy::map_identity, reason = "the names in an expression live shorter")]
            let definitions = definitions.map(|definition| -> Def<&str> { definition });
            load(definitions.chain([main]).collect(), MAIN)?
        }
        // Loading it tells what is wrong with it.
        None => load(Vec::new(), code)?,
    };
    // What would reach out of the sandbox is replaced: the host gives environment and time.
    // Regular expressions are those of libjq, which knows more than jaq's.
    let functions = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, ..)| !["env", "now"].contains(name) && !regex::NAMES.contains(name))
        .chain(regex::functions())
        .chain(fromjson::functions())
        .chain(natives::functions())
        .chain([
            run(("env", v(0), |_| bome(Ok(environment())))),
            run(("now", v(0), |_| {
                #[expect(clippy::cast_precision_loss, reason = "exact for the next 280 000 years")]
                bome(Ok(Val::from(NOW.get() as f64 / 1000.0)))
            })),
        ]);
    let filter =
        Compiler::default().with_funs(functions).with_global_vars(["$ENV"]).compile(modules).map_err(
            |errors| {
                first(
                    errors.iter().flat_map(|(_, errors)| errors).map(|(name, undefined)| {
                        format!("the {} `{name}` is not defined", undefined.as_str())
                    }),
                )
            },
        )?;
    Ok((Box::new(filter), read))
}

fn raised(exception: Exn<'_, Val>) -> String {
    match exception.get_err() {
        Ok(error) => match error.into_val() {
            Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
            other => other.to_string(),
        },
        Err(_) => "it halted".into(),
    }
}

/// A single quote at a word's edge is meant as a double quote: `'ec2Instance'` is a string.
fn double_quotes(text: &str) -> String {
    let mut before = None;
    let mut rest = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = rest.next() {
        let at_edge = |neighbour: Option<&char>| neighbour.is_none_or(|c| c.is_whitespace());
        let quote = c == '\'' && (at_edge(before.as_ref()) || at_edge(rest.peek()));
        out.push(if quote { '"' } else { c });
        before = Some(c);
    }
    out
}

/// A character that is written as two halves (`\ud83d\ude80`) in place of them: jaq reads only whole
/// ones.
fn joined_surrogates(code: &str) -> String {
    let half = |text: &str, range: std::ops::RangeInclusive<u32>| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok().filter(|half| range.contains(half))
    };
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let high = half(rest, 0xd800..=0xdbff);
        let low = high.and_then(|_| half(&rest[6..], 0xdc00..=0xdfff));
        let whole = high
            .zip(low)
            .and_then(|(high, low)| char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
        let escaped = rest.chars().take(2).map(char::len_utf8).sum();
        let (text, length) = match whole {
            Some(whole) => (whole.to_string(), 12),
            None => (rest[..escaped].to_owned(), escaped),
        };
        out.push_str(&text);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// The keys of `.a.b.c`, if an expression is nothing else.
fn plain_path(code: &str) -> Option<Vec<Val>> {
    let name = |name: &str| {
        let mut bytes = name.bytes();
        let plain = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
        plain.then(|| Val::utf8_str(name.to_owned()))
    };
    code.trim_ascii().strip_prefix('.')?.split('.').map(name).collect()
}

fn look_up(path: &[Val], input: &Val) -> Result<Val, String> {
    let mut value = input;
    for key in path {
        match value {
            Val::Obj(members) => match members.get(key) {
                Some(member) => value = member,
                None => return Ok(Val::Null),
            },
            Val::Null => return Ok(Val::Null),
            other => return Err(format!("cannot index {other} with {key}")),
        }
    }
    Ok(value.clone())
}

fn first(mut errors: impl Iterator<Item = String>) -> String {
    errors.next().unwrap_or_else(|| "it cannot be compiled".into())
}

fn load_error(error: &load::Error<&str>) -> String {
    let found = |text: &str| match text.lines().next() {
        None | Some("") => "the end".to_owned(),
        Some(line) => format!("`{line}`"),
    };
    match error {
        load::Error::Io(errors) => first(errors.iter().map(|(path, error)| format!("{path}: {error}"))),
        load::Error::Lex(errors) => first(
            errors.iter().map(|(expected, at)| format!("expected a {} at {}", expected.as_str(), found(at))),
        ),
        load::Error::Parse(errors) => first(
            errors.iter().map(|(expected, at)| format!("expected {} at {}", expected.as_str(), found(at))),
        ),
    }
}
