//! The pages of an operation that lists.

use serde_json::Value;

use crate::{Operation, PageCursor, PaginationError, Protocol};

impl PageCursor {
    /// Turns the input of a request into the input for the next page, after `output` was the answer to
    /// it. Returns `false`, and leaves the input alone, when that was the last page. The answer of an
    /// operation without pages must be the whole list.
    ///
    /// # Errors
    /// [`PaginationError`] when a token came before in this list, when the answer is cut off without a
    /// token, and when there are too many pages.
    pub fn advance(
        &mut self,
        operation: &Operation,
        output: &Value,
        input: &mut Value,
    ) -> Result<bool, PaginationError> {
        self.next_page(operation.pagination(), output, input)
    }
}

impl Operation {
    /// The input member that bounds the size of a page, where a request does not set it. Without it some
    /// services (EC2) answer with everything at once, and others with small pages.
    ///
    /// EC2 takes no size beside the ids of what is asked for ("You cannot specify this parameter and the
    /// instance IDs parameter in the same request").
    pub fn missing_page_size(&self, input: &Value) -> Option<&str> {
        let limit = self.pagination()?.limit_key.as_deref()?;
        let mut names = input.as_object().into_iter().flat_map(|input| input.keys());
        let is_ec2 = self.service().protocol() == Protocol::Ec2;
        (!names.any(|name| name == limit || (is_ec2 && name.ends_with("Ids")))).then_some(limit)
    }
}
