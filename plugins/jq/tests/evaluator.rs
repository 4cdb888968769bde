//! Generated expressions on generated documents: what the evaluator of texts gives is what jaq gives, and libjq.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    env,
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use jq::Mapping;
use serde_json::{Map, Value, json};

/// How many expressions are generated, and how many documents each is evaluated on.
const EXPRESSIONS: usize = 150;
const DOCUMENTS: usize = 40;

/// A generator that gives the same on every run.
struct Generator(u64);

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    /// A text of JSON, with white space and escapes where JSON may have them, and names that stand twice.
    fn json(&mut self, depth: usize, out: &mut String) {
        let scalars = [
            "null",
            "true",
            "false",
            "0",
            "-5",
            "12",
            "1.5",
            "1.0",
            "-0",
            "2.50",
            "1E2",
            "123456789012345678",
            "\"\"",
            "\"x\"",
            "\"a,b,,c\"",
            "\"AbC/d:e\"",
            "\"\\u0061\\n\\\"\"",
            "\"ü🚀\"",
            "\"{[\\\\\"",
            "\"arn:aws:s3:::a b~c!\"",
            "\"Name\"",
        ];
        match if depth == 0 { 0 } else { self.below(4) } {
            0 | 1 => out.push_str(self.pick(&scalars)),
            2 => {
                out.push_str(self.pick(&["[", "[ "]));
                for position in 0..self.below(4) {
                    out.push_str(if position == 0 { "" } else { " ,\n" });
                    self.json(depth - 1, out);
                }
                out.push(']');
            }
            _ => {
                out.push_str(self.pick(&["{", "{ "]));
                for position in 0..self.below(5) {
                    let name = self.pick(&["a", "b", "c", "Key", "Value", "\\u0061", "x y"]);
                    write!(out, "{}\"{name}\" : ", if position == 0 { "" } else { "," }).unwrap();
                    self.json(depth - 1, out);
                }
                out.push('}');
            }
        }
    }

    /// A document as a plugin makes it, more or less.
    fn document(&mut self) -> String {
        let mut out = String::from("{\"Type\":\"T\"");
        for name in ["a", "b", "c", "Tags"] {
            if self.below(5) == 0 {
                continue;
            }
            write!(out, ",\"{name}\":").unwrap();
            if name == "Tags" && self.below(2) == 0 {
                let tags = [
                    "{\"Key\":\"Name\",\"Value\":\"web\"}",
                    "{\"Key\":\"a\",\"Value\":null}",
                    "{\"Value\":\"v\"}",
                ];
                let tags: Vec<&str> = (0..self.below(4)).map(|_| self.pick(&tags)).collect();
                write!(out, "[{}]", tags.join(",")).unwrap();
            } else {
                self.json(3, &mut out);
            }
        }
        out.push('}');
        out
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..=self.below(3) {
            path.push_str(self.pick(&[".a", ".b", ".c", ".Tags", ".Type", ".Key", ".Value", ".\"x y\""]));
        }
        path.push_str(self.pick(&["", "", "", "", "[0]", "[-1]", "[1].a", "[\"a\"]", "[0].Value"]));
        path
    }

    /// An expression, of operators that bind as they may.
    fn expression(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.below(6) {
                0 => self
                    .pick(&["null", "true", "false", "\"x\"", "\"a\\n\\u00fc\"", "0", "12", "[]"])
                    .to_owned(),
                1 => ".".to_owned(),
                _ => self.path(),
            };
        }
        let next = depth - 1;
        match self.below(16) {
            0 => format!("{} | {}", self.expression(next), self.expression(next)),
            1 | 2 => format!("{} // {}", self.expression(next), self.expression(next)),
            3 => format!("{} + {}", self.expression(next), self.expression(next)),
            4 => {
                let operator = self.pick(&["==", "!=", "<", ">="]);
                format!("{} {operator} {}", self.expression(next), self.expression(next))
            }
            5 => {
                let operator = self.pick(&["and", "or"]);
                format!("{} {operator} {}", self.expression(next), self.expression(next))
            }
            6 => format!("({})", self.expression(next)),
            7 => format!("[{}]", self.expression(next)),
            8 => format!("\"<\\({})-\\({})>\"", self.expression(next), self.path()),
            9 => {
                let (test, yes, no) = (self.expression(next), self.expression(next), self.expression(next));
                match self.below(3) {
                    0 => format!("if {test} then {yes} elif {} then 1 else {no} end", self.path()),
                    _ => format!("if {test} then {yes} else {no} end"),
                }
            }
            10 => format!("{} | map({})", self.expression(next), self.expression(next)),
            11 => format!("first({}[]? | select({}))", self.path(), self.expression(next)),
            12 => format!("[{}[] | {}]", self.path(), self.expression(next)),
            13 => format!("{} | if . == null then null else {} end", self.path(), self.expression(next)),
            _ => {
                let function = self.pick(&[
                    "length", "not", "type", "tostring", "ascii_downcase", "ascii_upcase", "any", "all", "unique",
                    "values", "strings", "numbers", "arrays", "objects", "booleans", "nulls", "first", "last",
                    "split(\",\")", "split(\":\") | last", "join(\"-\")", "startswith(\"a\")", "endswith(\"c\")",
                    "ltrimstr(\"a\")", "rtrimstr(\"c\")", "contains(\"b\")", "has(\"a\")", "any(. == \"x\")",
                    "all(. != null)", "empty", "select(. != null and . != \"\")", ".[]", ".[]?", "{a: .}",
                    r#"gsub("(?<c>[^\\p{L}0-9@_.+:\\\\/=-])"; .c | @uri | gsub("%"; "=") | gsub("~"; "=7E"))"#,
                ]);
                format!("{} | {function}", self.expression(next))
            }
        }
    }
}

/// What expressions give on a document: values, nothing (an empty list) or that there is an error, in the order of the
/// expressions.
fn outcomes(mapping: &Mapping, count: usize, document: &str) -> Vec<Value> {
    let output = mapping.evaluate(format!("[{document}]").as_bytes(), 0).unwrap();
    let output: Value = serde_json::from_slice(&output).unwrap();
    let reasons: Map<String, Value> = output["misconfigured"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["field"].as_str().unwrap().to_owned(), one["reason"].clone()))
        .collect();
    let one = |index| match reasons.get(&format!("properties.p{index}")).and_then(Value::as_str) {
        None | Some("gave null") => json!([output["entities"][0]["properties"][format!("p{index}")]]),
        Some("gave nothing") => json!([]),
        // Which error it is, is asked once for each expression.
        Some(_) => json!("an error"),
    };
    (0..count).map(one).collect()
}

fn compile(expressions: &[String]) -> Mapping {
    let properties: Map<String, Value> =
        expressions.iter().enumerate().map(|(index, one)| (format!("p{index}"), json!(one))).collect();
    let mappings = json!({"identifier": "\"i\"", "blueprint": "\"b\"", "properties": properties});
    let mapping = json!({"selector": {"query": "true"}, "port": {"entity": {"mappings": mappings}}});
    Mapping::compile(mapping.to_string().as_bytes()).unwrap()
}

fn generated() -> (Vec<String>, Vec<String>) {
    let mut generator = Generator(7);
    let expressions = (0..EXPRESSIONS).map(|index| generator.expression(index % 4)).collect();
    (expressions, (0..DOCUMENTS).map(|_| generator.document()).collect())
}

/// Equality in which `1` and `1.0` are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn texts_are_evaluated_as_values_are() {
    let (expressions, documents) = generated();
    // What binds the document to a variable reads all of it, and what binds a value is left to jaq.
    let whole: Vec<String> = expressions.iter().map(|one| format!(". as $whole | {one}")).collect();
    let pruned: Vec<String> =
        expressions.iter().map(|one| format!("({one}) | . as $value | $value")).collect();
    let mappings = [&expressions, &whole, &pruned].map(|expressions| compile(expressions));
    let mut told = 0;
    for document in &documents {
        let [here, whole, pruned] =
            mappings.each_ref().map(|mapping| outcomes(mapping, EXPRESSIONS, document));
        for (index, expression) in expressions.iter().enumerate() {
            assert_eq!(here[index], whole[index], "{expression}\n{document}");
            assert_eq!(pruned[index], whole[index], "pruned: {expression}\n{document}");
            told += usize::from(here[index].is_array());
        }
    }
    assert!(told > EXPRESSIONS * DOCUMENTS / 3, "only {told} outcomes are values: the errors prove little");
}

#[test]
fn texts_are_evaluated_as_libjq_does() {
    // Set by the task runner, which installs it.
    let Some(python) = env::var_os("BERTH_TEST_PYTHON") else { return };
    let (expressions, documents) = generated();
    let mut child = Command::new(python)
        .args(["fixtures/record.py", "--evaluate"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Numbers with an exponent, and a negative zero, are known to differ as texts.
    let documents: Vec<String> =
        documents.iter().map(|document| document.replace("1E2", "3.5").replace("-0", "-7")).collect();
    let cases = json!({"expressions": expressions, "documents": documents});
    child.stdin.take().unwrap().write_all(cases.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let libjq: Vec<Vec<Value>> = serde_json::from_slice(&output.stdout).unwrap();
    let mapping = compile(&expressions);
    for (position, document) in documents.iter().enumerate() {
        for (index, here) in outcomes(&mapping, EXPRESSIONS, document).iter().enumerate() {
            let there = &libjq[index][position];
            let alike = (here.is_string() && there.is_string()) || same(here, there);
            // The README tells it: for jaq, an object has no elements, for libjq that is an error.
            let known = there.as_str().is_some_and(|error| error.contains("Cannot index object with number"));
            assert!(alike || known, "{}\n{document}\nhere: {here}\nlibjq: {there}", expressions[index]);
        }
    }
}

#[test]
fn a_property_of_any_text_is_evaluated_without_a_crash() {
    let (expressions, documents) = generated();
    let mapping = compile(&expressions[..30]);
    for document in &documents {
        let whole = format!("[{document}]");
        for end in whole.char_indices().map(|(end, _)| end).step_by(7) {
            // The result of what is no JSON does not count.
            let _ = mapping.evaluate(&whole.as_bytes()[..end], 0);
        }
    }
}
