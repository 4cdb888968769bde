//! The pages of a list operation.

use serde_json::Value;

use crate::{Operation, PageCursor, PaginationError, Protocol};

impl PageCursor {
    /// Turns the input of a request into the input for the next page, after the response `output`. Returns
    /// `false`, and keeps the input unchanged, if that was the last page. The response of an operation
    /// without pages must be the whole list.
    ///
    /// # Errors
    /// [`PaginationError`] if a token repeats within this list, if the response is truncated without a
    /// token, or if there are too many pages.
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
    /// Returns the input member that limits the page size, if a request should set it and does not. Without
    /// it some services (EC2) return everything at once, and others return small pages.
    ///
    /// EC2 accepts no page size together with ids ("You cannot specify this parameter and the instance IDs
    /// parameter in the same request").
    pub fn missing_page_size(&self, input: &Value) -> Option<&str> {
        let limit = self.pagination()?.limit_key.as_deref()?;
        let mut names = input.as_object().into_iter().flat_map(|input| input.keys());
        let is_ec2 = self.service().protocol() == Protocol::Ec2;
        (!names.any(|name| name == limit || (is_ec2 && name.ends_with("Ids")))).then_some(limit)
    }
}
