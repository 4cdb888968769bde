//! How an operation's answers continue.

use serde::Deserialize;
use serde_json::Value;

/// The pagination of an operation, as botocore's `paginators-1.json` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    /// Input members that carry the tokens, in step with `output_tokens`.
    pub input_tokens: Vec<String>,
    /// Where the tokens are in an answer: `Marker`, `A.B`, `Jobs[-1].Id`, or alternatives joined by
    /// `||`.
    pub output_tokens: Vec<String>,
    /// Where an answer says whether there are more pages, if it says so apart from the tokens.
    pub more_results: Option<String>,
    /// Where the items are in an answer; the first is the main one.
    pub result_keys: Vec<String>,
    /// The input member that bounds the size of a page.
    pub limit_key: Option<String>,
}

/// The service answered with the token that it was asked with: following it would never end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the same page token came back twice (`{token}`)")]
pub struct PaginationError {
    /// The input member that carries the token.
    pub token: String,
}

impl Pagination {
    /// Turns the input of a request into the input for the next page, after `output` was the
    /// answer. Returns `false`, and leaves the input alone, when that was the last page.
    ///
    /// # Errors
    /// [`PaginationError`] when the tokens are those of the request that `output` answers.
    pub fn advance(&self, output: &Value, input: &mut Value) -> Result<bool, PaginationError> {
        if self.more_results.as_deref().is_some_and(|path| !truthy(select(output, path))) {
            return Ok(false);
        }
        let tokens: Vec<Option<&Value>> = self
            .output_tokens
            .iter()
            .map(|path| select(output, path).filter(|token| truthy(Some(token))))
            .collect();
        if tokens.iter().all(Option::is_none) {
            return Ok(false);
        }
        let pairs = || self.input_tokens.iter().zip(&tokens);
        if pairs().all(|(name, token)| input.get(name) == *token) {
            return Err(PaginationError { token: self.input_tokens.join(", ") });
        }
        if !input.is_object() {
            *input = Value::Object(serde_json::Map::new());
        }
        if let Some(input) = input.as_object_mut() {
            for (name, token) in pairs() {
                match token {
                    Some(token) => {
                        input.insert(name.clone(), (*token).clone());
                    }
                    None => {
                        input.shift_remove(name);
                    }
                }
            }
        }
        Ok(true)
    }

    /// The places in an answer that [`advance`](Self::advance) looks at.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &str> {
        let expressions = self.output_tokens.iter().chain(&self.more_results);
        expressions.flat_map(|expression| expression.split("||")).map(str::trim)
    }
}

/// What is true in JMESPath, and not zero: botocore takes an empty or zero token for none.
fn truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
    }
}

/// The part of JMESPath that the pagination models use: names joined by dots, `[-1]` for the last
/// element, and alternatives joined by `||`.
fn select<'v>(value: &'v Value, expression: &str) -> Option<&'v Value> {
    expression.split("||").map(|path| walk(value, path.trim())).find(|found| truthy(*found)).flatten()
}

fn walk<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| match name.strip_suffix("[-1]") {
        Some(name) => value.get(name)?.as_array()?.last(),
        None => value.get(name),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pagination(more: Option<&str>, input: &[&str], output: &[&str]) -> Pagination {
        let own = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Pagination {
            input_tokens: own(input),
            output_tokens: own(output),
            more_results: more.map(ToOwned::to_owned),
            result_keys: vec!["Items".into()],
            limit_key: None,
        }
    }

    #[track_caller]
    fn check(pagination: &Pagination, output: &Value, mut input: Value, expected: Option<&Value>) {
        let more = pagination.advance(output, &mut input).unwrap();
        assert_eq!(more.then_some(&input), expected);
    }

    #[test]
    fn tokens_move_from_answer_to_request() {
        let plain = pagination(None, &["NextToken"], &["NextToken"]);
        check(
            &plain,
            &json!({"NextToken": "b"}),
            json!({"Max": 5}),
            Some(&json!({"Max": 5, "NextToken": "b"})),
        );
        check(&plain, &json!({"NextToken": ""}), json!({}), None);
        check(&plain, &json!({}), json!({}), None);
        check(&plain, &json!({"NextToken": "b"}), Value::Null, Some(&json!({"NextToken": "b"})));

        let more = pagination(Some("List.More"), &["Marker"], &["List.Next"]);
        check(&more, &json!({"List": {"More": false, "Next": "b"}}), json!({}), None);
        check(&more, &json!({"List": {"More": true, "Next": "b"}}), json!({}), Some(&json!({"Marker": "b"})));

        let s3 = pagination(None, &["Marker"], &["NextMarker || Contents[-1].Key"]);
        let contents = json!({"Contents": [{"Key": "a"}, {"Key": "b"}]});
        check(&s3, &contents, json!({}), Some(&json!({"Marker": "b"})));
        check(&s3, &json!({"Contents": []}), json!({}), None);

        let two = pagination(None, &["Name", "Type"], &["NextName", "NextType"]);
        check(
            &two,
            &json!({"NextName": "b"}),
            json!({"Name": "a", "Type": "A"}),
            Some(&json!({"Name": "b"})),
        );
    }

    #[test]
    fn a_token_that_repeats_is_an_error() {
        let plain = pagination(None, &["NextToken"], &["NextToken"]);
        let error = plain.advance(&json!({"NextToken": "a"}), &mut json!({"NextToken": "a"})).unwrap_err();
        assert_eq!(error.token, "NextToken");
    }
}
