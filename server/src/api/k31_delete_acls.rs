//! DeleteAcls: takes back what was allowed and denied. There is no authorizer yet, so each filter is refused.

use corelane_core::protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use corelane_core::protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::{Request, Served, acls};
use crate::sys::Sys;

pub(super) fn serve<S: Sys>(request: &Request) -> Served<S> {
    let DeleteAclsRequest { filters } = request.decode()?;
    let (error_code, error_message) = acls::refusal(acls::NOTHING_TO_CHANGE);
    let refused = DeleteAclsFilterResult { error_code, error_message, ..Default::default() };
    request.answer(&DeleteAclsResponse { filter_results: vec![refused; filters.len()], ..Default::default() })
}
