//! The pagination of an operation's responses.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The pagination of an operation, as botocore's `paginators-1.json` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    /// Input members for the tokens, in the order of `output_tokens`.
    pub input_tokens: Vec<String>,
    /// The paths of the tokens in a response: `Marker`, `A.B`, `Jobs[-1].Id`, or alternatives joined by
    /// `||`.
    pub output_tokens: Vec<String>,
    /// The path of the flag that reports further pages, if there is one.
    pub more_results: Option<String>,
    /// The paths of the items in a response; the first is the main one.
    pub result_keys: Vec<String>,
    /// The input member that limits the page size.
    pub limit_key: Option<String>,
}

/// Why a list's pages cannot be followed: they would never end, or would end too early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaginationError {
    /// The service returned a token that it had already returned in the same list.
    #[error("the page token `{token}` repeats, so the pages of this list never end")]
    Repeated {
        /// The input member for the token.
        token: String,
    },
    /// The service reports further pages, but returned no token.
    #[error("the response reports further pages (`{flag}`), but has no token for them")]
    NoToken {
        /// The member that reports them.
        flag: String,
    },
    /// The response has a token, but the model does not describe its use.
    #[error(
        "the response has a `{token}`, so there are further pages, but the model does not describe how to request them"
    )]
    UnknownToken {
        /// The token's member.
        token: &'static str,
    },
    /// The list has more pages than the limit.
    #[error("the list has more than {limit} pages; raise `max_pages_per_list` if this length is expected")]
    TooManyPages {
        /// The maximum number of pages.
        limit: u32,
    },
}

/// Follows the pages of one list, and rejects a list that does not end.
#[derive(Debug)]
pub struct PageCursor {
    limit: u32,
    pages: u32,
    /// Digests of the tokens so far.
    seen: HashSet<[u8; 16]>,
}

impl PageCursor {
    /// Creates a cursor at the start of a list with at most `limit` pages.
    pub fn new(limit: u32) -> Self {
        Self { limit: limit.max(1), pages: 1, seen: HashSet::new() }
    }

    /// Prepares the next page after a response, by the pagination of its operation. Without pagination, the
    /// response must be the whole list.
    pub(crate) fn next_page(
        &mut self,
        pagination: Option<&Pagination>,
        output: &Value,
        input: &mut Value,
    ) -> Result<bool, PaginationError> {
        match pagination {
            Some(pagination) => self.follow(pagination, output, input),
            None => whole(output).map(|()| false),
        }
    }

    fn follow(
        &mut self,
        pagination: &Pagination,
        output: &Value,
        input: &mut Value,
    ) -> Result<bool, PaginationError> {
        // The token of the first request, if there was one, counts as seen.
        self.remember(pagination, input);
        if !pagination.advance(output, input)? {
            return Ok(false);
        }
        if !self.remember(pagination, input) {
            return Err(PaginationError::Repeated { token: pagination.input_tokens.join(", ") });
        }
        if self.pages >= self.limit {
            return Err(PaginationError::TooManyPages { limit: self.limit });
        }
        self.pages += 1;
        Ok(true)
    }

    /// Records the tokens of an input; returns `false` if they were seen before.
    fn remember(&mut self, pagination: &Pagination, input: &Value) -> bool {
        let tokens: Vec<Option<&Value>> =
            pagination.input_tokens.iter().map(|name| input.get(name)).collect();
        if tokens.iter().all(Option::is_none) {
            return true;
        }
        let digest = Sha256::digest(serde_json::json!(tokens).to_string());
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        self.seen.insert(key)
    }
}

impl Pagination {
    /// Turns the input of a request into the input for the next page, after the response `output`. Returns
    /// `false`, and keeps the input unchanged, if that was the last page.
    ///
    /// Looks at one page only: [`PageCursor`] also detects cycles and limits the pages.
    ///
    /// # Errors
    /// [`PaginationError`] if the tokens equal those of the request for `output`, or if the response
    /// reports further pages and has no token.
    pub fn advance(&self, output: &Value, input: &mut Value) -> Result<bool, PaginationError> {
        let more = self.more_results.as_deref();
        if more.is_some_and(|path| !truthy(select(output, path))) {
            return Ok(false);
        }
        let tokens: Vec<Option<&Value>> = self
            .output_tokens
            .iter()
            .map(|path| select(output, path).filter(|token| truthy(Some(token))))
            .collect();
        if tokens.iter().all(Option::is_none) {
            return match more.or_else(|| says_more(output)) {
                Some(flag) => Err(PaginationError::NoToken { flag: flag.to_owned() }),
                None => Ok(false),
            };
        }
        let pairs = || self.input_tokens.iter().zip(&tokens);
        if pairs().all(|(name, token)| input.get(name) == *token) {
            return Err(PaginationError::Repeated { token: self.input_tokens.join(", ") });
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

    /// Returns the places in a response that [`advance`](Self::advance) reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &str> {
        let expressions = self.output_tokens.iter().chain(&self.more_results);
        expressions.flat_map(|expression| expression.split("||")).map(str::trim)
    }
}

/// Members that are page tokens, even if the model does not declare them as such.
const TOKENS: [&str; 4] = ["NextToken", "nextToken", "NextMarker", "nextMarker"];

/// Returns whether the value at this place (`Name`, or `Name.Member`) may report further items.
pub(crate) fn says_more_at(place: &str) -> bool {
    let (within, name) = place.split_once('.').unwrap_or(("", place));
    (within.is_empty() && TOKENS.contains(&name)) || is_flag(name)
}

/// Rejects a truncated response of an operation without declared pages: the remaining items would look
/// deleted.
fn whole(answer: &Value) -> Result<(), PaginationError> {
    let is_set = |name: &&str| answer[*name].as_str().is_some_and(|token| !token.is_empty());
    if let Some(token) = TOKENS.into_iter().find(is_set) {
        return Err(PaginationError::UnknownToken { token });
    }
    match says_more(answer) {
        Some(flag) => Err(PaginationError::NoToken { flag: flag.to_owned() }),
        None => Ok(()),
    }
}

/// Returns the member by which a response reports that it is truncated: a flag that is true, at the top
/// level or in a structure there, as in responses of `CloudFront`.
fn says_more(answer: &Value) -> Option<&str> {
    let members = answer.as_object()?;
    let within = members.iter().filter_map(|(_, value)| value.as_object());
    std::iter::once(members).chain(within).find_map(|members| {
        members.iter().find(|(name, value)| **value == true && is_flag(name)).map(|(name, _)| name.as_str())
    })
}

/// Matches `IsTruncated`, `Truncated`, `HasMoreStreams`, with the first letter in either case.
fn is_flag(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "istruncated" | "truncated") || name.starts_with("hasmore")
}

/// Returns whether a value is true in JMESPath and not zero: botocore treats an empty or zero token as
/// absent.
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

/// Evaluates the subset of JMESPath in the pagination models: names joined by dots, `[-1]` for the last
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
    fn tokens_move_from_the_response_to_the_request() {
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
        assert_eq!(error, PaginationError::Repeated { token: "NextToken".into() });
    }

    #[test]
    fn a_truncated_response_without_a_token_is_an_error() {
        let plain = pagination(None, &["NextToken"], &["NextToken"]);
        let flagged = pagination(Some("List.More"), &["Marker"], &["List.Next"]);
        let no_token = |flag: &str| Err(PaginationError::NoToken { flag: flag.into() });
        for (pagination, output, expected) in [
            (&flagged, json!({"List": {"More": true}}), no_token("List.More")),
            (&flagged, json!({"List": {"More": true, "Next": ""}}), no_token("List.More")),
            (&flagged, json!({"List": {"More": false}}), Ok(false)),
            (&plain, json!({"IsTruncated": true}), no_token("IsTruncated")),
            (&plain, json!({"Truncated": true}), no_token("Truncated")),
            (&plain, json!({"HasMoreStreams": true, "NextToken": ""}), no_token("HasMoreStreams")),
            (&plain, json!({"List": {"isTruncated": true}}), no_token("isTruncated")),
            (&plain, json!({"IsTruncated": false}), Ok(false)),
            (&plain, json!({"Items": [{"IsTruncated": true}]}), Ok(false)),
            (&plain, json!({"IsTruncated": true, "NextToken": "b"}), Ok(true)),
        ] {
            assert_eq!(pagination.advance(&output, &mut json!({})), expected, "{output}");
        }
    }

    #[test]
    fn the_response_of_an_operation_without_pages_is_complete() {
        for answer in
            [json!({}), json!({"NextToken": null}), json!({"nextToken": ""}), json!({"IsTruncated": false})]
        {
            assert_eq!(whole(&answer), Ok(()), "{answer}");
        }
        for cut in [json!({"NextToken": "t"}), json!({"nextMarker": "m"}), json!({"IsTruncated": true})] {
            assert!(whole(&cut).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_list_has_a_bounded_number_of_pages() {
        let plain = pagination(None, &["NextToken"], &["NextToken"]);
        let (mut cursor, mut input) = (PageCursor::new(3), json!({}));
        let mut page = |n: u32| cursor.follow(&plain, &json!({"NextToken": n.to_string()}), &mut input);
        assert_eq!((page(1), page(2)), (Ok(true), Ok(true)));
        let error = page(3).unwrap_err();
        assert_eq!(error, PaginationError::TooManyPages { limit: 3 });
        assert!(error.to_string().contains("`max_pages_per_list`"), "{error}");
    }

    /// Follows a list with these tokens. Returns the number of pages read, and whether it reached the end.
    fn follow(tokens: impl IntoIterator<Item = String>) -> (usize, bool) {
        let plain = pagination(None, &["NextToken"], &["NextToken"]);
        let (mut cursor, mut input) = (PageCursor::new(10_000), json!({}));
        let mut pages = 0;
        for token in tokens {
            pages += 1;
            match cursor.follow(&plain, &json!({"NextToken": token}), &mut input) {
                Ok(true) => {}
                Ok(false) => return (pages, true),
                Err(error) => {
                    assert!(matches!(error, PaginationError::Repeated { .. }), "{error}");
                    return (pages, false);
                }
            }
        }
        panic!("the list goes on after {pages} pages");
    }

    proptest::proptest! {
        #[test]
        fn cycles_of_any_length_are_found(lead in 0_usize..50, length in 1_usize..50) {
            let cycle = (0..lead).chain((lead..lead + length).cycle()).map(|n| format!("t{n}"));
            // The first repeated token ends it.
            assert_eq!(follow(cycle), (lead + length + 1, false));
        }

        #[test]
        fn lists_without_a_cycle_are_read_completely(
            tokens in proptest::collection::hash_set("[a-z0-9]{1,12}", 0..100)
        ) {
            let pages = tokens.len() + 1;
            assert_eq!(follow(tokens.into_iter().chain([String::new()])), (pages, true));
        }
    }

    #[test]
    fn several_tokens_count_as_one() {
        let two = pagination(None, &["Name", "Type"], &["NextName", "NextType"]);
        let (mut cursor, mut input) = (PageCursor::new(100), json!({}));
        let mut page = |name: &str, kind: &str| {
            cursor.follow(&two, &json!({"NextName": name, "NextType": kind}), &mut input)
        };
        assert_eq!((page("a", "A"), page("a", "B"), page("b", "A")), (Ok(true), Ok(true), Ok(true)));
        assert!(page("a", "A").is_err());
    }
}
